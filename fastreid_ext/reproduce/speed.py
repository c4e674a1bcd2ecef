"""How many images a second a model embeds on this machine's processor."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.inference.features import test_features

BATCH, WARM_UP, REPEATS = 32, 2, 9


@dataclass(frozen=True)
class Speed:
    """Images per second from pixels to features, and the threads that torch had."""

    images_per_second: float
    threads: int


@torch.no_grad()
def images_per_second(cfg: CfgNode, model: nn.Module) -> Speed:
    """Time batches of noise, which take as long as people do; the median of several.

    Args:
        cfg: the config, for INPUT.SIZE_TEST.
        model: in eval mode, on the CPU.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 3, *cfg.INPUT.SIZE_TEST)).astype(np.float32)
    images, seconds = torch.from_numpy(pixels), []
    for _ in range(WARM_UP + REPEATS):
        start = time.perf_counter()
        test_features(model, images)
        seconds.append(time.perf_counter() - start)
    return Speed(BATCH / statistics.median(seconds[WARM_UP:]), torch.get_num_threads())
