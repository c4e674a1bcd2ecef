"""Semantic guidance and feature extraction modules (section 3.1)."""

import torch
import torch.nn.functional as F
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.residual_blocks import block_count, following_block


class SemanticGuidance(nn.Module):
    """Add stage 4's map to a fine one: a 1x1 convolution to its channels, enlarged bilinearly to its size.

    The paper enlarges first and then convolves; convolving first gives the same numbers for less work.

    Args:
        coarse_channels, channels: of stage 4's map and of the fine one.
    """

    def __init__(self, coarse_channels: int, channels: int):
        super().__init__()
        self.match = nn.Conv2d(coarse_channels, channels, 1)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W), (B, C4, h, w) -> (B, C, H, W)."""
        return fine + F.interpolate(self.match(coarse), size=fine.shape[2:], mode="bilinear", align_corners=False)


def feature_extraction(
    trunk: nn.Module, stage: int, channels: int, blocks: int = -1, norm: str = "BN"
) -> nn.Sequential:
    """Return residual blocks of a stage's own kind, from its channels to its channels, without stride.

    "Each feature extraction module is designed as one residual block", which in this paper is a stage of the ResNet:
    only so its GFLOPs (table 8) come out.

    Args:
        trunk: any trunk; it is only looked at.
        stage: 1 to 4.
        channels: of the stage's map.
        blocks: how many; -1 = as many as the stage has, 0 = none.
        norm: FastReID's name of the batch norm.

    Raises:
        ConfigError: a number below -1, or blocks of a kind that can't be made.
    """
    if blocks < -1:
        raise ConfigError(f"MODEL.MGRE.FE.BLOCKS must be -1 (as the stage), 0 (none) or more, got {blocks}")
    blocks = block_count(trunk, stage) if blocks == -1 else blocks
    extra = nn.Sequential(*(following_block(trunk, stage, channels, norm) for _ in range(blocks)))
    for module in extra.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return extra


def pool(maps: torch.Tensor) -> torch.Tensor:
    """Global average plus global max pooling (figure 3): (B, C, h, w) -> (B, C), in float32."""
    maps = maps.float()
    return maps.mean(dim=(2, 3)) + maps.amax(dim=(2, 3))
