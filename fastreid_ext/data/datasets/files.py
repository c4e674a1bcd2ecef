"""What the data sets of this folder share: listing their images, reading names, labels of training images."""

import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from fastreid_ext.errors import UserError
from fastreid_ext.image_files import list_folder

logger = logging.getLogger(__name__)


class LayoutError(UserError):
    """A data set whose folders, lists or names are not as its authors publish them."""


class LabelError(LayoutError):
    """An image or a line of a list that doesn't tell its labels; the set is there."""


def list_images(folder: Path, *patterns: str) -> list[Path]:
    """List the images of a folder, by name; of a picture in several formats, one. The log says what is left out.

    Args:
        folder: where to look.
        patterns: what to look at: "*" for the folder itself, "*/*" for the folders in it.
    """
    listing = list_folder(folder, {pattern.count("/") + 1 for pattern in patterns})
    if listing.left_out:
        log_once(logging.WARNING if listing.surprises else logging.INFO, listing.sentence())
    return sorted(listing.files, key=str)


def refuse_names(paths: Iterable[Path], expected: str) -> None:
    """Raise LabelError if there are images whose names can't be read."""
    paths = list(paths)
    if paths:
        raise LabelError(
            f"the names of {len(paths)} images can't be read, the first is {paths[0]}: expected is a name like "
            f"{expected}, so rename or remove them"
        )


def report_zeros(persons: Iterable[tuple[Path, str]]) -> None:
    """Warn of persons whose number is written with other zeros in another image: 0001 and 1 are one number.

    Args:
        persons: (path, person as it is written) of images whose persons are numbers.
    """
    first: dict[int, tuple[Path, str]] = {}
    others: dict[int, tuple[Path, str]] = {}
    for path, text in persons:
        if first.setdefault(int(text), (path, text))[1] != text:
            others.setdefault(int(text), (path, text))
    if others:
        number = min(others)
        (path, text), (other, another) = first[number], others[number]
        log_once(
            logging.WARNING,
            f"{len(others)} person{'s' if len(others) > 1 else ''} may be two, since the number decides and is written"
            f" in two ways: {text!r} in {path} and {another!r} in {other}. If they are not one, renumber one of them",
        )


def training_item(path: Path, dataset: str, person: object, camera: object) -> tuple[str, str, str]:
    """Return an item whose labels can't clash with those of other data sets, in FastReID's form."""
    return str(path), f"{dataset}_{person}", f"{dataset}_{camera}"


@cache
def log_once(level: int, message: str) -> None:
    """Log a message once a process: data sets are read for training and again for every test."""
    logger.log(level, message)
