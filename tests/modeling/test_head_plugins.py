"""Heads by their names: what each project's is, what a user's own needs, and what is refused."""

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.modeling.heads import REID_HEADS_REGISTRY, build_heads
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config, list_config_files
from fastreid_ext.modeling.head_plugins import TAKES, BranchHead, MapHead, build_head

# demo -> (project, its head, what that takes)
PROJECTS = {
    "deepminer": ("DeepMiner", "DeepMinerHead", "branch_maps"),
    "msreid": ("MSReID", "MaskSeparatedHead", "stage_maps"),
    "mgre": ("MGRe", "MGReLocationHead", "stage_maps"),
    "occluded": ("OccludedReID", "OccludedHead", "map"),
    "res2net": ("Res2NetMultiTask", "PairVerificationHead", "map"),
}


def config(demo, **overrides):
    cfg = get_config(f"demo/{demo}.yml")
    sizes = {"INPUT.SIZE_TRAIN": [64, 32], "INPUT.SIZE_TEST": [64, 32], "MODEL.BACKBONE.LAST_STRIDE": 1}
    pairs = {"MODEL.DEVICE": "cpu", "MODEL.HEADS.NUM_CLASSES": 12, **sizes}
    pairs |= {key.replace("__", "."): value for key, value in overrides.items()}
    cfg.merge_from_list([item for pair in pairs.items() for item in pair])
    return cfg


def batch():
    images = torch.randint(0, 256, (4, 3, 64, 32)).float()
    return {"images": images, "targets": torch.tensor([3, 3, 7, 7]), "joints": torch.rand(4, 17, 3) * 0.5 + 0.25}


# ---- heads of a user's own, of every kind ---------------------------------------------------------------------------


class Mine:
    """Mean pooling and a classifier; told no more than cfg, as FastReID's own heads."""

    def __init__(self, cfg):
        super().__init__()
        self.dims = {"mine": cfg.MODEL.BACKBONE.FEAT_DIM}
        self.classifier = nn.Linear(cfg.MODEL.BACKBONE.FEAT_DIM, cfg.MODEL.HEADS.NUM_CLASSES)

    def branches(self, maps, targets=None):
        feature = self.pick(maps).mean(dim=(2, 3))
        outputs = {"feature": feature, "neck": feature}
        return {"mine": outputs | ({} if targets is None else {"logits": self.classifier(feature)})}


@REID_HEADS_REGISTRY.register()
class MyMapHead(Mine, MapHead):
    def pick(self, maps):
        return maps


@REID_HEADS_REGISTRY.register()
class MyStageHead(Mine, BranchHead):
    takes = "stage_maps"

    def pick(self, maps):
        return maps[4]


@REID_HEADS_REGISTRY.register()
class MyBranchHead(Mine, BranchHead):
    takes = "branch_maps"

    def pick(self, maps):
        return torch.stack(list(maps.values())).mean(dim=0)


MY = {"map": "MyMapHead", "stage_maps": "MyStageHead", "branch_maps": "MyBranchHead"}


@pytest.mark.parametrize("demo", PROJECTS)
def test_a_users_own_head_works_by_its_name_alone(demo, storage):
    _, _, takes = PROJECTS[demo]
    inputs = batch()
    cfg = config(demo, MODEL__HEADS__NAME=MY[takes], INPUT__BATCH_AUGMENT__NAME=[])
    model = build_model(cfg)
    losses = model(inputs)
    assert losses and all(key.endswith("_mine") and loss.isfinite() for key, loss in losses.items())
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        feature = model.eval()(inputs)
    assert feature.shape == (4, 2048 if demo == "res2net" else 512) and feature.dtype == torch.float32
    assert not torch.equal(feature[0], feature[1])
    assert model.labels == () and set(storage.latest()) == {"accuracy/mine"}


@pytest.mark.parametrize("demo", PROJECTS)
def test_the_trainer_takes_it_with_the_projects_config(demo, synth_tiny, tmp_path):
    """Keys and rate factors that the project's yaml sets for the project's head are no mistake of the user."""
    small = {"DATASETS__NAMES": ("SynthReIDTiny",), "DATASETS__TESTS": ("SynthReIDTiny",), "DATALOADER__NUM_WORKERS": 0}
    small |= {"SOLVER__IMS_PER_BATCH": 16, "OUTPUT_DIR": str(tmp_path), "INPUT__JOINTS__ENABLED": False}
    _, name, takes = PROJECTS[demo]
    trainer = Trainer(config(demo, MODEL__HEADS__NAME=MY[takes], MODEL__HEADS__NUM_CLASSES=0, **small))
    assert type(trainer.model.heads).__name__ == MY[takes]
    other = "MGRE" if demo != "mgre" else "MSREID"
    with pytest.raises(ConfigError, match=f"MODEL.{other}.* no effect here"):
        key = {f"MODEL__{other}__{'LAMBDA' if other == 'MGRE' else 'DIM'}": 2.0 if other == "MGRE" else 2}
        Trainer(config(demo, MODEL__HEADS__NAME=MY[takes], MODEL__HEADS__NUM_CLASSES=0, **small, **key))


def test_what_only_mgres_own_head_knows(storage):
    model = build_model(config("mgre", MODEL__HEADS__NAME="MyStageHead")).eval()
    for ask in (lambda: model.locate_regions(torch.zeros(1, 3, 64, 32)), model.granularities):
        with pytest.raises(ValueError, match="MyStageHead locates no regions: MODEL.HEADS.NAME MGReLocationHead does"):
            ask()
    with pytest.raises(ValueError, match="this model has no mask .*: its MyStageHead makes none"):
        build_model(config("msreid", MODEL__HEADS__NAME="MyStageHead")).spatial_masks(torch.zeros(1, 3, 64, 32))


def test_a_head_of_the_same_kind_of_another_paper(storage):
    """What takes the same maps fits, labels and losses of its own included."""
    model = build_model(config("msreid", MODEL__HEADS__NAME="MGReLocationHead", MODEL__HEADS__EMBEDDING_DIM=8))
    assert model.labels == ("joints",)
    assert {f"loss_location_stage{i}" for i in (1, 2, 3)} < set(model(batch()))
    model = build_model(config("occluded", MODEL__HEADS__NAME="PairVerificationHead", MODEL__OCCLUDED__RP__ENABLED=True,
                               INPUT__BATCH_AUGMENT__NAME=[], DATALOADER__SAMPLER_TRAIN="PairSampler"))  # fmt: skip
    assert set(model(batch())) == {"loss_cls_global", "loss_bed_global", "loss_verification_global"}


# ---- the papers' heads ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("demo", PROJECTS)
def test_fastreids_build_heads_builds_the_projects_head(demo):
    """From the project's config alone, with the channels of its trunk where one map is read, as FastReID's own."""
    _, name, takes = PROJECTS[demo]
    cfg = config(demo, MODEL__BACKBONE__FEAT_DIM=2048 if demo == "res2net" else 512)
    head, model = build_heads(cfg), build_model(cfg)
    assert type(head).__name__ == type(model.heads).__name__ == name and head.takes == takes
    assert not any(parameter.is_meta for parameter in head.parameters())
    shapes = [{key: value.shape for key, value in part.state_dict().items()} for part in (head, model.heads)]
    assert shapes[0] == shapes[1]


def test_every_base_config_names_its_head():
    heads = {arch: name for arch, name, _ in PROJECTS.values()}
    for file in list_config_files():
        cfg = get_config(file)
        assert cfg.MODEL.HEADS.NAME == heads.get(cfg.MODEL.META_ARCHITECTURE, "EmbeddingHead"), file


@pytest.mark.parametrize("demo", PROJECTS)
def test_what_a_head_takes_is_in_its_docstring(demo):
    _, name, takes = PROJECTS[demo]
    kind = REID_HEADS_REGISTRY.get(name)
    assert kind.takes == takes and f"Takes {TAKES[takes].split(',')[0].removesuffix(' of the trunk')}" in kind.__doc__


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("demo", PROJECTS)
def test_a_head_of_another_kind_is_one_sentence(demo):
    arch, right, takes = PROJECTS[demo]
    wrong = [name for _, name, other in PROJECTS.values() if other != takes]
    for name in wrong:
        with pytest.raises(ConfigError) as error:
            Trainer.build_model(config(demo, MODEL__HEADS__NAME=name))
        sentence = str(error.value)
        assert f"MODEL.HEADS.NAME is {name}, which takes one map" in sentence and "\n" not in sentence
        assert f"{arch} gives its head {TAKES[takes]}: set " in sentence
        assert right in sentence and MY[takes] in sentence and name not in sentence.split(": set ")[1]
    with pytest.raises(ConfigError, match=f"is EmbeddingHead, which is not a head of this kind; {arch} .*{right}"):
        Trainer.build_model(config(demo, MODEL__HEADS__NAME="EmbeddingHead"))
    with pytest.raises(ConfigError, match=f"is NoHead, which is not registered; {arch} .*{right}"):
        Trainer.build_model(config(demo, MODEL__HEADS__NAME="NoHead"))


@pytest.mark.parametrize("demo", [demo for demo, (_, _, takes) in PROJECTS.items() if takes != "map"])
def test_fastreids_baseline_gives_one_map(demo):
    _, name, takes = PROJECTS[demo]
    cfg = config("baseline", MODEL__HEADS__NAME=name)
    with pytest.raises(ConfigError, match=f"is {name}, which takes {TAKES[takes]}; FastReID's Baseline gives its head"):
        Trainer.build_model(cfg)


def test_channels_that_the_trunk_has_not():
    with pytest.raises(ValueError, match="FEAT_DIM is 256, but the trunk's last map has 512 channels: leave the key"):
        build_model(config("occluded", MODEL__BACKBONE__FEAT_DIM=256))
    cfg = config("occluded")
    assert build_head(cfg, "map", 64).neck.in_dim == 64 and cfg.MODEL.BACKBONE.FEAT_DIM == 2048


def test_a_training_forward_without_targets():
    cfg = get_cfg()
    cfg.MODEL.HEADS.NUM_CLASSES = 3
    with pytest.raises(ValueError, match="MyMapHead classifies in training: give it targets, or call eval"):
        MyMapHead(cfg)(torch.zeros(2, 2048, 4, 2))
