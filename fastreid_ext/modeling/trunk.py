"""FastReID's ResNet-like backbones, run stage by stage."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from torch import nn

from fastreid_ext.errors import ConfigError

STAGES = (1, 2, 3, 4)


def check_trunk(backbone: nn.Module) -> None:
    """Raise a ConfigError unless the backbone has a ResNet's stem and stages."""
    needed = ("conv1", "bn1", "relu", _pool_name(backbone), *(f"layer{i}" for i in STAGES))
    missing = [name for name in needed if not hasattr(backbone, name)]
    if missing:
        raise ConfigError(
            f"the branches start from the stages of a ResNet, but {type(backbone).__name__} has no"
            f" {', '.join(missing)}: set MODEL.BACKBONE.NAME to build_resnet_backbone or another ResNet"
            " (ResNeXt, ResNeSt, Res2Net)"
        )


def run_stem(backbone: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) -> (B, C, H/4, W/4)."""
    pool = getattr(backbone, _pool_name(backbone))
    return pool(backbone.relu(backbone.bn1(backbone.conv1(images))))


def _pool_name(backbone: nn.Module) -> str:
    return "maxpool1" if hasattr(backbone, "maxpool1") else "maxpool"  # FastReID's ResNeXt has the first name


def run_stage(trunk: nn.Module, stage: int, y: torch.Tensor) -> torch.Tensor:
    """Run layer<stage> of a trunk, with the non-local blocks that MODEL.BACKBONE.WITH_NL puts behind some blocks."""
    non_local = dict(
        zip(getattr(trunk, f"NL_{stage}_idx", ()), getattr(trunk, f"NL_{stage}", ()), strict=False)
    )  # not strict: FastReID's own forward turns an empty index list into [-1]
    for index, block in enumerate(getattr(trunk, f"layer{stage}")):
        y = block(y)
        if index in non_local:
            y = non_local[index](y)
    return y


class StageCopies(nn.Module):
    """Unshared copies of some stages of a backbone, with its present weights and its names."""

    def __init__(self, backbone: nn.Module, stages: Iterable[int]):
        super().__init__()
        self.stages = tuple(stages)
        for stage in self.stages:
            for name in (f"layer{stage}", f"NL_{stage}", f"NL_{stage}_idx"):
                if hasattr(backbone, name):
                    setattr(self, name, copy.deepcopy(getattr(backbone, name)))


@torch.no_grad()
def stage_channels(backbone: nn.Module) -> dict[int, int]:
    """Channels of every stage's output, read off a forward pass; the backbone is left as it was."""
    channels = {}
    with _evaluating(backbone):
        y = run_stem(backbone, _zeros(backbone, 64, 64))
        for stage in STAGES:
            y = run_stage(backbone, stage, y)
            channels[stage] = y.shape[1]
    return channels


@torch.no_grad()
def output_channels(backbone: nn.Module) -> int:
    """Channels of any backbone's last map, read off a forward pass; the backbone is left as it was."""
    with _evaluating(backbone):
        return backbone(_zeros(backbone, 64, 64)).shape[1]


@torch.no_grad()
def last_map_rows(backbone: nn.Module, height: int) -> int:
    """Rows of the last stage's map for images of ``height`` rows; the backbone is left as it was."""
    with _evaluating(backbone):
        y = run_stem(backbone, _zeros(backbone, height, 32))
        for stage in STAGES:
            y = run_stage(backbone, stage, y)
    return y.shape[2]


@contextmanager
def _evaluating(backbone: nn.Module) -> Iterator[None]:
    """Put a backbone in eval mode for a while; every module gets its own mode back, a frozen batch norm too."""
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _zeros(backbone: nn.Module, height: int, width: int) -> torch.Tensor:
    return next(backbone.parameters()).new_zeros(1, 3, height, width)


def trunk_of(cfg: CfgNode) -> nn.Module:
    """Build the backbone of a config to look at: without ImageNet weights, memory and random numbers where possible.

    Raises:
        ConfigError: a backbone without a ResNet's stem and stages.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                backbone = build_backbone(cfg)
        except RuntimeError:  # it reads numbers off its tensors, as stochastic depth does: those of "meta" have none
            backbone = build_backbone(cfg)
    check_trunk(backbone)
    return backbone
