"""Losses, distances, affinities and softmaxes are computed in float32 (or better) whatever the model's precision is."""

import torch


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Return x in float32 if it is a half type, else x itself (float64 stays float64)."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def without_autocast(x: torch.Tensor) -> torch.autocast:
    """Return the context in which operations on x keep their own precision."""
    return torch.autocast(x.device.type, enabled=False)
