"""Small MGRes: ResNet-18 without weights, ten identities, 64 x 32 images."""

import pytest
import torch


@pytest.fixture
def small():
    return {
        "MODEL.META_ARCHITECTURE": "MGRe",
        "MODEL.HEADS.NAME": "MGReLocationHead",
        "MODEL.HEADS.EMBEDDING_DIM": 32,
        "MODEL.MGRE.FE.BLOCKS": 1,
        "MODEL.LOSSES.NAME": ("SmoothedCrossEntropyLoss", "SoftMarginTripletLoss"),
    }


@pytest.fixture
def batch(batch):
    """The batch of every paper, with all joints in sight."""
    return batch | {"joints": torch.rand(4, 17, 3) * 0.5 + 0.25}
