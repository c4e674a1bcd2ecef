"""Soft attention.

Kim and Kim, Mask Separated Feature Learning for Person Re-Identification, section 3.2 and figure 3; after the soft part
of Li et al., Harmonious Attention Network for Person Re-Identification, CVPR 2018.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.precision import without_autocast


class SoftAttention(nn.Module):
    """x * sigmoid(BN(W (spatial(x) * channel(x)))): one weight for every channel of every position (figure 3).

    The spatial part weighs the channels into one map (the paper's "weighted average pooling", in place of Li et al.'s
    mean), convolves it with stride 2, enlarges it to the input's own size, so that odd maps work too, and convolves
    again. The channel part is a squeeze and excitation. A batch norm and a ReLU follow every convolution except
    the first and the last one before the sigmoid; none has a bias.

    Args:
        channels: C.
        reduction: the channel part has C / reduction channels inside.
        norm: channels -> normalisation layer.

    Raises:
        ConfigError: a reduction that does not divide the channels.
    """

    def __init__(self, channels: int, reduction: int = 16, norm: Callable[[int], nn.Module] = nn.BatchNorm2d):
        super().__init__()
        if reduction < 1 or channels % reduction:
            raise ConfigError(f"soft attention needs a reduction that divides its {channels} channels, got {reduction}")
        inner = channels // reduction
        self.weigh = nn.Conv2d(channels, 1, 1, bias=False)
        self.shrink = _layer(1, 1, norm, kernel_size=3, stride=2, padding=1)
        self.refine = _layer(1, 1, norm, kernel_size=3, padding=1)
        self.squeeze = _layer(channels, inner, norm)
        self.excite = _layer(inner, channels, norm)
        self.combine = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), norm(channels))

    def spatial(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, 1, h, w), in the type of the weights.

        Not in bfloat16 under autocast: where the smaller map has one position, torch's CPU convolution with stride 2
        then makes the gradient of what lay in the memory before (seen with torch 2.15.0 on a CPU with AMX).
        """
        weighed = self.weigh(x)
        with without_autocast(x):
            small = self.shrink(weighed.to(self.weigh.weight.dtype))
            return self.refine(F.interpolate(small, size=x.shape[2:], mode="bilinear", align_corners=True))

    def channel(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, 1, 1)."""
        return self.excite(self.squeeze(x.mean(dim=(2, 3), keepdim=True)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, h, w).

        Raises:
            ConfigError: one image in a training batch: the channel part's batch norms see one value a channel.
        """
        if self.training and x.shape[0] < 2:
            raise ConfigError("soft attention needs at least two images in a training batch, got one")
        return x * self.combine(self.spatial(x) * self.channel(x)).sigmoid()


def _layer(in_channels: int, out_channels: int, norm: Callable[[int], nn.Module], **settings: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, bias=False, **({"kernel_size": 1} | settings))
    return nn.Sequential(convolution, norm(out_channels), nn.ReLU(inplace=True))
