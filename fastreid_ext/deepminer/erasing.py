"""The erasing operation ErO of Deep Miner (section 3.2, eq. 1)."""

import torch

from fastreid_ext.errors import ConfigError


@torch.no_grad()
def keep_mask(features: torch.Tensor, threshold: float = 0.8) -> torch.Tensor:
    """Mark what an input-erased branch may see: 1 where the map is kept, 0 where it is erased (eq. 1).

    The maps are averaged over channels, scaled to [0, 1] per image, and kept where that value does not exceed
    the threshold. A constant map has no salient position: nothing is erased. The mask carries no gradient.

    Args:
        features: (B, C, h, w).
        threshold: tau in [0, 1]; 1 keeps everything.

    Returns:
        (B, 1, h, w) of zeros and ones, in the dtype of the features.

    Raises:
        ValueError: a threshold outside [0, 1], or a tensor that is not (B, C, h, w).
    """
    check_threshold(threshold)
    if features.dim() != 4:
        raise ValueError(f"expected feature maps (B, C, h, w), got {tuple(features.shape)}")
    wide = torch.promote_types(features.dtype, torch.float32)
    mean = features.mean(dim=1, keepdim=True, dtype=wide)  # (B, 1, h, w)
    low, high = mean.amin(dim=(2, 3), keepdim=True), mean.amax(dim=(2, 3), keepdim=True)
    span = high - low
    # A constant map has span 0: 0 / 1 is 0 everywhere, and nothing is erased.
    normalised = (mean - low) / torch.where(span > 0, span, torch.ones_like(span))
    return (normalised <= threshold).to(features.dtype)


def erase(features: torch.Tensor, threshold: float = 0.8) -> torch.Tensor:
    """Return Y^e = M * Y: the feature maps (B, C, h, w) with their most salient positions set to zero."""
    return features * keep_mask(features, threshold)


def check_threshold(threshold: float) -> None:
    """Raise a ConfigError unless tau lies in [0, 1]."""
    if not 0.0 <= threshold <= 1.0:
        raise ConfigError(f"the erasing threshold tau must lie in [0, 1], got {threshold}")
