"""Automatic mixed precision on CPU and CUDA."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fastreid_ext.compat.amp import cpu_has_bf16
from fastreid_ext.errors import ConfigError
from fastreid_ext.precision import at_least_float32, without_autocast

DTYPES = ("auto", "bf16", "fp16")


def autocast_dtype(device: torch.device, enabled: bool, name: str = "auto") -> torch.dtype | None:
    """Return what to autocast to, or None for float32 (SOLVER.AMP.ENABLED and SOLVER.AMP.DTYPE).

    "auto" is bfloat16 where the hardware computes in it, else float16 on CUDA and float32 on a CPU.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in DTYPES:
        raise ConfigError(f"SOLVER.AMP.DTYPE must be one of {DTYPES}, got {name!r}")
    if not enabled:
        return None
    if name != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    return torch.bfloat16 if cpu_has_bf16() else None


def losses_in_float32(model: nn.Module) -> None:
    """Let a host's meta-architecture compute its losses in float32, as ours do.

    In half precision the distances of a batch take only a few values, so batch-hard mining chooses among ties.
    """
    original = model.losses

    def losses(*inputs: Any) -> dict[str, torch.Tensor]:
        targets = inputs[-1]  # before them the outputs, in the Distiller those of several models
        with without_autocast(targets):
            return original(*_widen(inputs))

    model.losses = losses


def _widen(outputs: Any) -> Any:
    if isinstance(outputs, Mapping):  # MGN nests a dict per branch
        return {key: _widen(value) for key, value in outputs.items()}
    if isinstance(outputs, list | tuple):
        return type(outputs)(_widen(value) for value in outputs)
    return at_least_float32(outputs) if isinstance(outputs, torch.Tensor) else outputs
