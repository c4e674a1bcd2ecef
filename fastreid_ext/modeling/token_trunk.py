"""Plain vision transformers of timm's as trunks: a stem, and four groups of blocks whose tokens become maps.

Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021; Oquab et al., DINOv2, TMLR 2024; Siméoni et al., DINOv3,
2025; Fang et al., EVA-02, 2024. The networks are timm's (Wightman, PyTorch Image Models): ViT, DeiT, CLIP's, SigLIP's,
DINOv2, DINOv3, EVA and EVA-02. timm is imported where one is built.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.anatomy import STAGES, Anatomy
from fastreid_ext.modeling.tokens import LastMap, Tokens, run_module

__all__ = ["TokenTrunk", "create_token_trunk", "is_token_name", "is_token_network", "on_own_grid"]

logger = logging.getLogger(__name__)

MODULES = ("vision_transformer", "eva", "deit")  # timm's files of them
PREFIX = ("cls_token", "dist_token", "reg_token")  # in the order in which timm puts them before the image's
SHAPES = (1, 2, 3)  # height for width of a file's grid of positions
HEAD = ("head", "head_dist", "fc_norm", "head_drop", "attn_pool")


def is_token_network(network: nn.Module) -> bool:
    """Whether a network is one of timm's plain vision transformers."""
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(network, VisionTransformer | Eva)


def is_token_name(name: str) -> bool:
    """Whether timm's name of a network, with or without a tag, is that of a plain vision transformer."""
    from timm.models import is_model_in_modules

    return is_model_in_modules(name.partition(".")[0], MODULES)


def create_token_trunk(
    name: str, image_size: Sequence[int], drop_path: float = 0.0, checkpointing: bool = False, **settings: Any
) -> "TokenTrunk":
    """Build a plain vision transformer of timm's as a trunk.

    Args:
        name: timm's, for which :func:`is_token_name` holds.
        image_size: height and width of the training's images, which the position embedding is made for.
        drop_path: of the last block; it rises linearly from 0 at the first.
        checkpointing: see :class:`TokenTrunk`.
        settings: other arguments of ``timm.create_model``.

    Raises:
        ConfigError: fewer blocks than stages, or a network with parts of its own.
    """
    import timm

    with torch.device("meta"):
        patch = timm.create_model(name, num_classes=0).patch_embed.patch_size
    size = tuple(count * side for count, side in zip(grid_of(image_size, patch), patch, strict=True))
    settings = {"num_classes": 0, "drop_path_rate": drop_path, **settings}
    return TokenTrunk(timm.create_model(name, img_size=size, dynamic_img_size=True, **settings), checkpointing)


def grid_of(size: Sequence[int], patch: Sequence[int]) -> tuple[int, int]:
    """Return how many rows and columns of patches an image has: the nearest numbers, 1 or more."""
    return tuple(max(1, (2 * length + side) // (2 * side)) for length, side in zip(size, patch, strict=True))


class TokenTrunk(nn.Module):
    """A plain vision transformer: its stem, and four groups of blocks with as many blocks each as can be.

    Each stage hands on :class:`Tokens`; the last map is that of timm's ``forward_features``. A map has a row for each
    row of patches, in all four stages. Images whose sides the patches do not divide are resized to the nearest that
    they do, so that a map covers its image, whichever way it is mirrored. The positions of another size of images than
    the training's are resampled, those of class and register tokens never.

    Args:
        network: of timm's, made with ``dynamic_img_size=True`` and the training's ``img_size``; it keeps its names,
            below ``network``, and loses its classifier, its pooling and what normalises behind that.
        checkpointing: keep what comes into a block alone for the backward pass, and run the block again there: less
            memory for more time.

    Raises:
        ConfigError: fewer blocks than stages, or a network with parts of its own.
        ValueError: not made with ``dynamic_img_size``, or with dropout of patches.
    """

    def __init__(self, network: nn.Module, checkpointing: bool = False):
        super().__init__()
        _check(network)
        for name in HEAD:
            if getattr(network, name, None) is not None:  # what nothing reads would stop DDP
                setattr(network, name, nn.Identity())
        network.num_classes = 0
        self.network = network
        self.last = LastMap()
        self.checkpointing = checkpointing
        depth = len(network.blocks)
        ends = [stage * depth // len(STAGES) for stage in (0, *STAGES)]
        groups = [f"network.blocks[{first}:{end}]" for first, end in zip(ends, ends[1:], strict=False)]
        self.anatomy = Anatomy("network.patch_embed", (*groups[:-1], f"{groups[-1]} +network.norm +last"))

    @property
    def depth(self) -> int:
        """How many blocks it has."""
        return len(self.network.blocks)

    @property
    def patch(self) -> int:
        """Pixels of a patch's side."""
        return max(self.network.patch_embed.patch_size)

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> the tokens that the first block reads: class, register and patch tokens with positions."""
        network = self.network
        patches = network.patch_embed(self._divisible(images))  # (B, h, w, C)
        rows, columns = patches.shape[1:3]
        sequence = patches.flatten(1, 2)
        tokens = [token for name in PREFIX if (token := getattr(network, name, None)) is not None]
        prefix = [token.expand(len(sequence), -1, -1) for token in tokens]
        positions = self._positions(rows, columns)
        if positions is not None and network.no_embed_class:  # class and register tokens have none
            sequence = sequence + positions
        sequence = torch.cat([*prefix, sequence], dim=1)
        if positions is not None and not network.no_embed_class:
            sequence = sequence + positions
        sequence = network.norm_pre(network.pos_drop(sequence))
        rope = getattr(network, "rope", None)
        return Tokens(
            sequence,
            rows,
            columns,
            network.num_prefix_tokens,
            None if rope is None else rope.get_embed(shape=(rows, columns)),
            getattr(network, "rope_mixed", False),
            checkpointing=self.checkpointing,
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the last map (B, C, h, w)."""
        y = self.embed(images)
        for stage in STAGES:
            for name in self.anatomy.stage_names(self, stage):
                y = run_module(self.get_submodule(name), y)
        return y

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that timm lets no weight decay act on: positions and prefix tokens."""
        return {f"network.{name}" for name in self.network.no_weight_decay()}

    def _divisible(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        patch = self.network.patch_embed.patch_size
        size = tuple(count * side for count, side in zip(grid_of((height, width), patch), patch, strict=True))
        if size == (height, width):
            return images
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False)

    def _positions(self, rows: int, columns: int) -> Tensor | None:
        """Return the position embedding of a grid; of the training's own it is the parameter itself."""
        network = self.network
        own = network.patch_embed.grid_size
        if network.pos_embed is None or (rows, columns) == tuple(own):
            return network.pos_embed
        return _resampled(network, network.pos_embed, own, (rows, columns))


def on_own_grid(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring a file's weights of a plain vision transformer to a network's grid: its position embedding is resampled.

    The file's grid is taken to be square, or 2 or 3 times as high as wide; one of another shape is left as it is, and
    so are weights of another network.

    Args:
        network: timm's, of a :class:`TokenTrunk`.
        state: weights in timm's names.
    """
    state = dict(state)
    own, theirs = network.pos_embed, state.get("pos_embed")
    if own is None or theirs is None or theirs.dim() != 3 or theirs.shape[::2] != own.shape[::2]:
        return state
    grid = tuple(network.patch_embed.grid_size)
    found = _grid(theirs.shape[1] - _prefix_positions(network), grid)
    if found is not None and found != grid:
        state["pos_embed"] = _resampled(network, theirs, found, grid)
    return state


def _grid(count: int, own: tuple[int, int]) -> tuple[int, int] | None:
    """Return rows and columns of so many positions: no number of them fits two of the shapes."""
    if count == math.prod(own):
        return own
    for shape in SHAPES:
        columns = math.isqrt(max(count, 0) // shape)
        if columns and shape * columns**2 == count:
            return shape * columns, columns
    return None


def _resampled(network: nn.Module, positions: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    from timm.layers import resample_abs_pos_embed

    return resample_abs_pos_embed(
        positions, new_size=list(new), old_size=list(old), num_prefix_tokens=_prefix_positions(network)
    )


def _prefix_positions(network: nn.Module) -> int:
    return 0 if network.no_embed_class else network.num_prefix_tokens


def _check(network: nn.Module) -> None:
    from timm.layers import PatchEmbed

    kind = type(network).__name__
    if not is_token_network(network):
        raise ValueError(f"a TokenTrunk is made of a plain vision transformer of timm's, got {kind}")
    if len(network.blocks) < len(STAGES):
        raise ConfigError(
            f"a trunk has {len(STAGES)} stages, and this {kind} has {len(network.blocks)} blocks: choose a network of"
            f" {len(STAGES)} blocks or more"
        )
    if type(network.patch_embed) is not PatchEmbed:
        raise ConfigError(
            f"this {kind} makes its patches with a {type(network.patch_embed).__name__}, which no trunk is made of:"
            " choose a plain vision transformer"
        )
    if not network.dynamic_img_size:
        raise ValueError(f"create the {kind} with dynamic_img_size=True: it then takes images of any size")
    if not isinstance(network.patch_drop, nn.Identity | type(None)):
        raise ValueError(f"create the {kind} without patch_drop_rate: a map needs all patches")
