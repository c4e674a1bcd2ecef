"""Pooling of the local branch (section 3.3, figure 4)."""

import torch
import torch.nn.functional as F
from torch import nn

from fastreid_ext.errors import ConfigError


class StripePool(nn.Module):
    """Average each of n horizontal stripes and concatenate them: (B, C, h, w) -> (B, n * C), top stripe first.

    Where n does not divide the height, some neighbouring stripes share a row (torch's adaptive pooling).

    Raises:
        ConfigError: fewer rows than stripes.
    """

    def __init__(self, stripes: int = 4):
        super().__init__()
        self.stripes = stripes

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        if y.shape[2] < self.stripes:
            raise ConfigError(
                f"{self.stripes} stripes need a map of at least {self.stripes} rows, got {y.shape[2]}: raise"
                " INPUT.SIZE_TRAIN / SIZE_TEST or lower MODEL.DEEPMINER.LOCAL_STRIPES"
            )
        stripes = F.adaptive_avg_pool2d(y, (self.stripes, 1))[..., 0]  # (B, C, n)
        return stripes.transpose(1, 2).flatten(1)
