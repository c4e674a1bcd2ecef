"""Res2Net as a FastReID backbone (section II.B), with the stages and names of FastReID's ResNet."""

from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.layers import get_norm
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.backbones import Weights, with_pretrained
from fastreid_ext.res2net.bottleneck import Res2NetBottleneck
from fastreid_ext.res2net.weights import describe, pretrained_file

# Residual blocks of layer1 ... layer4; a block counts as three layers, so a depth is 3 x blocks + 2.
BLOCKS = {"26x": (2, 2, 2, 2), "50x": (3, 4, 6, 3), "101x": (3, 4, 23, 3)}
NORMS = ("BN", "syncBN", "GhostBN", "FrozenBN", "GN")  # of FastReID's get_norm


class Res2Net(nn.Module):
    """The trunk of a Res2Net: stem and four stages, without the classifier.

    Args:
        blocks: residual blocks of layer1 ... layer4.
        width, scale, norm: see :class:`Res2NetBottleneck`.
        v1b: three 3x3 convolutions as the stem, and average pooling in the shortcuts instead of a stride.
        last_stride: of layer4, 1 or 2.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        width: int = 26,
        scale: int = 4,
        v1b: bool = False,
        last_stride: int = 2,
        norm: str = "BN",
    ):
        super().__init__()
        self.conv1 = _deep_stem(norm) if v1b else nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = get_norm(norm, 64)
        self.relu = nn.ReLU(inplace=True)
        # The authors'; FastReID's ResNet has ceil_mode instead of the padding.
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for i, (count, stride) in enumerate(zip(blocks, (1, 2, 2, last_stride), strict=True)):
            planes = 64 * 2**i
            shape = {"planes": planes, "width": width, "scale": scale, "norm": norm}
            out_channels = planes * Res2NetBottleneck.expansion
            shortcut = _shortcut(channels, out_channels, stride, v1b, norm)
            stage = [Res2NetBottleneck(channels, stride=stride, downsample=shortcut, first=True, **shape)]
            stage += [Res2NetBottleneck(out_channels, **shape) for _ in range(count - 1)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
            channels = out_channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 2048, H/32, W/32), or H/16 and W/16 with last_stride 1."""
        y = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(y))))


def _deep_stem(norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
        get_norm(norm, 32),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 32, 3, padding=1, bias=False),
        get_norm(norm, 32),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 3, padding=1, bias=False),
    )


def _shortcut(in_channels: int, out_channels: int, stride: int, v1b: bool, norm: str) -> nn.Sequential:
    if v1b:  # the pooling stands at place 0 without a stride too: the authors' weights count it
        return nn.Sequential(
            nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            get_norm(norm, out_channels),
        )
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), get_norm(norm, out_channels)
    )


def _published(backbone: nn.Module, node: CfgNode) -> Path:
    return pretrained_file(
        node.PRETRAIN_PATH, node.DEPTH, width=node.RES2NET.WIDTH, scale=node.RES2NET.SCALE, v1b=node.RES2NET.V1B
    )


@register(BACKBONE_REGISTRY)
@with_pretrained(Weights(_published, {"describe": describe}))
def build_res2net_backbone(cfg: CfgNode) -> nn.Module:
    """Build the Res2Net of MODEL.BACKBONE and MODEL.BACKBONE.RES2NET.

    Raises:
        ConfigError: a depth that no Res2Net has, a part of FastReID's ResNet that this one lacks, an unknown
            norm, a width, scale or stride out of range, or pretrained weights that are missing or of another network.
    """
    node = cfg.MODEL.BACKBONE
    if node.DEPTH not in BLOCKS:
        raise ConfigError(
            f"MODEL.BACKBONE.DEPTH is {node.DEPTH!r}, and build_res2net_backbone has {', '.join(BLOCKS)}: its blocks"
            " count as three layers, stem and classifier as two more, so there are no 18, 34 or 121;"
            " 26x has as many blocks as an 18x"
        )
    lacking = [f"MODEL.BACKBONE.{key}" for key in ("WITH_IBN", "WITH_SE", "WITH_NL") if node[key]]
    if lacking:
        raise ConfigError(
            f"build_res2net_backbone has no instance norm, squeeze-and-excitation or non-local blocks: set"
            f" {' and '.join(lacking)} False"
        )
    if node.NORM not in NORMS:
        raise ConfigError(f"MODEL.BACKBONE.NORM is {node.NORM!r}, and FastReID has {', '.join(NORMS)}")
    if node.LAST_STRIDE not in (1, 2):
        raise ConfigError(f"MODEL.BACKBONE.LAST_STRIDE must be 1 or 2 for a Res2Net, got {node.LAST_STRIDE}")
    if node.NORM == "GN" and node.RES2NET.WIDTH % 32:
        raise ConfigError(
            f"MODEL.BACKBONE.NORM GN has 32 groups, which splits of {node.RES2NET.WIDTH} channels do not make: set"
            " MODEL.BACKBONE.RES2NET.WIDTH to a multiple of 32, or another NORM"
        )
    kind = {"width": node.RES2NET.WIDTH, "scale": node.RES2NET.SCALE, "v1b": node.RES2NET.V1B}
    return Res2Net(BLOCKS[node.DEPTH], **kind, last_stride=node.LAST_STRIDE, norm=node.NORM)


# Where the weights of a node MODEL.BACKBONE are expected, for `fastreid-ext doctor`.
build_res2net_backbone.pretrained_file = lambda node: _published(None, node)
