"""Small MSReIDs: ResNet-18 without weights, ten identities, 64 x 32 images."""

import pytest


@pytest.fixture
def small():
    return {
        "MODEL.META_ARCHITECTURE": "MSReID",
        "MODEL.HEADS.NAME": "MaskSeparatedHead",
        "MODEL.MSREID.DIM": 24,
        "MODEL.LOSSES.NAME": ("SmoothedCrossEntropyLoss", "BatchHardTripletLoss", "CenterLoss"),
    }
