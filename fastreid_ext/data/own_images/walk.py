"""The images below a folder, and what else lies there, by reason."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from fastreid_ext.errors import FileError
from fastreid_ext.files import reason

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
HIDDEN, NO_IMAGE, NO_FILE = "hidden", "not named like an image", "named like an image, but no file"
DEEPEST = 16  # folders below the first


@dataclass
class Found:
    """What lies below a folder.

    Attributes:
        root: the folder, without links.
        names: paths of the images below it, with ``/``, sorted.
        left_out: (path below it, reason) of what is no image, sorted.
    """

    root: Path
    names: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


def images_below(folder: Path, without: Collection[Path] = ()) -> Found:
    """List the images of a folder and of those in it; linked folders are followed, but not in a circle.

    Args:
        folder: where to look.
        without: files and folders that are not looked at.

    Raises:
        FileError: a folder can't be read.
    """
    found = Found(folder.resolve())
    _look(str(found.root), "", (), {os.path.realpath(path) for path in without}, found)
    found.names.sort()
    found.left_out.sort()
    return found


def _look(folder: str, below: str, above: tuple[str, ...], without: set[str], found: Found) -> None:
    if folder in above or len(above) > DEEPEST:
        found.left_out.append((below.rstrip("/"), "a folder linked into itself, or too deep"))
        return
    try:
        with os.scandir(folder) as entries:
            entries = list(entries)
    except OSError as error:
        raise FileError(f"the folder {folder} can't be read: {reason(error)}") from error
    for entry in entries:
        real, name = os.path.realpath(entry.path), f"{below}{entry.name}"
        if real in without:
            continue
        if entry.name.startswith("."):
            found.left_out.append((name, HIDDEN))
        elif os.path.isdir(real) and not entry.name.lower().endswith(SUFFIXES):
            _look(real, f"{name}/", (*above, folder), without, found)
        elif not entry.name.lower().endswith(SUFFIXES):
            found.left_out.append((name, NO_IMAGE))
        elif not os.path.isfile(real):
            found.left_out.append((name, NO_FILE))
        else:
            found.names.append(name)
