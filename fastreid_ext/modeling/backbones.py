"""FastReID's backbones with our way of loading pretrained weights, and the same for our own.

Each of FastReID's reads MODEL.BACKBONE.PRETRAIN_PATH in a way of its own: one wants the state dict below "model", the
next below "state_dict", and all train on with whatever did not load. Here they build the trunk only. Its weights are
loaded by :func:`fastreid_ext.modeling.pretrained.load_pretrained`, which accounts for every tensor.
"""

import copy
import functools
import inspect
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fastreid
import torch
from fastreid.config import CfgNode
from fastreid.layers.splat import SplAtConv2d
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.backbones.regnet.config import cfg as regnet_cfg
from torch import Tensor, nn

from fastreid_ext import zoo
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.anatomy import LAST_STRIDES
from fastreid_ext.modeling.downloaded_weights import downloaded, resnet_key, unpublished
from fastreid_ext.modeling.file_trunks import other_keys
from fastreid_ext.modeling.pretrained import load_pretrained
from fastreid_ext.modeling.token_trunk import is_token_name
from fastreid_ext.modeling.weights import WeightsError

__all__ = [
    "HOSTS",
    "UNPUBLISHED",
    "Weights",
    "fixed_last_stride",
    "has_token_trunk",
    "published_weights",
    "trunk_builder",
    "trunk_name",
    "trunk_title",
    "with_pretrained",
]

Build = Callable[[CfgNode], nn.Module]


@dataclass(frozen=True)
class Weights:
    """How a backbone comes to its pretrained weights.

    Attributes:
        published: (trunk, node MODEL.BACKBONE) -> the file without a PRETRAIN_PATH; raises WeightsError without one.
        load: further arguments of :func:`load_pretrained`.
        depths: all that MODEL.BACKBONE.DEPTH may be, where FastReID says nothing of use about another one.
        in_package: it opens files by names that begin at the folder that ``fastreid`` is in.
        named: PRETRAIN_PATH -> the file, where it is no path but a name of this backbone's; None for a path.
    """

    published: Callable[[nn.Module, CfgNode], Path]
    load: dict[str, Any] = field(default_factory=dict)
    depths: tuple[str, ...] = ()
    in_package: bool = False
    named: Callable[[str], Path | None] = lambda path: None


def with_pretrained(weights: Weights) -> Callable[[Build], Build]:
    """Decorate a function that builds a backbone: with MODEL.BACKBONE.PRETRAIN it is loaded by us, whole or not at all.

    Raises, where the backbone is built:
        ConfigError: a depth that it has not.
        WeightsError: a file that is missing, unreadable or of another network.
    """

    def decorator(build: Build) -> Build:
        @functools.wraps(build)
        def build_and_load(cfg: CfgNode) -> nn.Module:
            node = cfg.MODEL.BACKBONE
            if weights.depths and node.DEPTH not in weights.depths:
                raise ConfigError(
                    f"MODEL.BACKBONE.DEPTH is {node.DEPTH!r}, and {build.__name__} has {', '.join(weights.depths)}"
                )
            bare = cfg.clone()
            bare.defrost()
            bare.MODEL.BACKBONE.PRETRAIN = False
            with _beside_the_package(build.__name__) if weights.in_package else nullcontext(), _group_norm(node):
                backbone = build(bare)
            _check_pooled_norms(backbone, node)
            if node.PRETRAIN:
                path = (
                    weights.named(node.PRETRAIN_PATH) or _named(node.PRETRAIN_PATH) or weights.published(backbone, node)
                )
                partial = "PRETRAIN_PARTIAL" in node and node.PRETRAIN_PARTIAL  # a config of FastReID's has none
                try:
                    load_pretrained(backbone, path, partial=partial, **weights.load)
                except WeightsError as error:
                    if keys := other_keys(path, node):
                        raise WeightsError(f"{error}; the trunk in it is that of {keys}") from error
                    raise
            return backbone

        build_and_load.loads_whole, build_and_load.weights = True, weights
        return build_and_load

    return decorator


def trunk_builder(cfg: CfgNode) -> str:
    """Return the name of what builds the trunk itself: not MODEL.BACKBONE.NAME where that one adds to another's trunk.

    Such a builder says so in ``builds_on``: node MODEL.BACKBONE -> the other's name.
    """
    name = cfg.MODEL.BACKBONE.NAME
    builds_on = getattr(BACKBONE_REGISTRY._obj_map.get(name), "builds_on", None)
    return builds_on(cfg.MODEL.BACKBONE) if builds_on else name


def published_weights(cfg: CfgNode) -> tuple[Path, str]:
    """Return where the published weights of a config's trunk lie once they are downloaded, and their address.

    The address is "" where the file is here.

    Raises:
        NotHereYet: they come from a hub, which alone knows where they will lie.
        WeightsError: there are none; it says what to do.
    """
    name = trunk_builder(cfg)
    build = BACKBONE_REGISTRY.get(name)
    if find := getattr(build, "pretrained_file", None):
        return find(cfg.MODEL.BACKBONE), ""
    if not hasattr(build, "weights"):
        raise WeightsError(f"where {name} has its weights from is not known")
    place = getattr(build.weights.published, "place", None)
    if place is None:
        return build.weights.published(None, cfg.MODEL.BACKBONE), ""
    return place(sys.modules[inspect.unwrap(build).__module__], cfg.MODEL.BACKBONE)


def trunk_name(cfg: CfgNode) -> str:
    """Return the builder of a config's trunk, or timm's name of it: for messages."""
    name = trunk_builder(cfg)
    return (name == "build_timm_backbone" and cfg.MODEL.BACKBONE.TIMM.NAME) or name


def trunk_title(cfg: CfgNode) -> str:
    """Return what a config's trunk is called, with its depth where that says something: for messages."""
    name = trunk_name(cfg)
    return name if trunk_builder(cfg) == "build_timm_backbone" else f"{name} {cfg.MODEL.BACKBONE.DEPTH}"


def fixed_last_stride(cfg: CfgNode) -> int | None:
    """Return the last stride that a config's trunk always has; None where MODEL.BACKBONE.LAST_STRIDE decides."""
    return 1 if has_token_trunk(cfg) else LAST_STRIDES.get(trunk_builder(cfg))


def has_token_trunk(cfg: CfgNode) -> bool:
    """Return whether a config's trunk is a plain vision transformer of timm's."""
    try:
        return trunk_builder(cfg) == "build_timm_backbone" and is_token_name(cfg.MODEL.BACKBONE.TIMM.NAME)
    except ImportError:  # timm is missing: the builder says so
        return False


def _named(path: str) -> str | Path:
    if file := zoo.file_named(path):
        return file
    if path and not os.path.exists(path):
        raise WeightsError(f"there is no file {path}: check MODEL.BACKBONE.PRETRAIN_PATH")
    return path


@contextmanager
def _group_norm(node: CfgNode) -> Iterator[None]:
    """Say which key torch's message on the groups of a group norm is about."""
    try:
        yield
    except ValueError as error:
        if node.NORM != "GN" or "num_groups" not in str(error):
            raise
        raise ConfigError(
            f"MODEL.BACKBONE.NORM GN has 32 groups, and {node.NAME} {node.DEPTH} has channels that these do not divide"
            f" ({error}): set another NORM"
        ) from error


def _check_pooled_norms(backbone: nn.Module, node: CfgNode) -> None:
    """Refuse a group norm of pooled vectors whose groups are one number, which its own mean makes 0."""
    norms = [getattr(module, "bn1", None) for module in backbone.modules() if isinstance(module, SplAtConv2d)]
    if small := [n.num_channels for n in norms if isinstance(n, nn.GroupNorm) and n.num_channels == n.num_groups]:
        raise ConfigError(
            f"MODEL.BACKBONE.NORM GN has 32 groups, and {node.NAME} {node.DEPTH} has attention whose vectors of"
            f" {small[0]} numbers it makes 0: set another NORM"
        )


@contextmanager
def _beside_the_package(name: str) -> Iterator[None]:
    """Build where FastReID's yaml files are, and without what they say of the next network.

    FastReID merges the yaml of a RegNet or EfficientNet into one config of the process: a RegNetX behind a RegNetY
    would have its squeeze and excitation.
    """
    before, settings = os.getcwd(), copy.deepcopy(regnet_cfg)
    os.chdir(Path(fastreid.__file__).parents[1])
    try:
        yield
    except FileNotFoundError as error:
        raise ConfigError(
            f"MODEL.BACKBONE.NAME {name} reads {error.filename}, which this FastReID was installed without: choose"
            " another backbone, or install FastReID from a checkout"
        ) from error
    finally:
        os.chdir(before)
        regnet_cfg.merge_from_other_cfg(settings)


def _resized_positions(backbone: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring a vision transformer's embedding of positions to another size of images, as FastReID does.

    Raises:
        WeightsError: positions that are not those of a square image.
    """
    state = dict(state)
    own, theirs = backbone.pos_embed, state.get("pos_embed")
    flat, patches = state.get("patch_embed.proj.weight"), backbone.patch_embed.proj.weight
    if flat is not None and flat.dim() == 2 and flat.numel() == patches.numel():  # of the authors' first models
        state["patch_embed.proj.weight"] = flat.reshape(patches.shape)
    if theirs is None or theirs.shape == own.shape or theirs.dim() != 3 or theirs.shape[::2] != own.shape[::2]:
        return state
    if "dist_token" in state:  # of a distilled model: the second position is that token's
        theirs = torch.cat([theirs[:, :1], theirs[:, 2:]], dim=1)
    if math.isqrt(theirs.shape[1] - 1) ** 2 != theirs.shape[1] - 1:
        return state  # of no square image: reported as of another shape
    resize = sys.modules[type(backbone).__module__].resize_pos_embed
    state["pos_embed"] = resize(theirs, own.data, backbone.patch_embed.num_y, backbone.patch_embed.num_x)
    return state


UNPUBLISHED = Weights(unpublished)
RESNET = Weights(downloaded(resnet_key))
HOSTS = {
    "build_resnet_backbone": RESNET,
    "build_resnext_backbone": Weights(downloaded(lambda node: f"{'ibn_' * node.WITH_IBN}{node.DEPTH}")),
    "build_resnest_backbone": Weights(downloaded(lambda node: f"resnest{node.DEPTH[:-1]}", hub=True)),
    "build_regnet_backbone": Weights(downloaded(lambda node: node.DEPTH), in_package=True),
    "build_effnet_backbone": Weights(downloaded(lambda node: node.DEPTH), in_package=True),
    "build_osnet_backbone": Weights(
        downloaded(lambda node: f"osnet_{'ibn_' * node.WITH_IBN}{node.DEPTH}", "{}_imagenet.pth")
    ),
    # FastReID's last convolution stands where the published network has the first layer of its classifier.
    "build_mobilenetv3_backbone": Weights(
        downloaded(lambda node: node.DEPTH, hub=True), {"added": r"conv\."}, ("Large", "Small")
    ),
    "build_mobilenetv2_backbone": UNPUBLISHED,
    "build_shufflenetv2_backbone": Weights(unpublished, depths=("0.5x", "1.0x", "1.5x", "2.0x")),
    "build_repvgg_backbone": UNPUBLISHED,
    "build_vit_backbone": Weights(unpublished, {"adapt": _resized_positions}, ("small", "base")),
}


def _take_over() -> None:
    """Put FastReID's backbones into its registry with our way of loading; a fork's own of these names stay."""
    builders = BACKBONE_REGISTRY._obj_map
    for name, weights in HOSTS.items():
        if getattr(builders.get(name), "__module__", "").startswith("fastreid.modeling.backbones."):
            builders[name] = with_pretrained(weights)(builders[name])


_take_over()
