"""A model tried on images of the run's size as it is built: what would stop the first batch stops at the start."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage
from torch import nn

from fastreid_ext.errors import OURS, ConfigError, UserError, first_line, is_ours, raised_in
from fastreid_ext.modeling.backbones import trunk_title
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.capabilities import ReadsLabels

# What FastReID's modules and torch raise for sizes, lengths and names that do not fit each other.
MISFITS = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
SHOWN = 160  # characters of an error
WHOLE = 32  # pixels of a side that any trunk divides


@torch.no_grad()
def try_model(model: nn.Module, cfg: CfgNode) -> None:
    """Give a model one image of INPUT.SIZE_TEST and, if it is not ours, a training batch of two of INPUT.SIZE_TRAIN.

    The trunk alone is given both sizes before that. Weights, buffers and mode, and all random states, are as before.

    Raises:
        ConfigError: FastReID's, timm's or the user's own code stops at them.
    """
    device = next(model.parameters()).device
    if device.type == "meta":
        return
    crop = cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else None
    with left_as_it_was(model, device):
        model.eval()
        _try_trunk(cfg, model, device)
        if isinstance(model, ReadsLabels) and model.test_labels:
            return
        images = _images(crop or cfg.INPUT.SIZE_TEST, 1, device)
        _forward(cfg, model, {"images": images}, "test image", "INPUT.SIZE_TEST")
        if not isinstance(model, BranchedReID) and cfg.MODEL.HEADS.NUM_CLASSES > 1:
            model.train()
            images = _images(crop or cfg.INPUT.SIZE_TRAIN, 2, device)
            batch = {"images": images, "targets": torch.tensor([0, 1], device=device)}
            with EventStorage():
                _forward(cfg, model, batch, "training batch", "INPUT.SIZE_TRAIN")


def _try_trunk(cfg: CfgNode, model: nn.Module, device: torch.device) -> None:
    """Give the trunk alone images of the run's sizes; those that it stops at are refused where it takes others."""
    trunk = getattr(model, "backbone", None)
    if not isinstance(trunk, nn.Module):
        return
    keys = ["INPUT.CROP.SIZE"] if cfg.INPUT.CROP.ENABLED else ["INPUT.SIZE_TRAIN", "INPUT.SIZE_TEST"]
    sizes = {key: _value(cfg, key) for key in keys}
    faults = {size: _fault(trunk, size, device) for size in dict.fromkeys(sizes.values())}
    bad = {key: size for key, size in sizes.items() if faults[size]}
    instead = {size: _fitting(trunk, size, sizes.values(), device) for size in dict.fromkeys(bad.values())}
    if bad and all(instead.values()):
        error = faults[next(iter(bad.values()))]
        raise ConfigError(
            f"{trunk_title(cfg)} takes images of some sizes only, and stops at"
            f" {' and '.join(f'{key} {list(size)}' for key, size in bad.items())} ({first_line(error)[:SHOWN]}): set"
            f" {' and '.join(f'{key} {list(instead[size])}' for key, size in bad.items())}"
        ) from error


def _fault(trunk: nn.Module, size: Sequence[int], device: torch.device) -> Exception | None:
    """Return what a trunk stops with at an image of a size, if the code that stops is not ours."""
    try:
        trunk(_images(size, 1, device))
    except MISFITS as error:  # of ours: the model's own forward pass shows it
        return None if isinstance(error, UserError) or raised_in(error) == OURS else error
    return None


def _fitting(
    trunk: nn.Module, size: tuple[int, int], others: Iterable[tuple[int, int]], device: torch.device
) -> tuple[int, int] | None:
    """Return a size that a trunk takes: the nearest in whole steps of pixels, or one that the run has anyway."""
    whole = [tuple(WHOLE * max(1, int(side / WHOLE + half)) for side in size) for half in (0.5, 1, 0)]
    return next((one for one in (*whole, *others) if one != size and not _fault(trunk, one, device)), None)


def _forward(cfg: CfgNode, model: nn.Module, batch: dict[str, torch.Tensor], what: str, key: str) -> None:
    try:
        model(batch)
    except UserError:
        raise
    except MISFITS as error:
        if is_ours(error) and isinstance(model, BranchedReID):
            raise
        channels, given = _channels(model, batch), cfg.MODEL.BACKBONE.FEAT_DIM
        if channels not in (None, given) and not isinstance(model, BranchedReID):
            raise ConfigError(
                f"MODEL.BACKBONE.FEAT_DIM is {given}, and the last map of {trunk_title(cfg)} has {channels} channels:"
                f" set it to {channels}"
            ) from error
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} with {trunk_title(cfg)}"
            f" and MODEL.HEADS.NAME {cfg.MODEL.HEADS.NAME} stops at a {what} of {key}"
            f" {list(_value(cfg, key))} ({first_line(error)}): check MODEL.BACKBONE.FEAT_DIM"
            f" ({cfg.MODEL.BACKBONE.FEAT_DIM}), the sizes, and whether these parts go together"
        ) from error


def _channels(model: nn.Module, batch: dict[str, torch.Tensor]) -> int | None:
    """Return the channels of the last map of a model's trunk; None where it makes none."""
    try:
        y = model.backbone(batch["images"])
    except MISFITS:
        return None
    return y.shape[1] if isinstance(y, torch.Tensor) and y.dim() > 1 else None


def _value(cfg: CfgNode, key: str) -> tuple[int, int]:
    """Return (height, width) of a key of INPUT; one number stands for both."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg[0], cfg[-1]


def _images(size: Sequence[int], count: int, device: torch.device) -> torch.Tensor:
    return torch.full((count, 3, size[0], size[-1]), 127.0, device=device)


@contextmanager
def left_as_it_was(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore a model's buffers and modes, and the random states, on exit."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)
            for module, training in modes:
                module.training = training
