"""Automatic mixed precision on CPU and CUDA."""

import torch

from fastreid_ext.compat.amp import cpu_has_bf16

DTYPES = ("auto", "bf16", "fp16")


def autocast_dtype(device: torch.device, enabled: bool, name: str = "auto") -> torch.dtype | None:
    """Return what to autocast to, or None for float32 (SOLVER.AMP.ENABLED and SOLVER.AMP.DTYPE).

    "auto" is bfloat16 where the hardware computes in it, else float16 on CUDA and float32 on a CPU.

    Raises:
        ValueError: an unknown name.
    """
    if name not in DTYPES:
        raise ValueError(f"SOLVER.AMP.DTYPE must be one of {DTYPES}, got {name!r}")
    if not enabled:
        return None
    if name != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16}[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    return torch.bfloat16 if cpu_has_bf16() else None
