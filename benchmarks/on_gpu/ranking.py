"""Evaluation and re-ranking at MSMT17's size on the device, of random features, beside the bare matrix product."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evaluation import SIZES, Size, features
from evaluation_contestants import CONTESTANTS
from on_gpu.call import Call

DIM, TOY_DIM = 2048, 16
TOY = Size(64, 400, 20, 6)
ROWS = {"product_blocks": 3, "ours": 3, "rerank": 1}  # contestant -> rounds


def cost(call: Call, contestant: str, sides: tuple, labels: tuple, folder: Path) -> dict[str, Any]:
    """Return the time of a contestant and the device's memory beyond the features."""
    work = CONTESTANTS[contestant]
    # A small round first: kernels are loaded then.
    few = [slice(0, 64), slice(0, 2000)] * 2
    part = tuple(label[one] for label, one in zip(labels, few, strict=True))
    work(sides[0][few[0]], sides[1][few[1]], part, folder)
    if call.on_gpu:
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
    given: list[Any] = []
    seconds = [call.seconds(lambda: given.append(work(*sides, labels, folder))) for _ in range(ROWS[contestant])]
    found: dict[str, Any] = {"seconds": min(seconds), "seconds_of_rounds": seconds}
    if call.on_gpu:
        found["peak_gpu_mb"] = (torch.cuda.max_memory_allocated() - held) / 1e6
    return found | ({} if given[-1] is None else {"mAP": given[-1]})


def measure(call: Call) -> None:
    """Measure the contestants in turn."""
    size, dim = (TOY, TOY_DIM) if call.toy else (SIZES["msmt17"], DIM)
    folder = Path(os.environ["ON_GPU_SCRATCH"])
    features(size, dim, seed=0, folder=folder)
    call.row("size", lambda: {**vars(size), "dim": dim})
    sides = tuple(torch.from_numpy(np.load(folder / f"{side}.npy")).to(call.device) for side in ("query", "gallery"))
    names = [f"{side}_{kind}" for kind in ("pids", "camids") for side in ("query", "gallery")]
    labels = tuple(np.load(folder / f"{name}.npy") for name in names)
    for contestant in ROWS:
        call.row(contestant, lambda one=contestant: cost(call, one, sides, labels, folder))
