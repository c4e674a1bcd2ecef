"""A model tried on images of the run's size as it is built: what would stop the first batch stops at the start."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage
from torch import nn

from fastreid_ext.errors import ConfigError, UserError, first_line, is_ours
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.capabilities import ReadsLabels

# What FastReID's modules and torch raise for sizes, lengths and names that do not fit each other.
MISFITS = (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)


@torch.no_grad()
def try_model(model: nn.Module, cfg: CfgNode) -> None:
    """Give a model one image of INPUT.SIZE_TEST and, if it is not ours, a training batch of two of INPUT.SIZE_TRAIN.

    Its weights, buffers and mode, and all random states, are as before.

    Raises:
        ConfigError: FastReID's or the user's own code stops at them.
    """
    if isinstance(model, ReadsLabels) and model.test_labels:
        return
    device = next(model.parameters()).device
    if device.type == "meta":
        return
    crop = cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else None
    with left_as_it_was(model, device):
        model.eval()
        images = _images(crop or cfg.INPUT.SIZE_TEST, 1, device)
        _forward(cfg, model, {"images": images}, "test image", "INPUT.SIZE_TEST")
        if not isinstance(model, BranchedReID) and cfg.MODEL.HEADS.NUM_CLASSES > 1:
            model.train()
            images = _images(crop or cfg.INPUT.SIZE_TRAIN, 2, device)
            batch = {"images": images, "targets": torch.tensor([0, 1], device=device)}
            with EventStorage():
                _forward(cfg, model, batch, "training batch", "INPUT.SIZE_TRAIN")


def _forward(cfg: CfgNode, model: nn.Module, batch: dict[str, torch.Tensor], what: str, key: str) -> None:
    try:
        model(batch)
    except UserError:
        raise
    except MISFITS as error:
        if is_ours(error) and isinstance(model, BranchedReID):
            raise
        raise ConfigError(
            f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} with {cfg.MODEL.BACKBONE.NAME}"
            f" {cfg.MODEL.BACKBONE.DEPTH} and MODEL.HEADS.NAME {cfg.MODEL.HEADS.NAME} stops at a {what} of {key}"
            f" {list(tuple(cfg.INPUT[key.partition('.')[2]]))} ({first_line(error)}): check MODEL.BACKBONE.FEAT_DIM"
            f" ({cfg.MODEL.BACKBONE.FEAT_DIM}), the sizes, and whether these parts go together"
        ) from error


def _images(size: list[int], count: int, device: torch.device) -> torch.Tensor:
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
