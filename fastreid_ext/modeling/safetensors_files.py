"""Files in the format of safetensors: tensors by name and texts about them, nothing that could run."""

from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from fastreid_ext.errors import UserError, first_line
from fastreid_ext.image_files import check_is_file
from fastreid_ext.modeling.file_kinds import HEAD, is_safetensors

RECORD = "fastreid_ext"  # of the text that says what the weights of a file are of
OURS = f"{RECORD}."  # begins the names of tensors that are no weights of the model


class SafetensorsError(UserError, ValueError):
    """A file that is not, or no longer, in the format of safetensors."""


def begins_as_safetensors(path: str | Path) -> bool:
    """Whether a file begins as one of safetensors; False for what can't be read."""
    try:
        check_is_file(path)
        with open(path, "rb") as file:
            return is_safetensors(file.read(HEAD))
    except (OSError, ValueError):
        return False


def read_safetensors(path: str | Path, prefix: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file by name, and the texts about them.

    The library checks that the tensors lie side by side and fill the file, so they take no more memory than it has
    bytes.

    Args:
        path: the file.
        prefix: of the names that are asked for, which is cut off; "" = weights, which do not begin with ``OURS``.

    Raises:
        SafetensorsError: it can't be read.
    """
    try:
        check_is_file(path)
        with safe_open(str(path), framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix or OURS) == bool(prefix)]  # noqa: SIM118
            return {name[len(prefix) :]: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except Exception as error:  # the library's own type, and those of the system
        raise SafetensorsError(
            f"{path} is damaged, or not in the format of safetensors ({first_line(error)})"
        ) from error


def shapes_of(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights in a file by name, of which no number is read.

    Raises:
        SafetensorsError: as :func:`read_safetensors`.
    """
    try:
        check_is_file(path)
        with safe_open(str(path), framework="pt") as file:
            names = [name for name in file.keys() if not name.startswith(OURS)]  # noqa: SIM118  (it is no dict)
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except Exception as error:  # see above
        raise SafetensorsError(
            f"{path} is damaged, or not in the format of safetensors ({first_line(error)})"
        ) from error
