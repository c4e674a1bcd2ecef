"""Networks of timm as trunks (extra ``timm``): MODEL.BACKBONE.NAME build_timm_backbone, MODEL.BACKBONE.TIMM.NAME.

The trunk has the modules of timm's network that make its last map, with timm's names, and none of those that classify.
"""

import difflib
import functools
import logging
import re
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError, MissingExtraError
from fastreid_ext.modeling.anatomy import STAGES
from fastreid_ext.modeling.backbones import with_pretrained
from fastreid_ext.modeling.fitted_blocks import fitted_block
from fastreid_ext.modeling.last_stride import remove_last_downsampling
from fastreid_ext.modeling.timm_anatomy import SIZE, Parts, parts_of
from fastreid_ext.modeling.timm_weights import HUB, TIMM, file_here
from fastreid_ext.modeling.token_trunk import build_token_trunk, is_token_name

__all__ = ["BUILDER", "NEAR", "TimmTrunk", "build_timm_backbone", "create_network", "import_timm", "pixels_of"]

logger = logging.getLogger(__name__)

BUILDER = "build_timm_backbone"
KEY = "MODEL.BACKBONE.TIMM.NAME"
OLDEST = (1, 0, 23)  # of timm, as setup.py asks for it
NEAR = 0.5  # of 255: FastReID rounds its own


class TimmTrunk(nn.Module):
    """The trunk of a network of timm's: the modules of its stem and stages, by timm's names.

    Args:
        network: of timm's; its modules are taken over.
        parts: which of them run, see :func:`fastreid_ext.modeling.timm_anatomy.parts_of`.
        name: timm's name of it, with the tag of its weights if one was given.
    """

    def __init__(self, network: nn.Module, parts: Parts, name: str):
        super().__init__()
        self.name = name
        self.anatomy = parts.anatomy
        self.pretrained_cfg = dict(network.pretrained_cfg)
        self.source = type(network).__module__  # whose functions bring older files to these names
        self._order = parts.names
        for part in parts.names:
            self._put(part, network.get_submodule(part))

    def _put(self, name: str, module: nn.Module) -> None:
        *outer, last = name.split(".")
        place: nn.Module = self
        for part in outer:
            if part not in place._modules:
                place.add_module(part, nn.Module())  # it only has the name: what it did is done by its modules
            place = place._modules[part]
        place.add_module(last, module)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w), the map of timm's ``forward_features``."""
        y = images
        for name in self._order:
            y = self.get_submodule(name)(y)
        return y

    def following_block(self, name: str, channels: int) -> nn.Module:
        """Return a new block of the kind of this trunk's block ``name``, from ``channels`` to ``channels``.

        Raises:
            ConfigError: this kind of block can't be made with so many channels.
        """
        block, given = _examples(self.name)[name]
        with torch.device("cpu"):  # where the example is
            new = fitted_block(block, given, channels)
        if new is None:
            raise ConfigError(
                f"a {type(block).__name__} of timm's {self.name} can't be made from {channels} to {channels} channels:"
                " choose another MODEL.BACKBONE.TIMM.NAME, or do without more blocks (MODEL.MGRE.FE.BLOCKS 0)"
            )
        return new.train().to(torch.empty(0).device)


@functools.lru_cache(maxsize=1)  # MGRe asks for some blocks of each stage, and a network takes a second to build
def _examples(name: str) -> dict[str, tuple[nn.Module, Tensor]]:
    """Return the untrained last block of each stage of a network by its name, and what it reads.

    The trunk itself may be trained, or be without numbers.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        network = create_network(name)
        parts = parts_of(network, name)
        names = [blocks[-1] for stage in STAGES if (blocks := parts.anatomy.block_names(network, stage))]
        examples, y = {}, torch.zeros(1, 3, *SIZE)
        for part in parts.names:
            module = network.get_submodule(part)
            if part in names:
                examples[part] = (module, y)
            y = module(y)
    return examples


def import_timm() -> ModuleType:
    """Return timm.

    Raises:
        MissingExtraError: it is not installed, or older than what the extra asks for.
    """
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError(
            f"{BUILDER} needs timm, which can't be imported ({error}): pip install 'fastreid-ext[timm]'"
        ) from error
    if tuple(map(int, re.findall(r"\d+", timm.__version__)[: len(OLDEST)])) < OLDEST:
        raise MissingExtraError(
            f"{BUILDER} needs timm {'.'.join(map(str, OLDEST))} or newer, and this is timm {timm.__version__}: pip"
            " install -U 'fastreid-ext[timm]'"
        )
    return timm


def create_network(name: str, **settings: object) -> nn.Module:
    """Return a network of timm's with random weights, in eval mode.

    Args:
        name: timm's, such as "convnextv2_tiny" or, with the tag of its weights, "convnextv2_tiny.fcmae_ft_in1k".
        settings: further arguments of ``timm.create_model``.

    Raises:
        ConfigError: there is none of this name, or no weights with this tag.
        MissingExtraError: timm is not installed.
    """
    timm = import_timm()
    _check_name(name, timm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that timm has newer ones for
        return timm.create_model(name, pretrained=False, num_classes=0, **settings).eval()


def _check_name(name: str, timm: ModuleType) -> None:
    if not name:
        raise ConfigError(f"{KEY} is empty: name a network of timm's, such as convnextv2_tiny")
    if ":" in name or "/" in name or "\\" in name:
        raise ConfigError(
            f"{KEY} is {name[:100]!r} and must be one of timm's own names, such as convnextv2_tiny, so that a model can"
            " be built again without the hub: give weights of the hub as MODEL.BACKBONE.PRETRAIN_PATH"
            " hf-hub:OWNER/REPOSITORY, and those of a folder as the file in it"
        )
    plain, _, tag = name.partition(".")
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, timm.list_models(), n=3, cutoff=0.6)
        hint = f"; did you mean {' or '.join(near)}?" if near else ", as timm.list_models() lists them"
        raise ConfigError(f"{KEY} is {name[:100]!r}, and timm {timm.__version__} has no network of that name{hint}")
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        there = f"has weights with the tags {', '.join(tags)}" if tags else "has no pretrained weights"
        raise ConfigError(f"{KEY} is {name[:100]!r}, and timm's {plain} {there}")


def pixels_of(name: str) -> dict[str, list[float]]:
    """Return the config keys of the mean and standard deviation that a network of timm's expects; {} = not known.

    Args:
        name: MODEL.BACKBONE.TIMM.NAME.
    """
    try:
        about = import_timm().get_pretrained_cfg(name)
    except (MissingExtraError, RuntimeError):  # said when the trunk is built
        return {}
    keys = {"MODEL.PIXEL_MEAN": about.mean, "MODEL.PIXEL_STD": about.std} if about else {}
    return {key: [round(255 * one, 6) for one in values] for key, values in keys.items()}


def _warn_of_pixels(cfg: CfgNode) -> None:
    own = {"MODEL.PIXEL_MEAN": list(cfg.MODEL.PIXEL_MEAN), "MODEL.PIXEL_STD": list(cfg.MODEL.PIXEL_STD)}
    for key, values in pixels_of(cfg.MODEL.BACKBONE.TIMM.NAME).items():
        if not np.allclose(own[key], values, rtol=0, atol=NEAR):
            logger.warning(
                "%s is %s, and timm's weights of %s were trained with %s: set it to that",
                *(key, own[key], cfg.MODEL.BACKBONE.TIMM.NAME, values),
            )


@register(BACKBONE_REGISTRY)
def build_timm_backbone(cfg: CfgNode) -> nn.Module:
    """Build the trunk of the network of timm's that MODEL.BACKBONE.TIMM.NAME names.

    Raises:
        ConfigError: no such network, one without a stem and four stages, or one whose last downsampling can't be taken
            out (MODEL.BACKBONE.LAST_STRIDE 1).
        MissingExtraError: timm is not installed.
        WeightsError: pretrained weights that are missing or of another network.
    """
    trunk = _build(cfg)
    if cfg.MODEL.BACKBONE.PRETRAIN:
        _warn_of_pixels(cfg)
    return trunk


@with_pretrained(TIMM)
def _build(cfg: CfgNode) -> nn.Module:
    node = cfg.MODEL.BACKBONE
    _check_name(node.TIMM.NAME, import_timm())
    if is_token_name(node.TIMM.NAME):
        return build_token_trunk(cfg)
    network = create_network(node.TIMM.NAME)
    trunk = TimmTrunk(network, parts_of(network, node.TIMM.NAME), node.TIMM.NAME).eval()
    if node.LAST_STRIDE == 1:
        images = next(trunk.parameters()).new_zeros(1, 3, *SIZE)
        with torch.no_grad():
            if not remove_last_downsampling(trunk, images, trunk.anatomy.stage_names(trunk, STAGES[-1])):
                raise ConfigError(
                    f"the last downsampling of timm's {node.TIMM.NAME} can't be taken out: set"
                    " MODEL.BACKBONE.LAST_STRIDE 2"
                )
    return trunk.train()


def _file_here(node: CfgNode) -> Path:
    """Return the pretrained weights of a node MODEL.BACKBONE on this machine; nothing is built or downloaded."""
    path = node.PRETRAIN_PATH
    if path:
        return file_here({"hf_hub_id": path.removeprefix(HUB)}, path) if path.startswith(HUB) else Path(path)
    timm, name = import_timm(), node.TIMM.NAME
    _check_name(name, timm)
    return file_here(timm.get_pretrained_cfg(name).to_dict(), name)


build_timm_backbone.loads_whole = True
build_timm_backbone.pretrained_file = _file_here  # for `fastreid-ext doctor`
