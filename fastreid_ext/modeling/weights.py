"""Files of weights from elsewhere: read without running anything in them, and renamed to our names."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.utils.checkpoint import Checkpointer
from torch import Tensor

from fastreid_ext.errors import UserError, first_line
from fastreid_ext.files import reason
from fastreid_ext.modeling.file_kinds import what_it_is
from fastreid_ext.modeling.safetensors_files import SafetensorsError, begins_as_safetensors, read_safetensors
from fastreid_ext.modeling.weight_files import check_weights_file

# Project -> (their state dict) -> (ours, KEY VALUE pairs that the model needs); WeightsError for another one.
CONVERTERS: dict[str, Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], list[str]]]] = {}
# Keys of the state dict in files that hold more than that; what else holds one comes behind them.
STATES = ("state_dict", "model", "net", "model_state", "model_state_dict")
DEEPEST = 4  # dicts in dicts that a state dict may stand in


class WeightsError(UserError, ValueError):
    """A file of weights that can't be read, or that belongs to another network."""


class NotHereYet(WeightsError):
    """A file of weights that is downloaded when it is first needed."""


def check_file(path: str | Path) -> None:
    """Check a file that is to be read as weights.

    Raises:
        WeightsError: it is none; the sentence says what it really is, where its first bytes tell.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise WeightsError(f"{path} can't be read safely as weights: it {what_it_is(path)}")
    try:
        check_weights_file(path)
    except Exception as error:  # what a damaged file raises
        raise unreadable(path, error) from error


def read_file(path: str | Path) -> Any:
    """Return what a file of torch or safetensors holds: tensors, arrays and plain values; nothing in it is run.

    Raises:
        WeightsError: as :func:`check_file`.
    """
    if begins_as_safetensors(path):
        try:
            return read_safetensors(path)[0]
        except SafetensorsError as error:
            raise WeightsError(str(error)) from error
    check_file(path)
    try:
        return Checkpointer._load_file(None, str(path))
    except Exception as error:  # torch raises half a dozen exception types for invalid files
        raise unreadable(path, error) from error


def unreadable(path: str | Path, error: Exception) -> WeightsError:
    """Return the sentence about a file that was refused with an error."""
    what = what_it_is(path)
    if isinstance(error, OSError) and not what:
        return WeightsError(f"{path} can't be read: {reason(error)}")
    return WeightsError(
        f"{path} can't be read safely as weights{f': it {what}' if what else f' ({first_line(error)})'}"
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, bare or inside a checkpoint, without running anything that the file holds.

    Raises:
        WeightsError: it can't be read, or it does not hold tensors.
    """
    loaded = read_file(path)
    if isinstance(loaded, dict):
        inner = next((loaded[key] for key in STATES if isinstance(loaded.get(key), dict)), loaded)
        if inner and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in inner.items()):
            return dict(inner)
    raise WeightsError(f"{path} holds no state dict of tensors")


def states_in(loaded: Any, at: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield (where it stands, its tensors and arrays by name) of every dict with some that a file holds.

    Args:
        loaded: what :func:`read_file` returns.
        at: where ``loaded`` stands, "" for the file itself; a state dict of the key "model" stands at "model".
        depth: in how many dicts.
    """
    if not isinstance(loaded, dict) or depth > DEEPEST:
        return
    tensors = {key: value for key, value in loaded.items() if isinstance(key, str)}
    state = {key: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for key, v in tensors.items()}
    state = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if state:
        yield at, state
    known = [key for key in STATES if key in loaded]
    for key in [*known, *(key for key in loaded if key not in known and key != "optimizer")]:
        yield from states_in(loaded[key], f"{at}.{key}".lstrip("."), depth + 1)


def not_finite(state: Mapping[str, Tensor | np.ndarray]) -> list[str]:
    """Return the names of the tensors with a value that is NaN or infinite."""
    tensors = {key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in state.items()}
    return [key for key, value in tensors.items() if not _is_finite(value)]


def no_floats(state: Mapping[str, Tensor | np.ndarray], own: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that are no floats, where a model's own are: of a quantised model, or no weights.

    Whole numbers would load as they are, without the scale that they had.
    """
    tensors = {key: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for key, value in state.items()}
    return [
        key
        for key, value in tensors.items()
        if key in own and own[key].is_floating_point() and not value.is_floating_point()
    ]


def _is_finite(value: Tensor) -> bool:
    small = value.element_size() == 1  # torch has no isfinite for floats of 8 bits
    return bool(torch.isfinite(value.float() if small else value).all())
