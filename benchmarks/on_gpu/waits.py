"""How often a training step makes the processor wait for the GPU, and where.

torch warns of each such wait (torch.cuda.set_sync_debug_mode); the nearest line of ours or FastReID's is counted.
"""

import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from on_gpu.call import NEEDS_CUDA, Call

from fastreid_ext.engine.step import TrainingStep

WARNING = "synchronizing CUDA operation"  # what torch says
OURS = ("fastreid_ext", "fastreid")  # folders whose lines are named


@contextmanager
def waits(on_gpu: bool) -> Iterator[Counter[str]]:
    """Count the waits within, by "folder/file:line"."""
    found: Counter[str] = Counter()

    def show(message: Warning | str, category: type[Warning], filename: str, line: int, *rest: Any) -> None:
        if WARNING in str(message):
            found[place(filename, line)] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        if on_gpu:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")


def place(filename: str, line: int) -> str:
    """Return the nearest line of ours or FastReID's that is being run; else the one that the warning names."""
    frame = sys._getframe(1)
    while frame is not None:
        parts = Path(frame.f_code.co_filename).parts
        for folder in OURS:
            if folder in parts[:-1]:
                start = len(parts) - 1 - parts[::-1].index(folder)
                return f"{'/'.join(parts[start:])}:{frame.f_lineno}"
        frame = frame.f_back
    return f"{filename}:{line}"


def waits_of(call: Call, step: TrainingStep) -> dict[str, Any]:
    """Return the waits of one more step of a warm model."""
    call.settle()
    with waits(call.on_gpu) as found:
        step.run_step()
    return {"a_step": sum(found.values()), "where": dict(found.most_common())} if call.on_gpu else NEEDS_CUDA
