"""What the data sets of this folder share: listing their images, reading names, labels of training images."""

import logging
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fastreid_ext.errors import UserError
from fastreid_ext.image_files import without_others

logger = logging.getLogger(__name__)

# In order of preference, for an image that exists in several formats: lossless ones first.
IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".bmp", ".webp", ".jpg", ".jpeg", ".jfif")


class LayoutError(UserError):
    """A data set whose folders, lists or names are not as its authors publish them."""


class LabelError(LayoutError):
    """An image or a line of a list that doesn't tell its labels; the set is there."""


def list_images(folder: Path, *patterns: str) -> list[Path]:
    """List the images of a folder, by name; of a picture in several formats, one.

    Args:
        folder: where to look.
        patterns: what to look at: "*" for the folder itself, "*/*" for the folders in it.
    """
    named = (path for pattern in patterns for path in folder.glob(pattern) if is_image(path))
    # Words instead of paths: those are slow, and there may be a million.
    words = [(*os.path.splitext(path), path) for path in without_others(named, folder)]
    words.sort(key=lambda word: (word[0], IMAGE_SUFFIXES.index(word[1].lower()), word[1]))
    kept: dict[str, Path] = {}
    for stem, _, path in words:
        kept.setdefault(stem, path)
    if len(kept) < len(words):
        extra = len(words) - len(kept)
        log_once(logging.WARNING, f"{extra} images in {folder} exist in another format too: each is used once")
    return sorted(kept.values(), key=str)


def is_image(path: Path) -> bool:
    """Whether a name is that of an image; hidden files, such as macOS's ``._x.jpg``, aren't."""
    name = path.name
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES and not name.startswith(".")


def refuse_names(paths: Iterable[Path], expected: str) -> None:
    """Raise LabelError if there are images whose names can't be read."""
    paths = list(paths)
    if paths:
        raise LabelError(
            f"the names of {len(paths)} images can't be read, the first is {paths[0]}: expected is a name like "
            f"{expected}, so rename or remove them"
        )


def training_item(path: Path, dataset: str, person: object, camera: object) -> tuple[str, str, str]:
    """Return an item whose labels can't clash with those of other data sets, in FastReID's form."""
    return str(path), f"{dataset}_{person}", f"{dataset}_{camera}"


@cache
def log_once(level: int, message: str) -> None:
    """Log a message once a process: data sets are read for training and again for every test."""
    logger.log(level, message)
