"""Your own images as a data set, without a class: three CSV files.

``<root>/CSVDataset/train.csv``, ``query.csv`` and ``gallery.csv``, each with a first line ``path,person,camera`` (in
any order, beside other columns; commas, semicolons or tabs)::

    path,person,camera
    images/anna_1.jpg,anna,entrance
    images/anna_2.jpg,anna,stairs

A path starts at the folder of the CSV file, unless it is absolute. Persons and cameras are texts, of any length, and
the text decides: 0001 and 1 are two persons. What differs only by leading zeros, case or blanks is reported. The person
-1, written like that, is junk and ignored. In a test, images of the query's person by the query's own camera are not
ranked: if you have no cameras, write 0 in query.csv and 1 in gallery.csv. Without train.csv it is a test set, and vice
versa.

A further file ``occlusion.csv`` beside them, with a first line ``path,occlusion``, gives reports the hidden share of
each query (:mod:`fastreid_ext.data.occlusion.file`).

A config names it ``CSVDataset``. For more than one, DATASETS.CSV gives each its own name, and so does
:func:`register_csv_dataset` in a program.
"""

import logging
import os
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.files import LayoutError, log_once, training_item
from fastreid_ext.data.labels import COLUMNS, JUNK, alike_warning, numbered
from fastreid_ext.data.occlusion.file import OCCLUSION_FILE, Occlusions, read_occlusions
from fastreid_ext.data.published import DESCRIBED_AT, EXPECTED_TREES
from fastreid_ext.data.same_images import listed_again
from fastreid_ext.errors import ConfigError
from fastreid_ext.foreign_files import read_table, shown


@register(DATASET_REGISTRY)
class CSVDataset(ImageDataset):
    """Any folder of images with three CSV files of path, person and camera.

    Tree: ``CSVDataset`` with ``train.csv``, ``query.csv`` and ``gallery.csv``, as this module describes.
    Rule: what the query's own camera saw of the person is left out.
    """

    folder = "CSVDataset"
    dataset_name = "csvdataset"

    def __init__(self, root: str = "datasets", **kwargs: Any):
        self.data_dir = Path(root) / self.folder
        if not self.data_dir.is_dir():
            raise LayoutError(f"there is no folder {self.data_dir}")
        self._test: dict[str, list[tuple]] = {}
        self._rows: dict[str, list[tuple[str, str, str]]] = {}
        self._occlusions: Occlusions | None = None
        super().__init__(
            self.read_train, lambda: self.read_test()["query"], lambda: self.read_test()["gallery"], **kwargs
        )

    def read_train(self) -> list[tuple]:
        """List the training images by path."""
        return [training_item(Path(path), self.dataset_name, *labels) for path, *labels in self.read_words("train")]

    def read_test(self) -> dict[str, list[tuple]]:
        """List queries and gallery by path; a person has one number in both."""
        if not self._test:
            rows = {split: self.read_words(split) for split in ("query", "gallery")}
            persons, cameras = (numbered({row[i] for found in rows.values() for row in found}) for i in (1, 2))
            self._test = {
                split: [(path, persons[person], cameras[camera]) for path, person, camera in found]
                for split, found in rows.items()
            }
        return self._test

    @property
    def occlusion_file(self) -> Path | None:
        """The set's own file of hidden shares, if there is one."""
        file = self.data_dir / OCCLUSION_FILE
        return file if file.exists() else None

    def occlusion_of(self, path: str) -> float | None:
        """Return the hidden share of the person in an image, from 0 to 1, as ``occlusion.csv`` says; else None.

        Raises:
            FileError: that file is there and can't be read.
        """
        if self._occlusions is None:
            file = self.occlusion_file
            self._occlusions = read_occlusions(file) if file else Occlusions(self.data_dir / OCCLUSION_FILE, {}, {})
        return self._occlusions.of(path)

    def combine_all(self) -> None:
        """Add the test images to the training images; who has the same text there is the same person."""
        test = [row for split in ("query", "gallery") for row in self.read_words(split)]
        self._train = [*self.train, *(training_item(Path(path), self.dataset_name, *labels) for path, *labels in test)]

    def read_words(self, split: str) -> list[tuple[str, str, str]]:
        """List (path, person, camera) of a split by path, all in words, without junk; nothing if it has no file.

        Raises:
            LayoutError: a row, an image or a column that is missing, or an image of two persons.
        """
        if split not in self._rows:
            self._rows[split] = self._read(split)
            self._report_alike(("train",) if split == "train" else ("query", "gallery"))
        return self._rows[split]

    def _read(self, split: str) -> list[tuple[str, str, str]]:
        file = self.data_dir / f"{split}.csv"
        if not file.is_file():
            return []
        names, found = read_table(file)
        absent = [column for column in COLUMNS if column not in names]
        if absent:
            raise LayoutError(
                f"the first line of {file} names no column {' and no '.join(absent)}: it should be path,person,camera"
            )
        rows, persons = [], dict[str, str]()
        for line, row in found:
            path, person, camera = (row[column] for column in COLUMNS)
            if not (path and person and camera):
                raise LayoutError(f"line {line} of {file} lacks a path, a person or a camera")
            if (other := persons.setdefault(os.path.abspath(self.data_dir / path), person)) != person:
                raise LayoutError(
                    f"line {line} of {file} gives {path} the person {shown(person)}, an earlier line {shown(other)}:"
                    " remove one of the two"
                )
            if person != JUNK:
                rows.append((str(self.data_dir / path), person, camera))
        missing = [path for path, _, _ in rows if not Path(path).is_file()]
        if missing:
            raise LayoutError(
                f"{len(missing)} of {len(rows)} images of {file} are not there, the first is {missing[0]}"
            )
        _check_listed_again(file, rows)
        return sorted(rows)

    def _report_alike(self, splits: tuple[str, ...]) -> None:
        if not all(split in self._rows for split in splits):
            return
        for index, kind, junk in ((1, "person", (JUNK,)), (2, "camera", ())):
            words = {str(self.data_dir / f"{s}.csv"): [row[index] for row in self._rows[s]] for s in splits}
            if sentence := alike_warning(kind, f"{kind}s", words, junk):
                log_once(logging.WARNING, sentence)


def _check_listed_again(file: Path, rows: list[tuple[str, str, str]]) -> None:
    """Warn of images that a file lists more than once, also by links.

    Raises:
        LayoutError: as several persons.
    """
    groups = [[rows[index] for index in group] for group in listed_again([path for path, _, _ in rows])]
    for (path, person, _), *others in groups:
        for other, another, _ in others:
            if another != person:
                raise LayoutError(
                    f"{file} gives {path} the person {shown(person)} and {other}, which is the same file, the person"
                    f" {shown(another)}: remove one of the two"
                )
    if groups:
        several = sum(len({camera for _, _, camera in group}) > 1 for group in groups)
        cameras = f", {several} of them under several cameras" if several else ""
        log_once(
            logging.WARNING,
            f"{file} lists {len(groups)} image{'s' if len(groups) > 1 else ''} more than once{cameras}, the first is"
            f" {groups[0][0][0]}: each row counts, so remove what is too many",
        )


def register_csv_dataset(name: str, folder: str | Path, movable: bool = False) -> type[CSVDataset]:
    """Register a folder with the three CSV files as a data set with its own name.

    Args:
        name: the name, which no other data set has.
        folder: below the root of all data sets, or absolute.
        movable: a later call for the same name, movable too, may give another folder.

    Raises:
        ConfigError, LayoutError: the name is taken by something else.
    """
    folder = str(folder)
    if name in DATASET_REGISTRY._obj_map:
        there = DATASET_REGISTRY.get(name)
        if issubclass(there, CSVDataset) and there.folder == folder:
            return there
        if movable and getattr(there, "movable", False):
            del DATASET_REGISTRY._obj_map[name]
            return register_csv_dataset(name, folder, movable)
        raise ConfigError(f"a data set is already registered as {name!r}: choose another name")
    prefix = _label_prefix(name)
    for other, there in DATASET_REGISTRY._obj_map.items():
        if getattr(there, "dataset_name", None) == prefix:
            raise ConfigError(
                f"a data set is already registered as {other!r}, and the persons of {name!r} would be taken for its"
                " own: choose a name that differs in more than case"
            )
    doc = f"The images of ``{folder}``, by its CSV files."
    kind = type(name, (CSVDataset,), {"folder": folder, "dataset_name": prefix, "movable": movable, "__doc__": doc})
    DATASET_REGISTRY.register(kind)
    EXPECTED_TREES[name] = [f"{folder}/{split}.csv (path,person,camera)" for split in ("train", "query", "gallery")]
    DESCRIBED_AT[name] = DESCRIBED_AT["CSVDataset"]
    return kind


def _label_prefix(name: str) -> str:
    """Return what stands before the _ of a set's training labels: without a _, shop's person 2_1 isn't shop_2's 1."""
    return name.lower().replace("_", "-")
