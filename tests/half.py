"""Half precision where the processor has no instructions for it and torch takes 10 to 40 times as long as in float32.

What oneDNN has no kernel for is computed in float32 of the rounded numbers, and the result and the gradients are
rounded again: the same types and the same rounding everywhere, and sums in float32 as the fast kernels have them. Where
the processor has the instructions (AVX512-BF16, AMX), torch's own kernels are tested.
"""

import functools
from collections.abc import Callable

import torch
from torch.nn import functional as F

DTYPES = {
    torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
    torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
}
FUNCTIONS = ("conv2d", "linear")  # a model's time is here


def round_in_float32() -> None:
    """Let the functions of this process compute as said above, whether in autocast or of tensors of such a type."""
    slow = {dtype for dtype, is_fast in DTYPES.items() if not is_fast()}
    for name in FUNCTIONS:
        function = getattr(F, name)
        if slow and not hasattr(function, "__wrapped__"):
            setattr(F, name, _rounding(function, slow))


def _rounding(function: Callable, slow: set[torch.dtype]) -> Callable:
    @functools.wraps(function)
    def rounded(input, weight, bias=None, *args, **kwargs):
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        if dtype not in slow or input.device.type != "cpu":
            return function(input, weight, bias, *args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            tensors = (None if x is None else x.to(dtype).float() for x in (input, weight, bias))
            return function(*tensors, *args, **kwargs).to(dtype)

    return rounded
