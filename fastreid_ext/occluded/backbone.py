"""Trunks with disentangled non-local blocks (section 3.2, eq. 1): the paper's ResNet, and any other."""

from collections.abc import Sequence

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.backbones.resnet import build_resnet_backbone
from torch import nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import DisentangledNonLocal2d
from fastreid_ext.modeling.anatomy import STAGES, anatomy_of
from fastreid_ext.modeling.backbones import RESNET, with_pretrained
from fastreid_ext.modeling.trunk import block_channels, put_behind

TWICE = (
    "{} puts disentangled non-local blocks where MODEL.BACKBONE.WITH_NL puts FastReID's non-local ones: set WITH_NL"
    " False"
)


@register(BACKBONE_REGISTRY)
@with_pretrained(RESNET)
def build_dnl_resnet_backbone(cfg: CfgNode) -> nn.Module:
    """Build FastReID's ResNet with DNL blocks behind the last residual blocks of its stages (MODEL.BACKBONE.DNL).

    The blocks start as the identity, so ImageNet weights keep their meaning.

    Raises:
        ConfigError: MODEL.BACKBONE.WITH_NL at the same time, or more blocks than a stage has.
    """
    if cfg.MODEL.BACKBONE.WITH_NL:
        raise ConfigError(TWICE.format("build_dnl_resnet_backbone"))
    node = cfg.MODEL.BACKBONE.DNL
    return add_non_local(build_resnet_backbone(cfg), node.BLOCKS, node.REDUCTION)


@register(BACKBONE_REGISTRY)
def build_dnl_backbone(cfg: CfgNode) -> nn.Module:
    """Build MODEL.BACKBONE.DNL.TRUNK with DNL blocks behind the last residual blocks of its stages.

    Raises:
        ConfigError: as :func:`build_dnl_resnet_backbone`, a trunk without stages, or one that has such blocks already.
    """
    node = cfg.MODEL.BACKBONE.DNL
    if "dnl" in node.TRUNK:
        raise ConfigError(
            f"MODEL.BACKBONE.DNL.TRUNK is {node.TRUNK}, which has disentangled non-local blocks already: set one"
            " without, such as build_osnet_backbone"
        )
    bare = cfg.clone()
    bare.defrost()
    bare.MODEL.BACKBONE.NAME = node.TRUNK
    if cfg.MODEL.BACKBONE.WITH_NL:
        raise ConfigError(TWICE.format("build_dnl_backbone"))
    return add_non_local(build_backbone(bare), node.BLOCKS, node.REDUCTION)


build_dnl_resnet_backbone.builds_on = lambda node: "build_resnet_backbone"
build_dnl_backbone.builds_on = lambda node: node.DNL.TRUNK


def add_non_local(backbone: nn.Module, blocks: Sequence[int], reduction: int) -> nn.Module:
    """Put a DNL block behind each of the last ``blocks[i - 1]`` residual blocks of stage i, and return the backbone.

    FastReID's ResNet and ResNeXt run non-local blocks of their own from the lists ``NL_i`` behind the blocks
    ``NL_i_idx``; there ours stand in these. In other trunks each belongs to the block that it follows.

    Raises:
        ConfigError: a backbone without stages, not four numbers, or more blocks than a stage has.
    """
    names = {stage: anatomy_of(backbone).block_names(backbone, stage) for stage in STAGES}
    depths = [len(names[stage]) for stage in STAGES]
    if len(blocks) != len(STAGES) or not all(0 <= n <= depth for n, depth in zip(blocks, depths, strict=False)):
        raise ConfigError(
            "MODEL.BACKBONE.DNL.BLOCKS must say for stages 1 to 4 how many of its last residual blocks a non-local"
            f" block follows, at most {depths} for this {type(backbone).__name__}; got {list(blocks)}"
        )
    channels = block_channels(backbone)
    for stage, count, depth in zip(STAGES, blocks, depths, strict=True):
        behind = names[stage][depth - count :]
        layers = [DisentangledNonLocal2d(channels[name], reduction) for name in behind]
        if hasattr(backbone, f"NL_{stage}_idx"):
            setattr(backbone, f"NL_{stage}", nn.ModuleList(layers))
            setattr(backbone, f"NL_{stage}_idx", list(range(depth - count, depth)))
        else:
            for name, layer in zip(behind, layers, strict=True):
                put_behind(backbone, name, layer)
    return backbone
