"""Division by the L2 norm, with a gradient that stays finite at zero, and what keeps a norm within float32."""

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


def in_range(x: torch.Tensor) -> torch.Tensor:
    """Divide rows by their largest value where the squares of their values, or of the norm, leave float32.

    Other rows stay as they are, to the bit. The result has the direction of x, and the gradient of its unit vector. A
    row of 1e20 has an infinite norm, and its unit vector was zero. Takes and returns what :func:`unit_length` does.
    """
    with without_autocast(x):
        x = at_least_float32(x)
        largest = x.detach().abs().amax(dim=-1, keepdim=True)
        fits = (largest < 1e17) & (largest > 1e-18) | (largest == 0) | ~torch.isfinite(largest)
        return x / torch.where(fits, torch.ones_like(largest), largest)
