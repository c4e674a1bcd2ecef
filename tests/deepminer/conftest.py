"""Small Deep Miners: ResNet-18 without weights, ten identities, 64 x 32 images."""

import pytest


@pytest.fixture
def small():
    return {
        "MODEL.META_ARCHITECTURE": "DeepMiner",
        "MODEL.HEADS.NAME": "DeepMinerHead",
        "MODEL.HEADS.POOL_LAYER": "GlobalMaxPool",
        "MODEL.LOSSES.NAME": ("SmoothedCrossEntropyLoss", "SoftMarginTripletLoss", "CenterLoss"),
    }
