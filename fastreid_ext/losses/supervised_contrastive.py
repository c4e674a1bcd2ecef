"""Supervised contrastive loss.

Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, eq. 2.
"""

import math

import torch

from fastreid_ext.errors import ConfigError
from fastreid_ext.layers.unit_length import in_range, unit_length
from fastreid_ext.losses.demands import demand
from fastreid_ext.precision import without_autocast


def supervised_contrastive_loss(
    features: torch.Tensor, targets: torch.Tensor, temperature: float = 0.1, checked: bool = False
) -> torch.Tensor:
    """Mean over images of -log of the share that another image of the same person has among all others (eq. 2, L_out).

    The share of image p for image i is exp(z_i . z_p / temperature) over the sum of that of all images but i; z is a
    feature divided by its length. The logarithm is averaged over the other images of the person, and then over all
    images that have one; the paper prints the sum over images.

    Args:
        features: (B, D), any float type; computed in float32 or better.
        targets: (B,) identity of every row.
        temperature: > 0; the paper's is 0.1.
        checked: whether :func:`demand_two_images_of_one` was called for the targets already.

    Returns:
        A scalar, 0 or more.

    Raises:
        ConfigError: a temperature outside its range, or a batch without two images of one identity.
        ValueError: shapes that do not fit.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ConfigError(
            f"the temperature of the supervised contrastive loss must be positive and finite, got {temperature}"
        )
    if features.dim() != 2 or targets.shape != features.shape[:1]:
        raise ValueError(
            f"expected features (B, D) and targets (B,), got {tuple(features.shape)} and {tuple(targets.shape)}"
        )
    if not checked:
        demand_two_images_of_one(targets)
    itself = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    positive = (targets[:, None] == targets[None, :]) & ~itself
    counts = positive.sum(dim=1)
    with without_autocast(features):
        z = unit_length(in_range(features))
        similarities = z @ z.T / temperature
        others = similarities.masked_fill(itself, -math.inf)
        log_shares = similarities - torch.logsumexp(others, dim=1, keepdim=True)
        of_image = -(log_shares * positive).sum(dim=1) / counts.clamp(min=1)
        return of_image.sum() / (counts > 0).sum()


def demand_two_images_of_one(targets: torch.Tensor) -> None:
    """Refuse targets (B,) that are all different.

    Raises:
        ConfigError: they are.
    """
    demand(
        (targets[:, None] == targets[None, :]).sum() > len(targets),  # an image is no pair with itself
        "the supervised contrastive loss compares images of one identity, but there are no two in this batch of"
        f" {len(targets)}: check the sampler and DATALOADER.NUM_INSTANCE",
    )
