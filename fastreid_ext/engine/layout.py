"""The layout of memory that a run trains in: the channels innermost where a short trial finds that faster."""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid.utils import comm
from torch import nn

from fastreid_ext.config import BEFORE_THE_KEY
from fastreid_ext.data.images import kept_generators
from fastreid_ext.engine.checks.trial import MISFITS
from fastreid_ext.engine.precision import autocast_dtype
from fastreid_ext.errors import UserError
from fastreid_ext.files import read_text

KEY = "MODEL.CHANNELS_LAST"
# Pixels of all images of a training from which on some seconds are well spent: 3,000 images of 256x128.
LONG = 10**8
# Four images of 256x128: more of them take as long each on a CPU, while a GPU is idle with a few.
PIXELS_ON_CPU = 4 * 256 * 128
SECONDS, ROUNDS, LEAST_ROUNDS = 2.0, 20, 3
GAIN = 1.05  # below it is what a busy machine does to either

logger = logging.getLogger(__name__)


def settled_layout(cfg: CfgNode, images: int) -> bool:
    """Return MODEL.CHANNELS_LAST of a training; None, its default, is settled by a trial of the trunk.

    A run that is continued keeps what it began with, which its config.yaml says, and a short run is not tried. Every
    process of a run gets the answer of the first one.

    Args:
        cfg: the config as it was merged, without a record of what is read.
        images: that the training reads in all its epochs.
    """
    if cfg.MODEL.CHANNELS_LAST is not None:
        return bool(cfg.MODEL.CHANNELS_LAST)
    decision = False
    if comm.is_main_process():
        begun = _begun(Path(cfg.OUTPUT_DIR))
        height, width = cfg.INPUT.SIZE_TRAIN[0], cfg.INPUT.SIZE_TRAIN[-1]
        if begun is not None:
            decision = begun
        elif images * height * width >= LONG:
            decision = _is_faster(cfg)
    return comm.all_gather(decision)[0]


def with_layout(cfg: CfgNode, innermost: bool) -> CfgNode:
    """Return a copy of a config with MODEL.CHANNELS_LAST set."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.CHANNELS_LAST = innermost
    cfg.freeze()
    return cfg


def _begun(folder: Path) -> bool | None:
    """Return what a run began with that has a checkpoint; None if there is none or its config.yaml does not say."""
    path = folder / "config.yaml"
    if not (folder / "last_checkpoint").is_file() or not path.is_file():
        return None
    try:
        model = yaml.safe_load(read_text(path))["MODEL"]
        found = model.get("CHANNELS_LAST", BEFORE_THE_KEY[KEY])  # without the key, it is a run from before it
    except (AttributeError, KeyError, RecursionError, TypeError, UserError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, bool) else None


def _is_faster(cfg: CfgNode) -> bool:
    try:
        seconds = trial(cfg, max(2, cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size() // cfg.SOLVER.ACCUMULATION))
    except (UserError, *MISFITS, OSError):  # the model, which is built next, says it in a sentence
        return False
    gain = seconds[False] / seconds[True]
    logger.info(
        "%s: with the channels innermost in memory the trunk's step is %.2f times as fast here, so they are %s",
        *(KEY, gain, "innermost" if gain >= GAIN else "not: it takes a gain of 5 %"),
    )
    return gain >= GAIN


def trial(cfg: CfgNode, batch: int) -> dict[bool, float]:
    """Time the training step of a config's trunk in both layouts, in turn, on noise; random states stay as they were.

    Args:
        cfg: the run's config.
        batch: images that a process computes at once.

    Returns:
        Channels innermost or not -> the seconds of the fastest step.
    """
    device = torch.device(cfg.MODEL.DEVICE)
    own = cfg.clone()
    own.defrost()
    own.MODEL.BACKBONE.PRETRAIN = False
    size = own.INPUT.CROP.SIZE if own.INPUT.CROP.ENABLED else own.INPUT.SIZE_TRAIN
    dtype = autocast_dtype(device, own.SOLVER.AMP.ENABLED, own.SOLVER.AMP.DTYPE)
    with kept_generators(), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        count = min(batch, max(2, PIXELS_ON_CPU // (size[0] * size[-1]))) if device.type == "cpu" else batch
        images = torch.randn(count, 3, size[0], size[-1], device=device)
        layouts = {False: torch.contiguous_format, True: torch.channels_last}
        trunks = {last: _trunk(own, device).to(memory_format=layout) for last, layout in layouts.items()}
        best = dict.fromkeys(trunks, float("inf"))
        begin = time.perf_counter()
        for done in range(ROUNDS):
            for last, trunk in trunks.items():
                seconds = _step(trunk, images, dtype)
                if done:  # the first step of each chooses its kernels
                    best[last] = min(best[last], seconds)
            if done + 1 >= LEAST_ROUNDS and time.perf_counter() - begin > SECONDS:
                break
    if device.type == "cuda":
        del trunks, trunk, images
        torch.cuda.empty_cache()  # the model wants its memory
    return best


def _trunk(cfg: CfgNode, device: torch.device) -> nn.Module:
    trunk = build_backbone(cfg)
    for module in list(trunk.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SyncBatchNorm):  # it would wait for the other processes, which try nothing
                module.add_module(name, nn.BatchNorm2d(child.num_features))
    return trunk.to(device).train()


def _step(trunk: nn.Module, images: torch.Tensor, dtype: torch.dtype | None) -> float:
    """Return the seconds of a forward and a backward pass."""
    clock = _clock(images.device.type)
    _wait(images.device)
    begin = clock()
    with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
        y: Any = trunk(images)
    y.float().mean().backward()
    trunk.zero_grad(set_to_none=True)
    _wait(images.device)
    return clock() - begin


def _clock(device: str) -> Callable[[], float]:
    """Return a clock: on a CPU what other programs take does not count, but Windows counts that in ticks of 16 ms."""
    return time.process_time if device == "cpu" and sys.platform != "win32" else time.perf_counter


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
