"""The folder of a CSV set: three lists of path, person and camera, written for CSVDataset."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fastreid_ext.data.labels import COLUMNS
from fastreid_ext.data.own_images.entries import SPLITS, Entry, check_text
from fastreid_ext.errors import ConfigError, FileError
from fastreid_ext.files import make_folder, reason, write_text

LISTS = tuple(f"{split}.csv" for split in SPLITS)


def check_output(output: Path, overwrite: bool, others: Sequence[str] = ()) -> None:
    """Check that a folder has no lists yet, nor other files to be written, or that they may be replaced.

    Raises:
        ConfigError: it has, or it is a file.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file: name a folder")
    there = [name for name in (*LISTS, *others) if (output / name).exists()]
    if there and not overwrite:
        raise ConfigError(
            f"{output} already has {', '.join(there)}: name another folder, or replace them by --overwrite"
        )


def csv_path(path: Path, output: Path) -> str:
    """Return how a list in the folder ``output`` names an image: from the folder, if both share more than the root.

    Raises:
        ConfigError: a CSV file can't hold the path.
    """
    here = os.path.realpath(output)
    image = os.path.join(os.path.realpath(path.parent), path.name)  # a linked image keeps its own name
    try:
        shared = os.path.commonpath([here, image])
    except ValueError:  # other drives
        shared = os.path.dirname(image)[:0]
    text = image if not shared or shared == os.path.dirname(shared) else os.path.relpath(image, here)
    text = text.replace(os.sep, "/")
    check_text(text, "image")
    return text


def write_lists(output: Path, splits: Mapping[str, Sequence[Entry]]) -> None:
    """Write train.csv, query.csv and gallery.csv; a subset without images gets none, and an earlier one is removed.

    Raises:
        ConfigError: a CSV file can't hold a path.
        FileError: a file can't be written or removed.
    """
    texts = {}
    for split, entries in splits.items():
        rows = sorted((csv_path(entry.path, output), entry.person, entry.camera) for entry in entries)
        texts[make_folder(output) / f"{split}.csv"] = csv_text(COLUMNS, rows) if rows else ""
    for file, text in texts.items():
        if text:
            write_text(file, text)
            continue
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise FileError(f"{file} can't be removed: {reason(error)}") from error


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as the text of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
