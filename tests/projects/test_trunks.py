"""Every project on every trunk: it trains, it is tested, and its weights are saved and loaded; or one sentence."""

import copy
import math

import pytest
import shapes
import torch
from fastreid.modeling import build_model
from fastreid.modeling.backbones import build_backbone
from trunk_table import PROJECTS as TABLE
from trunk_table import TRUNKS, needs_stages

from fastreid_ext.engine.model import build_model as build_checked
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.trunk import output_channels

# (MODEL.META_ARCHITECTURE, head) -> demo config, other settings
PROJECTS = {
    "DeepMiner": ("deepminer", {"MODEL.DEEPMINER.LOCAL_STRIPES": 2}),  # a last map may have two rows
    "MSReID": ("msreid", {"MODEL.MSREID.DIM": 32}),
    "MGRe": ("mgre", {"MODEL.HEADS.EMBEDDING_DIM": 16}),
    "OccludedReID": ("occluded", {}),
    "Res2NetMultiTask": ("res2net", {"MODEL.MULTITASK.DESCRIPTOR": "linear64"}),
    "Baseline": ("baseline", {}),
    "MSReID with MGReLocationHead": ("msreid", {"MODEL.HEADS.NAME": "MGReLocationHead"}),
    "MGRe with MaskSeparatedHead": ("mgre", {"MODEL.HEADS.NAME": "MaskSeparatedHead", "MODEL.MSREID.DIM": 32}),
    "OccludedReID with PairVerificationHead": (
        "occluded",
        {
            "MODEL.HEADS.NAME": "PairVerificationHead",
            "MODEL.MULTITASK.DESCRIPTOR": "none",
            "MODEL.MULTITASK.VERIFICATION": False,
            "MODEL.OCCLUDED.RP.ENABLED": False,
        },
    ),
    "Res2NetMultiTask with OccludedHead": (
        "res2net",
        {"MODEL.HEADS.NAME": "OccludedHead", "MODEL.OCCLUDED.RP.ENABLED": False},
    ),
    "DeepMiner with DNL": ("deepminer", {"MODEL.DEEPMINER.LOCAL_STRIPES": 2}),
}
OSNET, VECTOR = "OSNet x0.5, IBN", "ViT small"
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.BACKBONE.WITH_IBN": False,
    "MODEL.BACKBONE.DNL.BLOCKS": [0, 2, 3, 0],  # the default again
    "MODEL.HEADS.NUM_CLASSES": 12,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
}
REST = ("MSReID", "MGRe", "OccludedReID", "Res2NetMultiTask", "Baseline")
QUICK = ("Narrow ResNet-10", "MobileNetV3 Small", "ShuffleNetV2 1.0x")
OFTEN = (
    "Narrow ResNet-18",
    "ResNet-50",
    "ResNet-50, IBN",
    "OSNet x1.0",
    "OSNet x0.25",
    "MobileNetV3 Large",
)  # tested in other files too


def settings_of(project, trunk):
    file, own = PROJECTS[project]
    settings = {**SMALL, **own, **TRUNKS[trunk].settings()}
    if project.endswith("DNL"):
        dnl = {"NAME": "build_dnl_backbone", "DNL.TRUNK": settings["MODEL.BACKBONE.NAME"], "DNL.BLOCKS": [0, 1, 1, 1]}
        settings |= {f"MODEL.BACKBONE.{key}": value for key, value in dnl.items()}
    cfg = get_config(f"demo/{file}.yml")
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    if project == "Baseline":  # FastReID's own measures nothing
        with shapes.OnMeta() if trunk != VECTOR else shapes.WithoutDraws():
            cfg.MODEL.BACKBONE.FEAT_DIM = output_channels(build_backbone(cfg))
    return cfg


def batch():
    return {
        "images": torch.randint(0, 256, (4, 3, 64, 32)).float(),
        "targets": torch.tensor([3, 3, 7, 7]),
        "camids": torch.tensor([0, 1, 0, 1]),
        "joints": torch.rand(4, 17, 3) * 0.5 + 0.25,  # of no use but to MGRe's heads
    }


def copy_of(inputs):
    return {key: value.clone() for key, value in inputs.items()}


def is_quick(project, trunk):
    return project in TABLE and (trunk == OSNET or (trunk in QUICK and needs_stages(project)))


CASES = [
    pytest.param(project, trunk, marks=() if is_quick(project, trunk) else pytest.mark.slow)
    for project in PROJECTS
    for trunk in TRUNKS
    if trunk not in OFTEN and (trunk == OSNET or " with " not in project)
    if trunk != VECTOR or (project in TABLE and not needs_stages(project))
]


@pytest.mark.parametrize(("project", "trunk"), CASES)
def test_it_trains_is_tested_and_is_loaded(project, trunk, storage):
    cfg, inputs = settings_of(project, trunk), batch()
    model = build_model(cfg)
    with shapes.WithoutDraws():
        other = build_model(cfg) if trunk == OSNET else copy.deepcopy(model)
    losses = model(copy_of(inputs))
    assert losses and all(loss.shape == () and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:  # a module that nothing reads would stop DDP
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 1e-4 * parameter.grad
        feature = model.eval()(copy_of(inputs))
        assert feature.shape[0] == 4 and feature.dim() == 2 and feature.isfinite().all()
        assert not torch.equal(feature[0], feature[1])
        other.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(other.eval()(copy_of(inputs)), feature)


@pytest.mark.parametrize("project", ["DeepMiner", "MSReID", "MGRe"])
def test_a_trunk_without_stages_is_refused_in_one_sentence(project):
    with shapes.WithoutDraws(), pytest.raises(ConfigError, match="VisionTransformer has no .*layer4") as error:
        build_checked(settings_of(project, VECTOR))
    assert "\n" not in str(error.value) and "set MODEL.BACKBONE.NAME to build_resnet_backbone" in str(error.value)


@pytest.mark.parametrize("project", ["DeepMiner", *(pytest.param(name, marks=pytest.mark.slow) for name in REST)])
def test_osnet_in_the_trainer(project, synth_root, tmp_path, monkeypatch):
    """One epoch, an evaluation, and the checkpoint in a fresh model that gives the same features."""
    monkeypatch.setenv("FASTREID_DATASETS", str(synth_root))
    cfg = settings_of(project, "OSNet x0.25")
    settings = {
        "MODEL.BACKBONE.WITH_IBN": True,
        "MODEL.HEADS.NUM_CLASSES": 0,
        "OUTPUT_DIR": str(tmp_path),
        "DATASETS.NAMES": ("SynthReIDTiny",),
        "DATASETS.TESTS": ("SynthReIDTiny",),
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 16,
        "SOLVER.WARMUP_EPOCHS": 0,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.MAX_EPOCH": 1,
        "TEST.EVAL_PERIOD": 1,
        "TEST.RANK_LIST.ENABLED": False,
        "SOLVER.WARMUP_METHOD": "linear",
    }
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    trainer = Trainer(cfg)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    results = trainer.train()
    assert 0 <= results["Rank-1"] <= 100 and math.isfinite(results["mAP"])
    for name, value in trainer.model.named_parameters():
        learns = value.grad is not None and value.grad.any()  # some gates of so small a trunk are shut
        assert not (learns and torch.equal(value, before[name])), name
    cfg.merge_from_list(["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")])
    loaded, inputs = load_trained(cfg).eval(), batch()
    with torch.no_grad():
        assert torch.equal(loaded(copy_of(inputs)), trainer.model.eval()(copy_of(inputs)))
