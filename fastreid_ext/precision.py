"""Losses, distances, affinities and softmaxes are computed in float32 (or better) whatever the model's precision."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return x in float32 if it is a half type, else x itself (float64 stays float64)."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def without_autocast(x: torch.Tensor) -> AbstractContextManager:
    """Return the context in which operations on x keep their own precision."""
    kind = x.device.type
    # The meta device, on which a model's shapes are worked out without memory, has no autocast to leave.
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Make tensors and weights float32 where nothing says otherwise, whatever the program around us has set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
