"""Step cost of the five papers, which share of the device's matrix peak it is, and how often it waits for the device.

The peak is that of a large product of bf16 matrices, measured in the same process. Operations of a step are those of
its convolutions and products, forward and backward, as torch counts them. compiled.py has the rows with torch.compile.
"""

import statistics
from typing import Any

import torch
from on_gpu.call import Call
from on_gpu.papers import CONFIGS, config, training_step
from on_gpu.waits import waits_of
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.engine.step import TrainingStep

# isort: split
from fastreid.utils.events import EventStorage

PEAK, PEAK_ROUNDS = 8192, 10  # of the product
ROUNDS, STEPS = 5, 4  # rounds, and steps of each
WARM_UP = 3


def peak(call: Call) -> dict[str, Any]:
    """Return the operations of a large matrix product per second."""
    size = 128 if call.toy else PEAK
    a, b = (torch.randn(size, size, device=call.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(WARM_UP):
        a @ b
    rounds = [call.seconds(lambda: [a @ b for _ in range(PEAK_ROUNDS)]) / PEAK_ROUNDS for _ in range(3)]
    return {"size": size, "operations_per_second": 2 * size**3 / min(rounds), "seconds_of_rounds": rounds}


def operations(step: TrainingStep) -> int:
    """Return the operations of a training step: two for a multiply-add, forward and backward."""
    data = next(iter(step.data_loader))
    with FlopCounterMode(display=False) as counter:
        sum(step.model(data).values()).backward()
    return counter.get_total_flops()


def cost(call: Call, step: TrainingStep) -> dict[str, Any]:
    """Return what a step costs, with the seconds of the first ones, in which kernels are chosen or compiled."""
    warm_up = call.seconds(lambda: [step.run_step() for _ in range(1 if call.toy else WARM_UP)])
    if call.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    rounds, steps = (1, 1) if call.toy else (ROUNDS, STEPS)
    seconds = [call.seconds(lambda: [step.run_step() for _ in range(steps)]) / steps for _ in range(rounds)]
    found = {
        "seconds": statistics.median(seconds),
        "seconds_of_rounds": seconds,
        "images": len(next(iter(step.data_loader))["images"]),
        "autocast": str(step.autocast),
        "warm_up_seconds": warm_up,
    }
    return found | ({"peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9} if call.on_gpu else {})


def share_of_peak(found: dict[str, Any], operations: int, operations_per_second: float) -> dict[str, Any]:
    """Add to a row which share of the peak its operations are."""
    share = operations / found["seconds"] / operations_per_second
    return found | {"operations": operations, "share_of_peak": share}


def peak_of(call: Call) -> float:
    """Measure the peak as a row and return it; NaN where that failed."""
    return call.row("peak", lambda: peak(call)).get("operations_per_second", float("nan"))


def measure(call: Call) -> None:
    """Measure all papers in both layouts; the waits are those without channels_last."""
    per_second = peak_of(call)
    with EventStorage(0):
        for channels_last in (False, True):
            for paper in call.few(CONFIGS) if channels_last else CONFIGS:

                def work(paper: str = paper, channels_last: bool = channels_last) -> dict[str, Any]:
                    step = training_step(config(paper, call.device, call.toy, MODEL__CHANNELS_LAST=channels_last))
                    found = cost(call, step) | ({} if channels_last else {"waits": waits_of(call, step)})
                    return share_of_peak(found, operations(step), per_second)

                call.row(f"{paper}, channels_last {'on' if channels_last else 'off'}", work)
