"""How long a model and its export take on this machine."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fastreid_ext.export.parity import Run, fed
from fastreid_ext.inference.features import test_features
from fastreid_ext.inference.record import ModelRecord

BATCHES = (1, 32)
REPEATS, WARM_UP = 7, 2


@dataclass(frozen=True)
class Latency:
    """Median milliseconds of a batch.

    Attributes:
        batch: images.
        original_ms, exported_ms: PyTorch without compilation, and the export; both on the CPU.
    """

    batch: int
    original_ms: float
    exported_ms: float


@torch.no_grad()
def measure(model: nn.Module, run: Run, record: ModelRecord, size: tuple[int, int]) -> list[Latency]:
    """Time batches of noise, which takes as long as people do.

    Args:
        model: in eval mode, on the CPU.
        run: its export.
        record: of the export.
        size: (height, width) of the images.
    """
    found = []
    for batch in BATCHES:
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, 3, *size)).astype(np.float32))
        given = fed(record, images.numpy())
        found.append(
            Latency(batch, median_ms(lambda x=images: test_features(model, x)), median_ms(lambda x=given: run(x)))
        )
    return found


def median_ms(call: Callable[[], object]) -> float:
    """Return the median milliseconds of a call, after some calls that are not counted."""
    times = []
    for _ in range(WARM_UP + REPEATS):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])
