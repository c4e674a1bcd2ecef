"""The device of a process, and a model spread over several."""

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import nn

from fastreid_ext.compat.distributed import HostDistributedDataParallel


def device_of(cfg: CfgNode) -> torch.device:
    """Return the device of this process."""
    device = torch.device(cfg.MODEL.DEVICE)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def distributed(model: nn.Module) -> nn.Module:
    """Wrap a model for this process group; return the model itself if there is only one process."""
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    return HostDistributedDataParallel(model, device_ids=[device.index], broadcast_buffers=False)
