"""A trunk: any network with a stem and four stages, run stage by stage.

Stage 1 ends at a quarter of the image, stages 2 to 4 at 1/8, 1/16 and 1/32, or 1/16 again with a last stride of 1. All
four stages of a vision transformer (:mod:`fastreid_ext.modeling.token_trunk`) have a row for each row of its patches;
its stages hand on :class:`fastreid_ext.modeling.tokens.Tokens`, whose map is what a paper's part works on (``map_of``,
``on_map``). :mod:`fastreid_ext.modeling.anatomy` says which modules of a network these are.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.anatomy import STAGES, anatomy_of
from fastreid_ext.modeling.token_trunk import TokenTrunk
from fastreid_ext.modeling.tokens import BEHIND, Tokens, map_of, on_map, run_module

__all__ = [
    "STAGES",
    "Shape",
    "StageCopies",
    "block_channels",
    "check_trunk",
    "last_map_rows",
    "last_module",
    "map_of",
    "on_map",
    "output_channels",
    "pool_stem",
    "put_behind",
    "run_stage",
    "run_stem",
    "stage_channels",
    "stage_shapes",
    "trunk_of",
]

SIDE = 64  # of the images that a trunk is looked at with


@dataclass(frozen=True)
class Shape:
    """Of a stage's map.

    Attributes:
        channels: C.
        reduction: how many pixels of the image one of its rows stands for, such as 16.
    """

    channels: int
    reduction: int


def check_trunk(backbone: nn.Module) -> None:
    """Raise a ConfigError unless the backbone has a stem and four stages."""
    anatomy = anatomy_of(backbone)
    if empty := [str(stage) for stage in STAGES if not anatomy.stage_names(backbone, stage)]:
        raise ConfigError(f"the anatomy of {type(backbone).__name__} names no module for stage {', '.join(empty)}")


def run_stem(backbone: nn.Module, images: Tensor) -> Tensor | Tokens:
    """(B, 3, H, W) -> what stage 1 reads: a map (B, C, h, w), or a vision transformer's tokens."""
    if isinstance(backbone, TokenTrunk):
        return backbone.embed(images)
    return _run(backbone, anatomy_of(backbone).stem_names(backbone), images)


def pool_stem(backbone: nn.Module, pool: nn.MaxPool2d) -> None:
    """Give a stem another max pooling than its own.

    Raises:
        ConfigError: a backbone without stages, or a stem without max pooling.
    """
    names = anatomy_of(backbone).stem_names(backbone)
    own = next((name for name in names if isinstance(backbone.get_submodule(name), nn.MaxPool2d)), None)
    if own is None:
        raise ConfigError(f"the stem of {type(backbone).__name__} has no max pooling that another could replace")
    outer, _, last = own.rpartition(".")
    setattr(backbone.get_submodule(outer), last, pool)


def run_stage(trunk: "nn.Module | StageCopies", stage: int, y: Tensor | Tokens) -> Tensor | Tokens:
    """Run a stage of a trunk, with the non-local blocks that MODEL.BACKBONE.WITH_NL or DNL puts behind some blocks.

    Args:
        trunk: or copies of some of its stages.
        stage: 1 to 4.
        y: what the stem or the stage before handed on, with another map where a paper changes it (``on_map``).

    Returns:
        A map (B, C, h, w), or tokens with one: ``map_of`` returns it.
    """
    return _run(trunk, _modules_of(trunk, stage), y)


def _run(trunk: nn.Module, names: Iterable[str], y: Tensor | Tokens) -> Tensor | Tokens:
    for name in names:
        y = run_module(trunk.get_submodule(name), y)
    return y


def _modules_of(trunk: "nn.Module | StageCopies", stage: int) -> list[str]:
    """Return the names of what makes a stage; in FastReID's ResNets non-local blocks stand in lists of their own."""
    if isinstance(trunk, StageCopies):
        return trunk._names[stage]
    names = []
    # As many as there are blocks: FastReID's own forward turns an empty list of places into [-1].
    behind = getattr(trunk, f"NL_{stage}_idx", ())[: len(getattr(trunk, f"NL_{stage}", ()))]
    for index, name in enumerate(anatomy_of(trunk).stage_names(trunk, stage)):
        names.append(name)
        names += [f"NL_{stage}.{behind.index(index)}"] if index in behind else []
    return names


def put_behind(trunk: nn.Module, name: str, module: nn.Module) -> None:
    """Let a module work on what a block gives, in the trunk's own forward too and in copies of the block.

    Args:
        trunk: it owns the module from now on, as ``non_local`` of the block.
        name: of the block, out of :func:`block_channels`.
        module: (B, C, h, w) -> the same.
    """
    block = trunk.get_submodule(name)
    block.add_module(BEHIND, module)
    if not isinstance(trunk, TokenTrunk):  # whose tokens find it by its name
        block.register_forward_hook(_run_behind)


def _run_behind(block: nn.Module, inputs: tuple[Tensor, ...], y: Tensor) -> Tensor:
    # Found by its name: copies of the block have this function, and their own module.
    return getattr(block, BEHIND)(y)


class StageCopies(nn.Module):
    """Unshared copies of some stages of a backbone, with its present weights and its names.

    Args:
        backbone: any trunk.
        stages: in their order.
        first_block: of the first of these stages, the copies begin at this block, counted from 0.

    Raises:
        ConfigError: a backbone without stages.
        ValueError: the stage has no such block.
    """

    def __init__(self, backbone: nn.Module, stages: Iterable[int], first_block: int = 0):
        super().__init__()
        # No public name: the modules keep theirs here, and a ConvNeXt has one that is called "stages".
        self._names = {stage: _modules_of(backbone, stage) for stage in stages}
        if first_block:
            stage = next(iter(self._names))
            blocks = anatomy_of(backbone).block_names(backbone, stage)
            if first_block >= len(blocks):
                raise ValueError(f"stage {stage} has {len(blocks)} blocks, and none at {first_block}")
            names = self._names[stage]
            self._names[stage] = names[names.index(blocks[first_block]) :]
        for name in (name for names in self._names.values() for name in names):
            self._put(name, copy.deepcopy(backbone.get_submodule(name)))

    def _put(self, name: str, module: nn.Module) -> None:
        *outer, last = name.split(".")
        place: nn.Module = self
        for part in outer:
            if part not in place._modules:
                place.add_module(part, nn.Sequential())
            place = getattr(place, part)
        place.add_module(last, module)


def stage_shapes(backbone: nn.Module) -> dict[int, Shape]:
    """Return the shape of every stage's map, read off a forward pass; the backbone is left as it was."""
    shapes = {}
    side = _side(backbone)
    for stage, _, (_, channels, rows, _) in _look(backbone, side, side):
        shapes[stage] = Shape(channels, side // rows)
    return shapes


def stage_channels(backbone: nn.Module) -> dict[int, int]:
    """Return the channels of every stage's map, read off a forward pass; the backbone is left as it was."""
    return {stage: shape.channels for stage, shape in stage_shapes(backbone).items()}


def block_channels(backbone: nn.Module) -> dict[str, int]:
    """Return the channels behind each module of the stages, by its name; the backbone is left as it was."""
    return {name: shape[1] for _, name, shape in _look(backbone, *[_side(backbone)] * 2)}


def last_map_rows(backbone: nn.Module, height: int) -> int:
    """Return the rows of the last stage's map for images of ``height`` rows; the backbone is left as it was."""
    return [shape[2] for _, _, shape in _look(backbone, height, SIDE)][-1]


def last_module(backbone: nn.Module) -> str:
    """Return the name of what gives the last map, a module or a sequence: layer4 of a ResNet, conv5 of an OSNet.

    Raises:
        ConfigError: a backbone without stages.
    """
    last = anatomy_of(backbone).stage_names(backbone, STAGES[-1])[-1]
    outer = last.rpartition(".")[0]
    return outer if outer and isinstance(backbone.get_submodule(outer), nn.Sequential) else last


@torch.no_grad()
def _look(backbone: nn.Module, height: int, width: int) -> Iterator[tuple[int, str, torch.Size]]:
    """Yield (stage, module, shape of its output) for an image of a size, in the order in which they run."""
    with _evaluating(backbone):
        y = run_stem(backbone, _zeros(backbone, height, width))
        for stage in STAGES:
            for name in _modules_of(backbone, stage):
                y = run_module(backbone.get_submodule(name), y)
                yield stage, name, map_of(y).shape


def _side(backbone: nn.Module) -> int:
    """Return the side of images that all stages divide."""
    return 4 * backbone.patch if isinstance(backbone, TokenTrunk) else SIDE


@torch.no_grad()
def output_channels(backbone: nn.Module) -> int:
    """Return the channels of any backbone's last map, read off a forward pass; the backbone is left as it was."""
    # A transformer takes images of one size.
    size = getattr(getattr(backbone, "patch_embed", None), "img_size", (SIDE, SIDE))
    with _evaluating(backbone):
        return backbone(_zeros(backbone, *size)).shape[1]


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


def _zeros(backbone: nn.Module, height: int, width: int) -> Tensor:
    return next(backbone.parameters()).new_zeros(1, 3, height, width)


def trunk_of(cfg: CfgNode) -> nn.Module:
    """Build the backbone of a config to look at: without ImageNet weights, memory and random numbers where possible.

    Raises:
        ConfigError: a backbone without a stem and four stages.
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
