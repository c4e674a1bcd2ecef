"""Small multi-task networks: ResNet-18 without weights, ten identities, 64 x 32 images."""

import pytest
import torch
from fastreid.modeling import build_model

from fastreid_ext.config import get_cfg

SMALL = {
    "MODEL.META_ARCHITECTURE": "Res2NetMultiTask",
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.HEADS.NUM_CLASSES": 10,
    "MODEL.LOSSES.NAME": ("SmoothedCrossEntropyLoss",),
    "MODEL.LOSSES.SMOOTHED_CE.EPSILON": 0.0,
    "DATALOADER.SAMPLER_TRAIN": "PairSampler",
}


@pytest.fixture
def make_cfg():
    """``make_cfg({"MODEL.MULTITASK.DROPOUT": 0.0})``: the small config with overrides."""

    def make(overrides=None):
        cfg = get_cfg()
        cfg.merge_from_list([item for pair in {**SMALL, **(overrides or {})}.items() for item in pair])
        return cfg

    return make


@pytest.fixture
def make_model(make_cfg):
    """``make_model({...})``: the model of :func:`make_cfg`, through the host's build_model."""
    return lambda overrides=None: build_model(make_cfg(overrides))


@pytest.fixture
def make_shape(make_cfg):
    """As make_model, without memory and in no time: for structure and for refusals."""

    def make(overrides=None):
        with torch.device("meta"):
            return build_model(make_cfg({"MODEL.DEVICE": "meta", **(overrides or {})}))

    return make


@pytest.fixture
def batch():
    """Three pairs, the first and the last of one person each, on the 0-255 scale."""
    return {"images": torch.randint(0, 256, (6, 3, 64, 32)).float(), "targets": torch.tensor([3, 3, 9, 4, 7, 7])}
