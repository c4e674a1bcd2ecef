"""A model that its parts do not fit together in is refused as it is built, and leaves nothing changed."""

import re

import pytest
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.model import build_model
from fastreid_ext.engine.step import step_settings
from fastreid_ext.errors import ConfigError

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_tiny_resnet_backbone", "MODEL.HEADS.NUM_CLASSES", 4]
SMALL += ["MODEL.BACKBONE.FEAT_DIM", 64, "MODEL.HEADS.WITH_BNNECK", True, "INPUT.SIZE_TEST", [64, 32]]
SMALL += ["INPUT.SIZE_TRAIN", [64, 32]]


def config(*overrides):
    cfg = get_cfg()
    cfg.merge_from_list([*SMALL, *overrides])
    return cfg


WRONG = {
    "length": (["MODEL.BACKBONE.FEAT_DIM", 128], "FEAT_DIM is 128, and .* has 64 channels: set it to 64$"),
    "length without a neck": (
        ["MODEL.BACKBONE.FEAT_DIM", 128, "MODEL.HEADS.WITH_BNNECK", False],
        "FEAT_DIM is 128, and .* has 64 channels: set it to 64$",
    ),
    "MGN": (
        [
            "MODEL.META_ARCHITECTURE",
            "MGN",
            "MODEL.BACKBONE.NAME",
            "build_resnet_backbone",
            "MODEL.BACKBONE.DEPTH",
            "18x",
        ],
        "the model can't be built",
    ),
    "depth": (
        ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "51x"],
        "DEPTH is '51x', a depth that is none of build_resnet_backbone, which has 18x, 34x, 50x, 101x; did you",
    ),
    "pooling": (["MODEL.HEADS.POOL_LAYER", "gempool"], "the model can't be built"),
}


@pytest.mark.parametrize("what", WRONG)
def test_parts_that_do_not_go_together(what):
    overrides, said = WRONG[what]
    with pytest.raises(ConfigError, match=said) as error:
        build_model(config(*overrides))
    assert "\n" not in str(error.value)


def test_a_model_that_stops_in_training_alone():
    @META_ARCH_REGISTRY.register()
    class StopsInTraining(META_ARCH_REGISTRY.get("Baseline")):
        def losses(self, outputs, targets):
            raise RuntimeError("no")

    try:
        with pytest.raises(ConfigError, match="stops at a training batch of INPUT.SIZE_TRAIN"):
            build_model(config("MODEL.META_ARCHITECTURE", "StopsInTraining"))
    finally:
        del META_ARCH_REGISTRY._obj_map["StopsInTraining"]


def test_nothing_is_changed(monkeypatch):
    torch.manual_seed(3)
    tried = build_model(config())
    drawn = torch.rand(1)
    monkeypatch.setattr("fastreid_ext.engine.model.try_model", lambda model, cfg: None)
    torch.manual_seed(3)
    other = build_model(config())
    assert torch.equal(drawn, torch.rand(1)) and tried.training is other.training
    for (name, a), (_, b) in zip(tried.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_a_frozen_layer_that_does_not_exist():
    cfg = config("MODEL.FREEZE_LAYERS", ["backbon"], "SOLVER.FREEZE_ITERS", 3)
    with pytest.raises(ConfigError, match=r"FREEZE_LAYERS names \['backbon'\].*the model has \['backbone', 'heads'\]"):
        step_settings(cfg, build_model(cfg))


class InWholes(nn.Module):
    """A network's way to stop: two maps that only have one size if the image's sides are even."""

    def __init__(self):
        super().__init__()
        self.halved = nn.Conv2d(3, 64, 2, stride=2)

    def forward(self, images):
        return self.halved(images) + nn.functional.max_pool2d(images, 3, 2, 1).mean(dim=1, keepdim=True)


SIZES = {
    "train": ([65, 33], [64, 32], r"stops at INPUT.SIZE_TRAIN \[65, 33\] \(.*\): set INPUT.SIZE_TRAIN \[64, 32\]$"),
    "test": ([64, 32], [95, 33], r"INPUT.SIZE_TEST \[95, 33\] \(.*\): set INPUT.SIZE_TEST \[96, 32\]$"),
    "both": ([31, 5], [31, 5], r": set INPUT.SIZE_TRAIN \[32, 32\] and INPUT.SIZE_TEST \[32, 32\]$"),
}


@pytest.fixture
def in_wholes():
    BACKBONE_REGISTRY._obj_map["build_in_wholes"] = lambda cfg: InWholes()
    yield "build_in_wholes"
    del BACKBONE_REGISTRY._obj_map["build_in_wholes"]


@pytest.mark.parametrize("meta", ["Baseline", "OccludedReID"])
@pytest.mark.parametrize("which", SIZES)
def test_a_trunk_that_does_not_take_a_size(which, meta, in_wholes):
    train, test, said = SIZES[which]
    cfg = config("MODEL.META_ARCHITECTURE", meta, "MODEL.BACKBONE.NAME", in_wholes)
    cfg.merge_from_list(["MODEL.HEADS.NAME", {"Baseline": "EmbeddingHead"}.get(meta, "OccludedHead")])
    cfg.merge_from_list(["INPUT.SIZE_TRAIN", train, "INPUT.SIZE_TEST", test])
    if meta != "Baseline":
        cfg.merge_from_list(["MODEL.LOSSES.NAME", ["SmoothedCrossEntropyLoss"], "MODEL.OCCLUDED.RP.ENABLED", False])
    with pytest.raises(ConfigError, match=said) as error:
        build_model(cfg)
    assert "\n" not in str(error.value) and str(error.value).startswith("build_in_wholes ")
    for key, size in re.findall(r"(INPUT.SIZE_\w+) (\[\d+, \d+\])", str(error.value).partition("): set")[2]):
        cfg.merge_from_list([key, size])
    build_model(cfg)
