"""Batch-hard triplet losses.

Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017; Deep Miner, eq. 5.
"""

import torch
import torch.nn.functional as F

from fastreid_ext.losses.demands import demand
from fastreid_ext.losses.pair_penalties import triplet_penalty
from fastreid_ext.precision import at_least_float32, without_autocast


def demand_two_identities(targets: torch.Tensor) -> None:
    """Refuse targets (B,) that are all the same, or none: there is no negative.

    Raises:
        ConfigError: they are.
    """
    demand(
        (targets != targets[:1]).any(),
        f"a triplet needs images of at least two identities, but all {len(targets)} images of this batch"
        " show the same one: check the sampler and DATALOADER.NUM_INSTANCE",
    )


def hardest_distances(
    features: torch.Tensor, targets: torch.Tensor, checked: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Euclidean distance of every image to its farthest positive and its nearest negative in the batch.

    The image itself counts as a positive at distance 0, as the maximum over l in eq. 5 of Deep Miner has it,
    so an identity with one image is defined. The gradient of a zero distance is zero.

    Args:
        features: (B, D), any float type; distances are taken in float32 or better.
        targets: (B,) identity of every row.
        checked: whether :func:`demand_two_identities` was called for them already.

    Returns:
        Two tensors (B,): hardest positive and hardest negative distance.

    Raises:
        ConfigError: the batch holds one identity only (there is no negative), or shapes that do not fit.
    """
    if features.dim() != 2 or targets.shape != features.shape[:1]:
        raise ValueError(
            f"expected features (B, D) and targets (B,), got {tuple(features.shape)} and {tuple(targets.shape)}"
        )
    if not checked:
        demand_two_identities(targets)
    same = targets[:, None] == targets[None, :]
    with without_autocast(features):
        x = at_least_float32(features)
        # The matrix-product form loses half the digits of small distances, and those are the ones that count.
        distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        positive = distances.masked_fill(~same, 0.0).amax(dim=1)
        negative = distances.masked_fill(same, float("inf")).amin(dim=1)
    return positive, negative


def soft_margin_triplet_loss(features: torch.Tensor, targets: torch.Tensor, checked: bool = False) -> torch.Tensor:
    """Mean over the batch of softplus(hardest positive - hardest negative) (Deep Miner, eq. 5).

    The paper prints a sum; we take the mean, as the public baselines do.

    Args and errors as :func:`hardest_distances`. Returns a scalar.
    """
    positive, negative = hardest_distances(features, targets, checked=checked)
    return F.softplus(positive - negative).mean()


def batch_hard_triplet_loss(
    features: torch.Tensor, targets: torch.Tensor, margin: float = 0.3, checked: bool = False
) -> torch.Tensor:
    """Mean over the batch of max(0, margin + hardest positive - hardest negative).

    Args:
        features, targets: as :func:`hardest_distances`, whose errors are raised here too.
        margin: minimum gap between the two distances, > 0.
        checked: as there.

    Raises:
        ConfigError: the margin is not positive.
    """
    return triplet_penalty(*hardest_distances(features, targets, checked=checked), margin).mean()
