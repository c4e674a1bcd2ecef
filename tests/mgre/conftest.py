"""Small MGRes: ResNet-18 without weights, ten identities, 64 x 32 images."""

import pytest
import torch
from fastreid.modeling import build_model

from fastreid_ext.config import get_cfg

SMALL = {
    "MODEL.META_ARCHITECTURE": "MGRe",
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.HEADS.NUM_CLASSES": 10,
    "MODEL.HEADS.EMBEDDING_DIM": 32,
    "MODEL.MGRE.FE.BLOCKS": 1,
    "MODEL.LOSSES.NAME": ("SmoothedCrossEntropyLoss", "SoftMarginTripletLoss"),
}


@pytest.fixture
def make_model():
    """``make_model({"MODEL.MGRE.STAGES": [3]})``: the small model with overrides, through the host's build_model."""

    def make(overrides=None):
        cfg = get_cfg()
        cfg.merge_from_list([item for pair in {**SMALL, **(overrides or {})}.items() for item in pair])
        return build_model(cfg)

    return make


@pytest.fixture
def make_shape(make_model):
    """As make_model, without memory and in no time: for structure and for refusals."""

    def make(overrides=None):
        with torch.device("meta"):
            return make_model({"MODEL.DEVICE": "meta", **(overrides or {})})

    return make


@pytest.fixture
def batch():
    """Four images of two identities, on the 0-255 scale, with all joints in sight."""
    joints = torch.rand(4, 17, 3) * 0.5 + 0.25
    return {
        "images": torch.randint(0, 256, (4, 3, 64, 32)).float(),
        "targets": torch.tensor([3, 3, 9, 9]),
        "joints": joints,
    }
