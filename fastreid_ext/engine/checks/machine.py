"""Checks of what the machine has: the device, and folders that can be written."""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from fastreid.config import CfgNode

from fastreid_ext.engine.checks.listing import raise_together
from fastreid_ext.errors import ConfigError


def check_device(cfg: CfgNode) -> None:
    """Check that torch knows MODEL.DEVICE, that it is available, and that all processes are on it.

    Raises:
        ConfigError: one of these does not hold.
    """
    raise_together(device_mistakes(cfg))


def unknown_device(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence if MODEL.DEVICE is none that torch has on any machine."""
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError:
        yield f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, which torch does not know: use cpu or cuda"


def device_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence if the processes can't compute on MODEL.DEVICE."""
    unknown, name = list(unknown_device(cfg)), cfg.MODEL.DEVICE
    yield from unknown
    if unknown:
        return
    device = torch.device(name)
    if device.type not in ("cpu", "cuda"):
        yield f"MODEL.DEVICE is {name!r}, on which fastreid-ext is not tested: use cpu or cuda"
    elif device.type == "cuda" and not torch.cuda.is_available():
        yield (
            f"MODEL.DEVICE is {name!r} but torch {torch.__version__} sees no GPU here; leave it out, or"
            " set MODEL.DEVICE cpu"
        )
    elif device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        yield f"MODEL.DEVICE is {name!r}, but this machine has {torch.cuda.device_count()} GPU(s), numbered from 0 on"
    elif device.type == "cpu" and device.index:
        yield f"MODEL.DEVICE is {name!r}, but there is one cpu: set MODEL.DEVICE cpu"
    elif device.type == "cpu" and dist.is_initialized() and dist.get_backend() == "nccl":
        yield "MODEL.DEVICE is cpu but the processes took the GPUs: hide them with CUDA_VISIBLE_DEVICES=''"


def check_writable(cfg: CfgNode) -> None:
    """Check that OUTPUT_DIR and DATALOADER.CACHE_DIR can be written, before hours of training; create them if needed.

    Raises:
        ConfigError: one can't be made or written.
    """
    folders = {"OUTPUT_DIR": cfg.OUTPUT_DIR}
    if cfg.DATALOADER.CACHE_DIR:
        folders["DATALOADER.CACHE_DIR"] = os.path.expanduser(cfg.DATALOADER.CACHE_DIR)
    for key, folder in folders.items():
        try:
            os.makedirs(folder, exist_ok=True)
            probe = Path(folder) / ".writable"
            probe.write_bytes(b"")
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{key} {folder!r} can't be written: {error}") from error
