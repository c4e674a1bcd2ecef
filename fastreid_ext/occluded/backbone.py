"""Trunks with disentangled non-local blocks (section 3.2, eq. 1): the paper's ResNet, and any other."""

from collections.abc import Sequence
from typing import Any

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

STEPS = {"last": 1, "alternate": 2}  # POSITIONS -> from one residual block with a DNL block to the next
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
    return add_non_local(build_resnet_backbone(cfg), **settings_of(cfg.MODEL.BACKBONE.DNL))


@register(BACKBONE_REGISTRY)
def build_dnl_backbone(cfg: CfgNode) -> nn.Module:
    """Build MODEL.BACKBONE.DNL.TRUNK with DNL blocks behind the last residual blocks of its stages.

    Raises:
        ConfigError: as :func:`build_dnl_resnet_backbone`, a trunk without stages, or one that has such blocks already.
    """
    node = cfg.MODEL.BACKBONE.DNL
    if hasattr(BACKBONE_REGISTRY._obj_map.get(node.TRUNK), "builds_on"):
        raise ConfigError(
            f"MODEL.BACKBONE.DNL.TRUNK is {node.TRUNK}, which has disentangled non-local blocks already: set one"
            " without, such as build_osnet_backbone"
        )
    bare = cfg.clone()
    bare.defrost()
    bare.MODEL.BACKBONE.NAME = node.TRUNK
    if cfg.MODEL.BACKBONE.WITH_NL:
        raise ConfigError(TWICE.format("build_dnl_backbone"))
    return add_non_local(build_backbone(bare), **settings_of(node))


build_dnl_resnet_backbone.builds_on = lambda node: "build_resnet_backbone"
build_dnl_backbone.builds_on = lambda node: node.DNL.TRUNK


def settings_of(node: CfgNode) -> dict[str, Any]:
    """Read what :func:`add_non_local` wants from MODEL.BACKBONE.DNL."""
    return {
        "blocks": node.BLOCKS,
        "positions": node.POSITIONS,
        "reduction": node.REDUCTION,
        "temperature": node.TEMPERATURE,
    }


def add_non_local(
    backbone: nn.Module, blocks: Sequence[int], positions: str = "last", reduction: int = 2, temperature: float = 1.0
) -> nn.Module:
    """Put DNL blocks behind ``blocks[i - 1]`` residual blocks of stage i, and return the backbone.

    With positions "last" these are the last ones, where FastReID puts its non-local blocks; with "alternate" every
    other one, counted from the last, as Wang et al. (Non-local Neural Networks, 2018) have it in a ResNet-50.

    FastReID's ResNet and ResNeXt run non-local blocks of their own from the lists ``NL_i`` behind the blocks
    ``NL_i_idx``; there ours stand in these. In other trunks each belongs to the block that it follows.

    Raises:
        ConfigError: a backbone without stages, not four numbers, more blocks than a stage has places for, or unknown
            positions.
    """
    if positions not in STEPS:
        raise ConfigError(f"MODEL.BACKBONE.DNL.POSITIONS must be one of {tuple(STEPS)}, got {positions!r}")
    step = STEPS[positions]
    names = {stage: anatomy_of(backbone).block_names(backbone, stage) for stage in STAGES}
    places = {stage: list(range(len(names[stage])))[::-1][::step][::-1] for stage in STAGES}
    most = [len(places[stage]) for stage in STAGES]
    if len(blocks) != len(STAGES) or not all(0 <= n <= m for n, m in zip(blocks, most, strict=False)):
        raise ConfigError(
            "MODEL.BACKBONE.DNL.BLOCKS must say for stages 1 to 4 how many of its residual blocks a non-local block"
            f" follows, at most {most} for this {type(backbone).__name__} with POSITIONS {positions}; got"
            f" {list(blocks)}"
        )
    channels = block_channels(backbone)
    chosen_of = {stage: places[stage][most[stage - 1] - n :] for stage, n in zip(STAGES, blocks, strict=True)}
    _check_reduction(reduction, {channels[names[stage][place]] for stage in STAGES for place in chosen_of[stage]})
    for stage, chosen in chosen_of.items():
        behind = [names[stage][place] for place in chosen]
        layers = [DisentangledNonLocal2d(channels[name], reduction, temperature) for name in behind]
        if hasattr(backbone, f"NL_{stage}_idx"):
            setattr(backbone, f"NL_{stage}", nn.ModuleList(layers))
            setattr(backbone, f"NL_{stage}_idx", chosen)
        else:
            for name, layer in zip(behind, layers, strict=True):
                put_behind(backbone, name, layer)
    return backbone


def _check_reduction(reduction: int, channels: set[int]) -> None:
    """Check that a reduction divides the channels of all blocks that a non-local block follows.

    Raises:
        ConfigError: it does not; the nearest below it that does is named.
    """
    if channels and (reduction < 1 or any(count % reduction for count in channels)):
        fitting = max(n for n in range(1, max(reduction, 2)) if not any(count % n for count in channels))
        raise ConfigError(
            f"MODEL.BACKBONE.DNL.REDUCTION is {reduction} and must divide the channels of each block that a non-local"
            f" block follows ({', '.join(map(str, sorted(channels)))}): set it to {fitting}, say"
        )
