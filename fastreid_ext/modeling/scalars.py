"""Numbers for the log that stay on their device until a training step reads its losses, all at once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from fastreid.utils.events import get_event_storage
from torch import Tensor

Scalars = list[tuple[tuple[str, ...], Tensor]]  # names, and as many numbers (n,)

_open: list[Scalars] = []  # of the steps that collect; at most one, as no step runs within another


@contextmanager
def collected_scalars() -> Iterator[Scalars]:
    """Collect what :func:`log_scalars` is given instead of logging it."""
    _open.append([])
    try:
        yield _open[-1]
    finally:
        _open.pop()


def log_scalars(names: Sequence[str], values: Tensor) -> None:
    """Log numbers in FastReID's event storage, or hand them to who collects them, without a wait for their device.

    A graph that torch.compile captures can read no number: without a collector it logs none.

    Args:
        names: such as "accuracy/global".
        values: (n,) as many numbers.
    """
    if _open:
        _open[-1].append((tuple(names), values.detach()))
    elif not torch.compiler.is_compiling():
        put_scalars(names, values.tolist())


def put_scalars(names: Sequence[str], numbers: Sequence[float]) -> None:
    """Log numbers in FastReID's event storage."""
    storage = get_event_storage()
    for name, number in zip(names, numbers, strict=True):
        storage.put_scalar(name, number)
