"""FastReID's ResNet with fewer channels, for models that a CPU trains and runs."""

from typing import Any

from fastreid.config import CfgNode
from fastreid.layers import get_norm
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones.resnet import BasicBlock, ResNet
from torch import nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.backbones import UNPUBLISHED, with_pretrained

__all__ = ["BLOCKS", "NarrowResNet", "build_narrow_resnet_backbone"]

FULL_WIDTH = 64  # channels of the first stage of a ResNet
GROUPS = 32  # of FastReID's group norm
SQUEEZED = 16  # channels for one inside squeeze-and-excitation, which FastReID rounds down
BLOCKS = {"10x": (1, 1, 1, 1), "18x": (2, 2, 2, 2), "34x": (3, 4, 6, 3)}  # DEPTH -> basic blocks of each stage


class NarrowResNet(ResNet):
    """A ResNet of basic blocks whose stages have ``width``, 2, 4 and 8 times ``width`` channels.

    FastReID's ResNet-18 and -34 have a width of 64. Stages, their names and strides are the same. The stem's
    convolution is 3x3, with a fifth of the multiply-adds of FastReID's 7x7.

    Args:
        width: channels of stem and first stage.
        blocks: basic blocks of each stage.
        last_stride: of the last stage, 1 or 2.
        norm: FastReID's name of the normalisation.
        instance_norm: half of the channels behind the first convolution of each block are normalised per image, in the
            first three stages (IBN-a, Pan et al., ECCV 2018).
        squeeze_excitation: with squeeze-and-excitation in each block.
    """

    def __init__(
        self,
        width: int,
        blocks: tuple[int, int, int, int],
        last_stride: int = 1,
        norm: str = "BN",
        instance_norm: bool = False,
        squeeze_excitation: bool = False,
    ):
        self.width = width
        super().__init__(last_stride, norm, instance_norm, squeeze_excitation, False, BasicBlock, blocks, (0, 0, 0, 0))
        self.conv1 = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.bn1 = get_norm(norm, width)
        self.random_init()

    def _make_layer(self, block: type[nn.Module], planes: int, *args: Any, **settings: Any) -> nn.Sequential:
        if planes == FULL_WIDTH:  # the first stage: its input is the stem's output
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // FULL_WIDTH, *args, **settings)


@register(BACKBONE_REGISTRY)
@with_pretrained(UNPUBLISHED)
def build_narrow_resnet_backbone(cfg: CfgNode) -> nn.Module:
    """Build the narrow ResNet of MODEL.BACKBONE.DEPTH (10x, 18x or 34x) and MODEL.BACKBONE.NARROW.WIDTH.

    Raises:
        ConfigError: another depth, non-local blocks, or a width that is too small for group norm or for
            squeeze-and-excitation.
    """
    node = cfg.MODEL.BACKBONE
    if node.DEPTH not in BLOCKS:
        raise ConfigError(
            f"MODEL.BACKBONE.DEPTH is {node.DEPTH!r}, and build_narrow_resnet_backbone has {', '.join(BLOCKS)}"
        )
    if node.WITH_NL:
        raise ConfigError(
            "FastReID's non-local blocks have the channels of a full ResNet, not of build_narrow_resnet_backbone: set"
            " MODEL.BACKBONE.WITH_NL False"
        )
    width = node.NARROW.WIDTH
    grouped = GROUPS * (2 if node.WITH_IBN else 1)  # instance norm leaves half of the channels to NORM
    if node.NORM == "GN" and width % grouped:
        raise ConfigError(
            f"MODEL.BACKBONE.NORM GN divides channels into {GROUPS} groups: set MODEL.BACKBONE.NARROW.WIDTH"
            f" to a multiple of {grouped}, or another NORM"
        )
    if node.WITH_SE and width < SQUEEZED:
        raise ConfigError(
            f"MODEL.BACKBONE.WITH_SE keeps one of {SQUEEZED} channels inside, and stage 1 has {width}: set"
            f" MODEL.BACKBONE.NARROW.WIDTH to {SQUEEZED} or more, or WITH_SE False"
        )
    return NarrowResNet(width, BLOCKS[node.DEPTH], node.LAST_STRIDE, node.NORM, node.WITH_IBN, node.WITH_SE)
