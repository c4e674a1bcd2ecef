"""The bottleneck block that makes the mask and shortens the maps (sections 3.3 and 3.4)."""

from collections.abc import Callable

import torch
from torch import nn


class ProjectedBottleneck(nn.Module):
    """ResNet's bottleneck of 1x1, 3x3 and 1x1 convolutions with a projected shortcut, from C channels to any number.

    All convolutions have a bias, as the authors' do.

    Args:
        in_channels: C.
        out_channels: of the result.
        activation: behind the sum; the mask's is a sigmoid (3.3).
        norm: channels -> normalisation layer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        activation: nn.Module | None = None,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ):
        super().__init__()
        inner = in_channels // 4
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, inner, 1),
            norm(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, inner, 3, padding=1),
            norm(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, out_channels, 1),
            norm(out_channels),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), norm(out_channels))
        self.activation = nn.ReLU(inplace=True) if activation is None else activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, out_channels, h, w)."""
        return self.activation(self.body(x) + self.shortcut(x))
