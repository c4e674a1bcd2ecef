"""Checks of what SOLVER.COMPILE needs: a compiler of C++, headers of Python, and triton on a GPU."""

import importlib.util
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch
from fastreid.config import CfgNode

from fastreid_ext.engine.checks.machine import unknown_device


def compiler_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence if torch.compile can't work here."""
    if not cfg.SOLVER.COMPILE or any(unknown_device(cfg)):
        return
    if torch.device(cfg.MODEL.DEVICE).type == "cuda" and importlib.util.find_spec("triton") is None:
        yield "SOLVER.COMPILE needs triton on a GPU, which is not installed: pip install triton, or set it False"
    if lacking := _lacking():
        yield f"SOLVER.COMPILE needs a compiler of C++: {lacking}, or set it False"


def _lacking() -> str:
    """Return what to install, "" if there is all."""
    from torch._inductor.cpp_builder import get_cpp_compiler  # seconds, which other runs do not pay

    try:
        get_cpp_compiler()
    except RuntimeError:
        return "install g++, or name one in the environment variable CXX"
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return "" if header.is_file() else f"install the headers of Python ({header} is missing)"
