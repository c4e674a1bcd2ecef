"""Division by the L2 norm, with a gradient that stays finite at zero."""

import torch

from fastreid_ext.precision import at_least_float32, without_autocast


def unit_length(x: torch.Tensor) -> torch.Tensor:
    """Divide the last axis by its L2 norm, in float32 or better.

    A vector of zeros stays zero and its gradient is not scaled; ``torch.nn.functional.normalize`` multiplies it
    by 1e12 there.

    Args:
        x: (..., D), any float type.

    Returns:
        (..., D) in float32 (float64 stays float64).
    """
    with without_autocast(x):
        x = at_least_float32(x)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / torch.where(norm > 0, norm, torch.ones_like(norm))
