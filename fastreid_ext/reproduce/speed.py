"""How many images a second a model embeds on this machine's processor."""

from dataclasses import dataclass

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.engine.environment import processor_name
from fastreid_ext.export.latency import median_ms
from fastreid_ext.inference.features import test_features

BATCH = 32


@dataclass(frozen=True)
class Speed:
    """Images per second from pixels to features, the threads that torch had, and the name of the processor."""

    images_per_second: float
    threads: int
    processor: str


@torch.no_grad()
def images_per_second(cfg: CfgNode, model: nn.Module) -> Speed:
    """Time batches of noise, which take as long as people do; the median of several.

    Args:
        cfg: the config, for INPUT.SIZE_TEST.
        model: in eval mode, on the CPU.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 3, *cfg.INPUT.SIZE_TEST)).astype(np.float32)
    images = torch.from_numpy(pixels)
    ms = median_ms(lambda: test_features(model, images))
    return Speed(BATCH / (ms / 1000), torch.get_num_threads(), processor_name())
