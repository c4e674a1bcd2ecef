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
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.anatomy import STAGES, Anatomy
from fastreid_ext.modeling.region_block import RegionBlock
from fastreid_ext.modeling.tokens import LastMap, Tokens, run_module

__all__ = [
    "TokenTrunk",
    "build_token_trunk",
    "create_token_trunk",
    "is_token_name",
    "divisible",
    "is_token_network",
    "on_own_grid",
    "on_own_grids",
]

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

    settings = {"num_classes": 0, "dynamic_img_size": True, "drop_path_rate": drop_path, **settings}
    with torch.device("meta"):
        patch = timm.create_model(name, **{**settings, "pretrained": False}).patch_embed.patch_size
    return TokenTrunk(timm.create_model(name, img_size=divisible(image_size, patch), **settings), checkpointing)


def build_token_trunk(cfg: CfgNode) -> "TokenTrunk":
    """Build the plain vision transformer that MODEL.BACKBONE.TIMM.NAME names, for images of INPUT's size.

    Raises:
        ConfigError: see :func:`create_token_trunk`.
    """
    node, crop = cfg.MODEL.BACKBONE.TIMM, cfg.INPUT.CROP
    sizes = {"INPUT.CROP.SIZE": crop.SIZE} if crop.ENABLED else {}
    sizes = sizes or {"INPUT.SIZE_TRAIN": cfg.INPUT.SIZE_TRAIN, "INPUT.SIZE_TEST": cfg.INPUT.SIZE_TEST}
    sizes = {key: (size[0], size[-1]) for key, size in sizes.items()}
    trunk = create_token_trunk(node.NAME, next(iter(sizes.values())), node.DROP_PATH, node.CHECKPOINTING)
    for key, size in sizes.items():
        nearest = divisible(size, trunk.patch_embed.patch_size)
        if nearest != size:
            logger.info(
                "%s [%d, %d] is no multiple of the %d pixels of a patch of %s, which resizes images once more: [%d, %d]"
                " would spare that",
                *(key, *size, trunk.patch, node.NAME, *nearest),
            )
    return trunk


def divisible(size: Sequence[int], patch: Sequence[int]) -> tuple[int, int]:
    """Return the size of images that is nearest to one, in whole patches of (height, width) pixels, 1 or more."""
    return tuple(side * max(1, (2 * pixels + side) // (2 * side)) for pixels, side in zip(size, patch, strict=True))


class TokenTrunk(nn.Module):
    """A plain vision transformer: its stem, and four groups of blocks with as many blocks each as can be.

    Each stage hands on :class:`Tokens`; the last map is that of timm's ``forward_features``. A map has a row for each
    row of patches, in all four stages. Images whose sides the patches do not divide are resized to the nearest that
    they do, so that a map covers its image, whichever way it is mirrored. The positions of another size of images than
    the training's are resampled, those of class and register tokens never.

    Args:
        network: of timm's, made with ``dynamic_img_size=True`` and the training's ``img_size``. Its modules and
            parameters are taken over by their names, but for those behind the last norm: pooling and classifier.
        checkpointing: keep what comes into a block alone for the backward pass, and run the block again there: less
            memory for more time.

    Raises:
        ConfigError: fewer blocks than stages, or a network with parts of its own.
        ValueError: not made with ``dynamic_img_size``, or with dropout of patches.
    """

    def __init__(self, network: nn.Module, checkpointing: bool = False):
        super().__init__()
        _check(network)
        for name, module in network.named_children():
            if name not in HEAD:  # what nothing reads would stop DDP
                self.add_module(name, module)
        for name, parameter in network.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self.last = LastMap()
        if network.pos_embed is None:
            self.pos_embed = None
        # By timm's names, which its functions for files of the networks' authors read.
        self.num_prefix_tokens, self.no_embed_class = network.num_prefix_tokens, network.no_embed_class
        self.pretrained_cfg, self.source = dict(network.pretrained_cfg), type(network).__module__
        self.name = self.pretrained_cfg["architecture"]
        self.rope_by_block = getattr(network, "rope_mixed", False)
        self.undecayed = set(network.no_weight_decay())
        self.checkpointing = checkpointing
        depth = len(self.blocks)
        ends = [stage * depth // len(STAGES) for stage in (0, *STAGES)]
        groups = [f"blocks[{first}:{end}]" for first, end in zip(ends, ends[1:], strict=False)]
        self.anatomy = Anatomy("patch_embed", (*groups[:-1], f"{groups[-1]} +norm +last"))

    @property
    def patch(self) -> int:
        """Pixels of a patch's longer side."""
        return max(self.patch_embed.patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the position embedding."""
        return tuple(self.patch_embed.grid_size)

    def embed(self, images: Tensor) -> Tokens:
        """(B, 3, H, W) -> the tokens that the first block reads: class, register and patch tokens with positions."""
        patches = self.patch_embed(self._divisible(images))  # (B, h, w, C)
        rows, columns = patches.shape[1:3]
        sequence = patches.flatten(1, 2)
        prefix = [
            token.expand(sequence.shape[0], -1, -1)
            for name in PREFIX
            if (token := getattr(self, name, None)) is not None
        ]
        positions = self._positions(rows, columns)
        if positions is not None and self.no_embed_class:
            sequence = sequence + positions
        sequence = torch.cat([*prefix, sequence], dim=1)
        if positions is not None and not self.no_embed_class:
            sequence = sequence + positions
        return Tokens(
            self.norm_pre(self.pos_drop(sequence)),
            rows,
            columns,
            self.num_prefix_tokens,
            self.rope.get_embed(shape=(rows, columns)) if hasattr(self, "rope") else None,
            self.rope_by_block,
            checkpointing=self.checkpointing,
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> the last map (B, C, h, w)."""
        y = self.embed(images)
        for block in self.blocks:
            y = run_module(block, y)
        return self.last(run_module(self.norm, y))

    def following_block(self, name: str, channels: int) -> nn.Module:
        """Return a new block of the kind of this trunk's block ``name``, for maps of regions."""
        return RegionBlock(self.get_submodule(name))

    def _divisible(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        size = divisible((height, width), self.patch_embed.patch_size)
        if size == (height, width):
            return images
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False)

    def _positions(self, rows: int, columns: int) -> Tensor | None:
        """Return the position embedding of a grid; of the training's own it is the parameter itself."""
        if self.pos_embed is None or (rows, columns) == self.grid:
            return self.pos_embed
        return _resampled(self, self.pos_embed, self.grid, (rows, columns))


def on_own_grid(trunk: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring a file's weights of a plain vision transformer to a trunk's grid: its position embedding is resampled.

    The file's grid is taken to be square, or 2 or 3 times as high as wide; one of another shape is left as it is, and
    so are weights of another network, and those for another trunk.

    Args:
        trunk: whose weights they are to be.
        state: weights in timm's names.
    """
    state, theirs = dict(state), state.get("pos_embed")
    own = trunk.pos_embed if isinstance(trunk, TokenTrunk) else None
    if own is None or not isinstance(theirs, Tensor) or theirs.dim() != 3 or theirs.shape[::2] != own.shape[::2]:
        return state
    found = _grid(theirs.shape[1] - _prefix_positions(trunk), trunk.grid)
    if found is not None and found != trunk.grid:
        state["pos_embed"] = _resampled(trunk, theirs, found, trunk.grid)
        logger.info("resampled the position embedding of %s from %s x %s to %s x %s", trunk.name, *found, *trunk.grid)
    return state


def on_own_grids(model: nn.Module, state: Mapping[str, Any]) -> dict[str, Any]:
    """Bring a model's weights to the grid of the plain vision transformer in it, as :func:`on_own_grid`."""
    state = dict(state)
    for place, module in model.named_modules():
        key = f"{place}.pos_embed"
        if isinstance(module, TokenTrunk) and key in state:
            state[key] = on_own_grid(module, {"pos_embed": state[key]})["pos_embed"]
    return state


def _grid(count: int, own: tuple[int, int]) -> tuple[int, int] | None:
    """Return rows and columns of so many positions: no number of them fits two of the shapes."""
    roots = {shape: math.isqrt(max(count, 0) // shape) for shape in SHAPES}
    fitting = [(shape * root, root) for shape, root in roots.items() if root and shape * root**2 == count]
    if count == math.prod(own):
        if fitting and own not in fitting:
            logger.warning(
                "the file's %d positions are taken as %s x %s, as this network has them, and not as %s x %s",
                *(count, *own, *fitting[0]),
            )
        return own
    return fitting[0] if fitting else None


def _resampled(trunk: TokenTrunk, positions: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    from timm.layers import resample_abs_pos_embed

    sizes = {"new_size": list(new), "old_size": list(old)}
    return resample_abs_pos_embed(positions, num_prefix_tokens=_prefix_positions(trunk), **sizes)


def _prefix_positions(trunk: TokenTrunk) -> int:
    return 0 if trunk.no_embed_class else trunk.num_prefix_tokens


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
