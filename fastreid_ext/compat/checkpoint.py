"""Checkpoints: only tensors, plain values and NumPy values are ever loaded."""

import functools
import io
import pickle
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.numpy_values import plain, stand_ins
from fastreid_ext.compat.patch import patch, replace
from fastreid_ext.compat.probing import Asked, refuse

checkpoint = HostModule("fastreid.utils.checkpoint")

LOAD_FILE = "fastreid.utils.checkpoint:Checkpointer._load_file"
LOAD_MODEL = "fastreid.utils.checkpoint:Checkpointer._load_model"
# Heads of the host before its version 1.0, such as those of its model zoo: a neck without and one with a reduction
# before it had one name each; the classifier was a module.
EARLIER = (
    (r"((?:heads|b\d+_head)\.)bnneck\.", r"\1bottleneck.0."),
    (r"((?:heads|b\d+_head)\.)classifier\.weight$", r"\1weight"),
)
WRAPPED = "module."  # by DataParallel


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
    cause="torch.load reads tensors alone by default, and the checkpoint has NumPy numbers, such as the metric",
    fix="allow NumPy's scalar and array types by torch.serialization.safe_globals, or save float(metric)",
)
def safe_load() -> None:
    """Checkpoints with NumPy values, such as a metric, did not load; now they do, without full pickle."""
    replace(LOAD_FILE, _load_file)


def with_present_names(state: Mapping[str, Any], own: Iterable[str]) -> dict[str, Any]:
    """Give the weights of the host's earlier heads the names that they have today.

    Args:
        state: a checkpoint's model.
        own: the names of the model; one that it lacks, or that the checkpoint has already, is given to nothing.
    """
    own, renamed = set(own), {}
    taken = {key.removeprefix(WRAPPED) for key in state}
    for key, value in state.items():
        name = key.removeprefix(WRAPPED)
        for pattern, present in EARLIER if name not in own else ():
            new = re.sub(f"^{pattern}", present, name)
            if new in own and new not in taken:
                key = key[: len(key) - len(name)] + new
        renamed[key] = value
    return renamed


def _neck_is_left_out() -> bool:
    """Whether the neck of a file of the model zoo does not load."""
    model = torch.nn.Module()
    model.heads = torch.nn.Module()
    model.heads.bottleneck = torch.nn.Sequential(torch.nn.BatchNorm2d(1))
    checkpointer = checkpoint.Checkpointer(model, save_to_disk=False)
    checkpointer._load_model({"model": {"heads.bnneck.running_mean": torch.tensor([7.0])}})
    return model.heads.bottleneck[0].running_mean.item() != 7


@patch(
    "neck-of-the-zoo",
    heals="utils/checkpoint.py:225",
    needed_by="any version since 1.0, with files of the model zoo",
    targets={LOAD_MODEL: ("bbc0a1d6d91c",)},
    needed=_neck_is_left_out,
    if_skipped="models of FastReID's model zoo are evaluated with a neck that was never trained",
    cause="heads.bnneck became heads.bottleneck.0 after the files were written, and a missing weight is only logged",
    fix="rename heads.bnneck, heads.classifier and their like in Checkpointer._load_model, before weights are loaded",
)
def neck_of_the_zoo() -> None:
    """The model zoo's files have the neck by an earlier name; it was left out with a line in the log."""
    original = checkpoint.Checkpointer._load_model

    @functools.wraps(original)
    def _load_model(self, checkpoint):
        checkpoint["model"] = with_present_names(checkpoint["model"], self.model.state_dict())
        return original(self, checkpoint)

    replace(LOAD_MODEL, _load_model)
