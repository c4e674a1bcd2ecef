"""Losses, distances, affinities and softmaxes are computed in float32 (or better) whatever the model's precision."""

from contextlib import AbstractContextManager, nullcontext

import torch


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return x in float32 if it is a half type, else x itself (float64 stays float64)."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def without_autocast(x: torch.Tensor) -> AbstractContextManager:
    """Return the context in which operations on x keep their own precision."""
    kind = x.device.type
    # The meta device, on which a model's shapes are worked out without memory, has no autocast to leave.
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
