"""Bounded exponential distance (BED) loss.

Yan et al., Occluded Person Re-Identification with Single-scale Global Representations, ICCV 2021, eq. 3.
"""

import math

import torch

from fastreid_ext.errors import ConfigError
from fastreid_ext.layers.unit_length import in_range, unit_length
from fastreid_ext.losses.demands import demand
from fastreid_ext.losses.pair_penalties import bounded_exponential_penalty
from fastreid_ext.precision import at_least_float32, without_autocast

REDUCTIONS = ("balanced", "mean", "hard")


def bounded_exponential_distance_loss(
    features: torch.Tensor,
    targets: torch.Tensor,
    alpha: float = 0.3,
    normalize: bool = True,
    reduction: str = "balanced",
    checked: bool = False,
) -> torch.Tensor:
    """1 - exp(-alpha d) for two images of one person, exp(-alpha d) for images of two; d is their L2 distance (eq. 3).

    The paper does not say how the pairs of a batch are combined: ``balanced`` is the mean over the positive plus
    the mean over the negative ordered pairs i != j, ``mean`` the mean over all of them, ``hard`` the mean over the
    images of the farthest positive plus that of the nearest negative. The gradient of a zero distance is zero.

    Args:
        features: (B, D), any float type; computed in float32 or better.
        targets: (B,) identity of every row.
        alpha: sensitivity, > 0; the paper's is 0.3.
        normalize: divide the features by their L2 norm, as the text has it ("the features are all normalized after
            the global pooling"); raw ones lie far apart and saturate the loss.
        reduction: balanced, mean or hard.
        checked: whether :func:`demand_both_pairs` was called for the targets already.

    Returns:
        A scalar: in [0, 2], for ``mean`` in [0, 1].

    Raises:
        ConfigError: a setting outside its range, shapes that do not fit, or a batch without a positive or without a
            negative pair.
    """
    if not (alpha > 0 and math.isfinite(alpha)):
        raise ConfigError(f"the sensitivity alpha of the BED loss must be positive and finite, got {alpha}")
    if reduction not in REDUCTIONS:
        raise ConfigError(f"the reduction of the BED loss must be one of {REDUCTIONS}, got {reduction!r}")
    if features.dim() != 2 or targets.shape != features.shape[:1]:
        raise ValueError(
            f"expected features (B, D) and targets (B,), got {tuple(features.shape)} and {tuple(targets.shape)}"
        )
    if not checked:
        demand_both_pairs(targets)
    same = targets[:, None] == targets[None, :]
    positive = same & ~torch.eye(targets.shape[0], dtype=torch.bool, device=targets.device)
    with without_autocast(features):
        x = unit_length(in_range(features)) if normalize else at_least_float32(features)
        # The matrix-product form loses half the digits of small distances, and those are the ones that count.
        distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        if reduction == "hard":
            farthest = distances.masked_fill(~positive, 0.0).amax(dim=1)
            nearest = distances.masked_fill(same, math.inf).amin(dim=1)
            close = _mean_where(positive.any(dim=1), bounded_exponential_penalty(farthest, True, alpha))
            return close + bounded_exponential_penalty(nearest, False, alpha).mean()
        losses = bounded_exponential_penalty(distances, same, alpha)
        if reduction == "mean":
            return _mean_where(positive | ~same, losses)
        return _mean_where(positive, losses) + _mean_where(~same, losses)


def demand_both_pairs(targets: torch.Tensor) -> None:
    """Refuse targets (B,) without a pair of one identity, or without one of two.

    Raises:
        ConfigError: there is none.
    """
    same = targets[:, None] == targets[None, :]
    found = {
        "two images of one identity": same.sum() > len(targets),  # an image is no pair with itself
        "images of two identities": ~same.all(),
    }
    for what, there in found.items():
        demand(
            there,
            f"the BED loss compares pairs, but there are no {what} in this batch of {len(targets)}: check the"
            " sampler and DATALOADER.NUM_INSTANCE",
        )


def _mean_where(mask: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
    return (losses * mask).sum() / mask.sum()
