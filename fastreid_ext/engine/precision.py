"""Automatic mixed precision on CPU and CUDA."""

import torch

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


def cpu_has_bf16() -> bool:
    """Say whether this CPU has bfloat16 instructions; without them bfloat16 is slower than float32."""
    if hasattr(torch.cpu, "get_capabilities"):  # newer than some of the versions we support
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.cpu._is_avx512_bf16_supported()
