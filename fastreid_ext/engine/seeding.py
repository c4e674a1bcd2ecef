"""One number makes a run repeatable."""

import random

import numpy as np
import torch
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm


def resolve_seed(seed: int) -> int:
    """Return SEED, or one drawn for all ranks where it is negative."""
    return seed if seed >= 0 else int(comm.shared_random_seed()) % 2**31


def seed_everything(*keys: int) -> None:
    """Seed Python, NumPy and torch (every device) from some non-negative numbers."""
    words = np.random.SeedSequence(keys).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


class SeedEpochs(HookBase):
    """Seeds every generator from (seed, epoch, rank) as an epoch starts, so that a resumed epoch is the same."""

    def __init__(self, seed: int):
        self.seed = seed

    def before_epoch(self) -> None:
        seed_everything(self.seed, self.trainer.epoch, comm.get_rank())
