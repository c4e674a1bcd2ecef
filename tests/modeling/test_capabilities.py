"""Which models have an ability: the papers' that were built with it, none of FastReID's, and any with its members."""

import inspect

import pytest
import shapes
from fastreid.modeling import build_model
from fastreid.modeling.backbones.resnet import BasicBlock
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from timm_networks import built
from torch import nn

from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling import capabilities
from fastreid_ext.modeling.capabilities import architectures_with
from fastreid_ext.res2net.bottleneck import Res2NetBottleneck

CONFIGS = ("deepminer", "msreid", "mgre", "res2net", "occluded", "baseline")
PAPERS = {"DeepMiner", "MSReID", "MGRe", "Res2NetMultiTask", "OccludedReID"}
# Ability -> the meta-architectures whose demo model has it.
HAVE = {
    "HasBranches": PAPERS,
    "LocatesRegions": {"MGRe"},
    "HasGranularities": {"MGRe"},
    "HasBranchMaps": {"DeepMiner"},
    "HasSpatialMasks": {"DeepMiner", "MSReID"},
    "HasTestParts": {"MGRe"},
    "VerifiesPairs": {"Res2NetMultiTask"},
    "ReadsLabels": PAPERS,
    "HasTrainingOnly": PAPERS,
    "MovesAfterStep": {"OccludedReID"},  # one of its modules
    "MovesInForward": {"DeepMiner", "MSReID"},  # one of its modules
    "TakesMaps": PAPERS,  # what they give their heads
    "RenamesWeights": PAPERS,
}


@pytest.fixture(scope="module")
def models():
    """Meta-architecture -> the model of its demo, without memory."""
    found = {}
    for name in CONFIGS:
        cfg = get_config(f"demo/{name}.yml")
        cfg.merge_from_list(["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 10])
        with shapes.OnMeta():
            found[cfg.MODEL.META_ARCHITECTURE] = build_model(cfg)
    return found


def test_all_abilities_are_listed():
    kinds = inspect.getmembers(capabilities, inspect.isclass)
    ours = [kind for _, kind in kinds if kind.__module__ == capabilities.__name__]
    listed = set(HAVE) | {"ContinuesStage", "ContinuesBlocks"}  # of a block and of a trunk, see below
    assert {kind.__name__ for kind in ours if getattr(kind, "_is_runtime_protocol", False)} == listed


def test_which_blocks_make_the_one_behind_them():
    ours = Res2NetBottleneck(64, 16)
    assert isinstance(ours, capabilities.ContinuesStage)
    assert not isinstance(BasicBlock(16, 16, "BN"), capabilities.ContinuesStage)
    assert isinstance(built("test_resnet"), capabilities.ContinuesBlocks)
    assert not isinstance(ours, capabilities.ContinuesBlocks)


@pytest.mark.parametrize("name", HAVE)
def test_who_has_it(name, models):
    ability = getattr(capabilities, name)
    if name in ("MovesAfterStep", "MovesInForward"):
        having = {kind for kind, model in models.items() if any(isinstance(m, ability) for m in model.modules())}
    else:
        having = {kind for kind, model in models.items() if isinstance(model, ability)}
    assert having == HAVE[name]


@pytest.mark.parametrize(
    "name", ["LocatesRegions", "HasGranularities", "HasSpatialMasks", "HasTestParts", "VerifiesPairs"]
)
def test_sentences_name_the_architectures(name):
    named = architectures_with(getattr(capabilities, name))
    ours = {each for each in named if META_ARCH_REGISTRY.get(each).__module__.startswith("fastreid_ext.")}
    assert ours == HAVE[name] and named == sorted(named)  # other tests register architectures, too


def test_what_verifies_is_of_its_protocol(models):
    for method in ("log_odds", "probability"):
        wanted = inspect.signature(getattr(capabilities.ComparesPairs, method))
        found = inspect.signature(getattr(models["Res2NetMultiTask"].pair_verification(), method))
        assert list(found.parameters) == list(wanted.parameters)[1:]


def test_a_model_needs_all_members_and_no_base_class():
    class Masks(nn.Module):
        def spatial_masks(self, images):
            return {}

    assert not isinstance(Masks(), capabilities.HasSpatialMasks)  # nothing normalises images
    Masks.preprocess_image = lambda self, batch: batch
    assert isinstance(Masks(), capabilities.HasSpatialMasks)
