"""ResNet-152: FastReID's ResNet ends at 101 layers."""

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones.resnet import Bottleneck, ResNet
from torch import nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.backbones import Weights, with_pretrained
from fastreid_ext.modeling.downloaded_weights import downloaded, resnet_key

__all__ = ["BLOCKS", "DeepResNet", "build_deep_resnet_backbone"]

BLOCKS = {"152x": (3, 8, 36, 3)}  # DEPTH -> bottlenecks of each stage
# Of torchvision, as FastReID's own for fewer layers: the plain network's, with neither IBN nor SE.
model_urls = {"152x": "https://download.pytorch.org/models/resnet152-394f9c45.pth"}


class DeepResNet(ResNet):
    """FastReID's ResNet of bottlenecks, with more of them.

    Args:
        blocks: bottlenecks of each stage.
        last_stride: of the last stage, 1 or 2.
        norm: FastReID's name of the normalisation.
        instance_norm: half of the channels behind the first convolution of each block are normalised per image, in the
            first three stages (IBN-a, Pan et al., ECCV 2018).
        squeeze_excitation: with squeeze-and-excitation in each block.
    """

    def __init__(
        self,
        blocks: tuple[int, int, int, int],
        last_stride: int = 1,
        norm: str = "BN",
        instance_norm: bool = False,
        squeeze_excitation: bool = False,
    ):
        super().__init__(last_stride, norm, instance_norm, squeeze_excitation, False, Bottleneck, blocks, (0, 0, 0, 0))


@register(BACKBONE_REGISTRY)
@with_pretrained(Weights(downloaded(resnet_key, hub=True), depths=tuple(BLOCKS)))
def build_deep_resnet_backbone(cfg: CfgNode) -> nn.Module:
    """Build the ResNet of MODEL.BACKBONE.DEPTH 152x.

    Raises:
        ConfigError: another depth, or non-local blocks.
    """
    node = cfg.MODEL.BACKBONE
    if node.WITH_NL:
        raise ConfigError(
            "FastReID says nowhere behind which blocks of a ResNet-152 its non-local blocks stand: set"
            " MODEL.BACKBONE.WITH_NL False"
        )
    return DeepResNet(BLOCKS[node.DEPTH], node.LAST_STRIDE, node.NORM, node.WITH_IBN, node.WITH_SE)
