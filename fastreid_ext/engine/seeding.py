"""One seed makes a run repeatable."""

import logging
import random
from typing import SupportsInt

import numpy as np
import torch
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm

logger = logging.getLogger(__name__)


def resolve_seed(seed: int) -> int:
    """Return SEED; if it is negative, draw one for all ranks."""
    return seed if seed >= 0 else int(comm.shared_random_seed()) % 2**31


def seed_everything(*keys: int) -> None:
    """Seed Python, NumPy and torch (every device) from some non-negative numbers."""
    words = np.random.SeedSequence(keys).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


class RunSeed:
    """The seed of a run: SEED, or one drawn where it is negative, until a checkpoint says what the run began with.

    It is the only place that holds the number. Loaders, hooks, checkpoints and results hold this object and take
    ``int(seed)`` whenever they need it, so that all of them follow a resumed run.

    Args:
        configured: SEED of the config.
    """

    def __init__(self, configured: int):
        self.configured = configured
        self._value = resolve_seed(configured)

    def __int__(self) -> int:
        return self._value

    def resume(self, saved: int) -> None:
        """Take over the seed of the run that is continued, with a warning where SEED asks for another one."""
        if saved != self._value and self.configured >= 0:
            logger.warning("SEED is %d but the run was started with %d, which is kept", self.configured, saved)
        self._value = saved


class SeedEpochs(HookBase):
    """Seeds every generator from (seed, epoch, rank) as an epoch starts, so that a resumed epoch is the same."""

    def __init__(self, seed: SupportsInt):
        self.seed = seed

    def before_epoch(self) -> None:
        seed_everything(int(self.seed), self.trainer.epoch, comm.get_rank())
