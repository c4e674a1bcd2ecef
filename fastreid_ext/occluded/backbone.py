"""FastReID's ResNet with disentangled non-local blocks (section 3.2, eq. 1)."""

from collections.abc import Sequence

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones.resnet import build_resnet_backbone
from torch import nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import DisentangledNonLocal2d
from fastreid_ext.modeling.backbones import RESNET, with_pretrained
from fastreid_ext.modeling.trunk import STAGES, stage_channels


@register(BACKBONE_REGISTRY)
@with_pretrained(RESNET)
def build_dnl_resnet_backbone(cfg: CfgNode) -> nn.Module:
    """Build FastReID's ResNet with DNL blocks behind the last residual blocks of its stages (MODEL.BACKBONE.DNL).

    The blocks start as the identity, so ImageNet weights keep their meaning.

    Raises:
        ConfigError: MODEL.BACKBONE.WITH_NL at the same time, or more blocks than a stage has.
    """
    if cfg.MODEL.BACKBONE.WITH_NL:
        raise ConfigError(
            "build_dnl_resnet_backbone puts disentangled non-local blocks where MODEL.BACKBONE.WITH_NL puts FastReID's"
            " non-local ones: set WITH_NL False"
        )
    node = cfg.MODEL.BACKBONE.DNL
    return add_non_local(build_resnet_backbone(cfg), node.BLOCKS, node.REDUCTION)


def add_non_local(backbone: nn.Module, blocks: Sequence[int], reduction: int) -> nn.Module:
    """Put a DNL block behind each of the last ``blocks[i - 1]`` residual blocks of layer i, and return the backbone.

    FastReID's ResNet runs its own non-local blocks from the lists ``NL_i`` behind the blocks ``NL_i_idx``; ours
    replace them, so its forward is the host's.

    Raises:
        ConfigError: not four numbers, or more blocks than a stage has.
    """
    depths = [len(getattr(backbone, f"layer{stage}")) for stage in STAGES]
    if len(blocks) != len(STAGES) or not all(0 <= n <= depth for n, depth in zip(blocks, depths, strict=False)):
        raise ConfigError(
            "MODEL.BACKBONE.DNL.BLOCKS must say for layer1 ... layer4 how many of its last residual blocks a non-local"
            f" block follows, at most {depths} for this depth; got {list(blocks)}"
        )
    channels = stage_channels(backbone)
    for stage, count, depth in zip(STAGES, blocks, depths, strict=True):
        layers = nn.ModuleList(DisentangledNonLocal2d(channels[stage], reduction) for _ in range(count))
        setattr(backbone, f"NL_{stage}", layers)
        setattr(backbone, f"NL_{stage}_idx", list(range(depth - count, depth)))
    return backbone
