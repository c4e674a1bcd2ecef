"""Step cost with SOLVER.COMPILE, the papers in turn for as long as there is time; a model takes most of a minute."""

from typing import Any

import torch
from on_gpu.call import Call
from on_gpu.papers import CONFIGS, config, training_step
from on_gpu.steps import cost, operations, peak_of, share_of_peak
from torch._dynamo.utils import counters

from fastreid_ext.engine import compiling

# isort: split
from fastreid.utils.events import EventStorage

SECONDS = 45.0  # that a row is taken to need


def compiled(call: Call, paper: str, channels_last: bool, operations_per_second: float) -> dict[str, Any]:
    """Return what a step of a compiled model costs, and its graph breaks by reason."""
    settings = {"MODEL__CHANNELS_LAST": channels_last}
    cfg = config(paper, call.device, call.toy, **settings)
    counted = operations(training_step(cfg))
    counters.clear()
    torch._dynamo.reset()
    if call.toy:  # the graphs are captured, which is our part of it, and not compiled, which takes a minute
        compiling.BACKEND = "eager"
    found = cost(call, training_step(config(paper, call.device, call.toy, **settings, SOLVER__COMPILE=True)))
    found["graph_breaks"] = {reason.splitlines()[0]: count for reason, count in counters["graph_break"].items()}
    return share_of_peak(found, counted, operations_per_second)


def measure(call: Call) -> None:
    """Measure what there is time for, with channels_last first."""
    per_second = peak_of(call)
    with EventStorage(0):
        for channels_last in (True,) if call.toy else (True, False):
            for paper in list(CONFIGS)[:1] if call.toy else CONFIGS:
                name = f"{paper}, channels_last {'on' if channels_last else 'off'}, compiled"
                settings = paper, channels_last, per_second
                call.row(name, lambda settings=settings: compiled(call, *settings), 0.0 if call.toy else SECONDS)
