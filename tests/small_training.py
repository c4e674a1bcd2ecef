"""Small inputs for any project's model, and the settings of a short run, which several files of tests share."""

import torch

# Beside a demo's config: 72 images of 12 people, an epoch, no warm-up, an evaluation.
RUN = {
    "DATASETS.NAMES": ("SynthReIDTiny",),
    "DATASETS.TESTS": ("SynthReIDTiny",),
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.MAX_EPOCH": 1,
    "TEST.EVAL_PERIOD": 1,
    "TEST.RANK_LIST.ENABLED": False,
}


def batch(height=64, width=32):
    """Four images of two identities, on the 0-255 scale, each identity by two cameras."""
    return {
        "images": torch.randint(0, 256, (4, 3, height, width)).float(),
        "targets": torch.tensor([3, 3, 7, 7]),
        "camids": torch.tensor([0, 1, 0, 1]),
        "joints": torch.rand(4, 17, 3) * 0.5 + 0.25,  # of no use but to MGRe's heads
    }


def copy_of(inputs):
    """The same batch for another model: FastReID's own Baseline writes into it."""
    return {key: value.clone() for key, value in inputs.items()}
