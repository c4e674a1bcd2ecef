"""Small multi-task networks: ResNet-18 without weights, ten identities, 64 x 32 images."""

import pytest
import torch


@pytest.fixture
def small():
    return {
        "MODEL.META_ARCHITECTURE": "Res2NetMultiTask",
        "MODEL.HEADS.NAME": "PairVerificationHead",
        "MODEL.LOSSES.NAME": ("SmoothedCrossEntropyLoss",),
        "MODEL.LOSSES.SMOOTHED_CE.EPSILON": 0.0,
        "DATALOADER.SAMPLER_TRAIN": "PairSampler",
    }


@pytest.fixture
def batch():
    """Three pairs, the first and the last of one person each, on the 0-255 scale."""
    return {"images": torch.randint(0, 256, (6, 3, 64, 32)).float(), "targets": torch.tensor([3, 3, 9, 4, 7, 7])}
