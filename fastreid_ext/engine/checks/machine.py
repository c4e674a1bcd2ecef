"""Checks of what the machine has: the device, and folders that can be written."""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from fastreid.config import CfgNode

from fastreid_ext.errors import ConfigError


def check_device(cfg: CfgNode) -> None:
    """Check that torch knows MODEL.DEVICE, that it is available, and that all processes are on it.

    Raises:
        ConfigError: one of these does not hold.
    """
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ConfigError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, which torch does not know: use cpu or cuda"
        ) from error
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r} but torch {torch.__version__} sees no GPU here; leave it out, or"
            " set MODEL.DEVICE cpu"
        )
    if cfg.MODEL.DEVICE == "cpu" and dist.is_initialized() and dist.get_backend() == "nccl":
        raise ConfigError("MODEL.DEVICE is cpu but the processes took the GPUs: hide them with CUDA_VISIBLE_DEVICES=''")


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
