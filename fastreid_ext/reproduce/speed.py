"""How many images a second a model embeds on this machine's processor."""

from dataclasses import dataclass

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.engine.environment import processor_name
from fastreid_ext.export.latency import median_ms
from fastreid_ext.inference.extractor import Extractor

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

    It is the whole feature that is timed: with TEST.FLIP, two passes for each image.

    Args:
        cfg: the config.
        model: in eval mode, on the CPU.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH, 3, *cfg.INPUT.SIZE_TEST)).astype(np.float32)
    images = torch.from_numpy(pixels)
    extractor = Extractor.of_model(cfg, model)
    ms = median_ms(lambda: extractor.features(images))
    return Speed(BATCH / (ms / 1000), torch.get_num_threads(), processor_name())
