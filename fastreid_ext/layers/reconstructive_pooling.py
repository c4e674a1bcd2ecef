"""Reconstructive pooling.

Yan et al., Occluded Person Re-Identification with Single-scale Global Representations, ICCV 2021, eq. 2.
"""

import torch
from torch import nn

from fastreid_ext.precision import at_least_float32, without_autocast


class ReconstructivePooling(nn.Module):
    """f_r = (W_v F) softmax(W_m F)^T: one map of weights over positions, a linear layer on what it pools (eq. 2).

    We pool first and multiply by W_v then: the same numbers, h * w times cheaper. The softmax runs over the positions
    of one image, in float32 under any autocast; the text calls it a selection "on channels", but eq. 2 gives one weight
    a position.

    Args:
        channels: C of the last feature map.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.mask = nn.Conv2d(channels, 1, 1, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        nn.init.normal_(self.mask.weight, std=0.01)
        nn.init.kaiming_normal_(self.value.weight, nonlinearity="linear")

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C).

        Raises:
            ValueError: an input that is not (B, C, h, w).
        """
        if f.dim() != 4 or f.shape[1] != self.value.in_features:
            raise ValueError(f"expected feature maps (B, {self.value.in_features}, h, w), got {tuple(f.shape)}")
        mask = self.mask(f).flatten(2)  # (B, 1, N)
        with without_autocast(f):
            weights = at_least_float32(mask).softmax(dim=2)
            pooled = at_least_float32(f).flatten(2) @ weights.transpose(1, 2)  # (B, C, 1)
        return self.value(pooled[..., 0].to(f.dtype))
