"""Files of weights from elsewhere: read without running anything in them, and renamed to our names."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from fastreid_ext.errors import UserError, first_line
from fastreid_ext.files import reason
from fastreid_ext.modeling.weight_files import check_weights_file

# Project -> (their state dict) -> (ours, KEY VALUE pairs that the model needs); WeightsError for another one.
CONVERTERS: dict[str, Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], list[str]]]] = {}
# Keys of the state dict in files that hold more than that.
STATES = ("state_dict", "model", "net")


class WeightsError(UserError, ValueError):
    """A file of weights that can't be read, or that belongs to another network."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, bare or inside a checkpoint, without running anything that the file holds.

    Raises:
        WeightsError: it can't be read, or it does not hold tensors.
    """
    try:
        check_weights_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {reason(error)}") from error
    except Exception as error:  # torch raises half a dozen exception types for invalid files
        raise WeightsError(f"{path} can't be read safely as weights ({first_line(error)})") from error
    if isinstance(loaded, dict):
        inner = next((loaded[key] for key in STATES if isinstance(loaded.get(key), dict)), loaded)
        if inner and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in inner.items()):
            return dict(inner)
    raise WeightsError(f"{path} holds no state dict of tensors")
