"""The images to extract features from: of a folder, a list or a data set."""

import codecs
import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid_ext.data.capabilities import NamesLabels
from fastreid_ext.data.catalog import dataset_root, load_dataset
from fastreid_ext.data.labels import COLUMNS, JUNK, MARKET_NAME, UNKNOWN
from fastreid_ext.errors import ConfigError, FileError
from fastreid_ext.files import is_unicode, read_bytes
from fastreid_ext.foreign_files import read_table
from fastreid_ext.visual.image_sources import files_below

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageList:
    """Images in the order of their features.

    Attributes:
        root: folder that the paths start at; moving it does not change the list.
        rows: (path below root with ``/``, or absolute; person; camera), the latter two as text, "" where unknown.
        source: their name in messages.
    """

    root: Path
    rows: Sequence[tuple[str, str, str]]
    source: str

    def fingerprint(self) -> str:
        """Return the SHA-256 of all rows: another image, order or label is another list."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()

    def file(self, index: int) -> str:
        """Return the path of an image file."""
        return str(self.root / self.rows[index][0])


def images_of_folder(folder: Path, without: Path | None = None) -> ImageList:
    """List the images of a folder and its subfolders by path.

    Names like Market1501's, such as ``0001_c2s1_000151_00.jpg`` or ``0001_c2.jpg``, tell person (0001) and camera (2),
    each name for itself; of others they are unknown. A log line says how many names told them.

    Args:
        folder: of images.
        without: as :func:`fastreid_ext.visual.image_sources.files_below` takes it.

    Raises:
        ConfigError: no image, or ``without`` is the folder itself.
    """
    files = files_below(folder, without=without)
    rows = [(path.relative_to(folder).as_posix(), *_labels_of_name(path.name)) for path in files]
    told = sum(camera != UNKNOWN for _, _, camera in rows)
    if told:
        logger.warning(
            "%d of the %d images of %s have names like 0001_c2_..., which tell person and camera; of others they are"
            " unknown",
            told,
            len(rows),
            folder,
        )
    return ImageList(folder.resolve(), rows, f"the folder {folder}")


def _labels_of_name(name: str) -> tuple[str, str]:
    match = MARKET_NAME.match(name)
    return (_known(match[1]), match[2]) if match else (UNKNOWN, UNKNOWN)


def _known(person: str) -> str:
    """Return a person's text; of junk, which shows nobody, that it is unknown."""
    return UNKNOWN if person == JUNK else person


def images_of_list(file: Path) -> ImageList:
    """Read a list of images: one path per line, or a CSV file with a first line ``path`` or ``path,person,camera``.

    Paths start at the folder of the list, unless they are absolute.

    Raises:
        ConfigError: no image, a path twice, or no column of paths.
        FileError: the file can't be read, or is not in UTF-8.
    """
    if file.suffix.lower() == ".csv":
        rows = _rows_of_csv(file)
    else:
        rows = [(line, UNKNOWN, UNKNOWN) for line in _lines(file)]
    if not rows:
        raise ConfigError(f"--list {file} names no image")
    if len({row[0] for row in rows}) < len(rows):
        seen: set[str] = set()
        twice = next(path for path, *_ in rows if path in seen or seen.add(path))
        raise ConfigError(f"--list {file} names {twice} twice: an image has one feature")
    return ImageList(file.parent.resolve(), rows, f"the list {file}")


def _lines(file: Path) -> list[str]:
    """Return the lines of a list that are not empty; those that are not in UTF-8 are names as the file system has them.

    Raises:
        FileError: there is no file of such a name, so that the list is in another encoding.
    """
    text = read_bytes(file).removeprefix(codecs.BOM_UTF8).decode(errors="surrogateescape")
    lines = [line.strip() for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    for line in lines:
        if not is_unicode(line) and ("\0" in line or not (file.parent / line).is_file()):
            raise FileError(f"{file} is not in UTF-8, and there is no file {line!r}: save it in UTF-8")
    return lines


def images_of_dataset(name: str, split: str) -> ImageList:
    """List the images of a split of a registered data set as its evaluation does, with its labels as they are written.

    Raises:
        DataSetError: it is missing.
    """
    root = dataset_root().resolve()
    dataset = load_dataset(name, (split,))
    items = dataset.read_words(split) if isinstance(dataset, NamesLabels) else sorted(getattr(dataset, split))
    rows = [(_below(root, path), str(person), str(camera)) for path, person, camera in items]
    return ImageList(root, rows, f"{name}/{split}")


def _below(root: Path, path: str) -> str:
    absolute = Path(os.path.abspath(path))
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(absolute)


def _rows_of_csv(file: Path) -> list[tuple[str, str, str]]:
    names, found = read_table(file)
    if "path" not in names:
        raise ConfigError(f"the first line of {file} names no column path: it should be path or path,person,camera")
    rows = []
    for line, row in found:
        path, person, camera = (row.get(column, UNKNOWN) for column in COLUMNS)
        if not path:
            raise ConfigError(f"line {line} of {file} has no path: fill it in or remove the line")
        rows.append((path, _known(person), camera))
    return rows
