"""Checkpoints: only tensors, plain values and NumPy values are ever loaded."""

import io
import pickle

import numpy as np
import torch

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.numpy_values import plain, stand_ins
from fastreid_ext.compat.patch import patch, replace
from fastreid_ext.compat.probing import Asked, refuse

checkpoint = HostModule("fastreid.utils.checkpoint")

LOAD_FILE = "fastreid.utils.checkpoint:Checkpointer._load_file"


def _load_file(self, f: str):
    """Load a checkpoint on to the CPU.

    Raises:
        pickle.UnpicklingError: the file holds other objects; loading those could run any code.
    """
    try:
        with torch.serialization.safe_globals(stand_ins()):
            return plain(torch.load(f, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        # torch goes on with the advice to load it unsafely.
        said = (
            (str(error).splitlines() or [""])[0].partition(" In PyTorch 2.6")[0].partition(" This file can still be")[0]
        )
        raise pickle.UnpicklingError(
            f"{f} is damaged or holds more than tensors, plain values and NumPy values: not loaded. {said}"
        ) from error


class _Call:
    """Pickled, it asks whoever loads it to call a function."""

    def __reduce__(self):
        return refuse, ()


def _loads_too_little_or_too_much() -> bool:
    """Whether NumPy values do not load, or a file may have functions called."""

    def load(value):
        file = io.BytesIO()
        torch.save({"value": value}, file)
        file.seek(0)
        return checkpoint.Checkpointer._load_file(None, file)["value"]

    if load(np.float64(0.5)) != 0.5:
        return True
    try:
        load(_Call())
    except Asked:
        return True
    except pickle.UnpicklingError:
        return False
    return True


@patch(
    "safe-load",
    heals="utils/checkpoint.py:216",
    needed_by="torch >= 2.6, which refuses NumPy values; older ones run code that the file names",
    targets={LOAD_FILE: ("7431d4b01efe",)},
    needed=_loads_too_little_or_too_much,
    if_skipped="checkpoints with NumPy values, such as a metric, do not load, or loading may run code of the file",
)
def safe_load() -> None:
    """Checkpoints with NumPy values, such as a metric, did not load; now they do, without full pickle."""
    replace(LOAD_FILE, _load_file)
