"""Your own images as a data set, without a class: three CSV files.

``<root>/CSVDataset/train.csv``, ``query.csv`` and ``gallery.csv``, each with a first line ``path,person,camera`` (in
any order, beside other columns; commas, semicolons or tabs)::

    path,person,camera
    images/anna_1.jpg,anna,entrance
    images/anna_2.jpg,anna,stairs

A path starts at the folder of the CSV file, unless it is absolute. Persons and cameras are any words or numbers; the
person -1 is junk and ignored. In a test, images of the query's person by the query's own camera are not ranked: if you
have no cameras, write 0 in query.csv and 1 in gallery.csv. Without train.csv it is a test set, and vice versa.

A config names it ``CSVDataset``. For more than one, :func:`register_csv_dataset` gives each its own name.
"""

from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.files import LayoutError, training_item
from fastreid_ext.data.published import DESCRIBED_AT, EXPECTED_TREES
from fastreid_ext.errors import ConfigError
from fastreid_ext.foreign_files import read_table, whole_number

COLUMNS = ("path", "person", "camera")
JUNK = "-1"


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
        super().__init__(
            self.read_train, lambda: self.read_test()["query"], lambda: self.read_test()["gallery"], **kwargs
        )

    def read_train(self) -> list[tuple]:
        """List the training images by path."""
        return [training_item(Path(path), self.dataset_name, *labels) for path, *labels in self.read_rows("train")]

    def read_test(self) -> dict[str, list[tuple]]:
        """List queries and gallery by path; a person has one number in both."""
        if not self._test:
            rows = {split: self.read_rows(split) for split in ("query", "gallery")}
            persons, cameras = (numbered({row[i] for found in rows.values() for row in found}) for i in (1, 2))
            self._test = {
                split: [(path, persons[person], cameras[camera]) for path, person, camera in found]
                for split, found in rows.items()
            }
        return self._test

    def read_rows(self, split: str) -> list[tuple[str, str, str]]:
        """List (path, person, camera) of one CSV file, all in words; nothing if there is no such file."""
        file = self.data_dir / f"{split}.csv"
        if not file.is_file():
            return []
        names, found = read_table(file)
        absent = [column for column in COLUMNS if column not in names]
        if absent:
            raise LayoutError(
                f"the first line of {file} names no column {' and no '.join(absent)}: it should be path,person,camera"
            )
        rows = []
        for line, row in found:
            path, person, camera = (row[column] for column in COLUMNS)
            if not (path and person and camera):
                raise LayoutError(f"line {line} of {file} lacks a path, a person or a camera")
            if person != JUNK:
                rows.append((str(self.data_dir / path), person, camera))
        missing = [path for path, _, _ in rows if not Path(path).is_file()]
        if missing:
            raise LayoutError(
                f"{len(missing)} of {len(rows)} images of {file} are not there, the first is {missing[0]}"
            )
        return sorted(rows)


def numbered(words: set[str]) -> dict[str, int]:
    """Map words to ints: to themselves if all are whole numbers, otherwise to their positions in sorted order."""
    numbers = {word: whole_number(word) for word in words}
    if None not in numbers.values():
        return numbers
    return {word: number for number, word in enumerate(sorted(words))}


def register_csv_dataset(name: str, folder: str | Path) -> type[CSVDataset]:
    """Register a folder with the three CSV files as a data set with its own name.

    Args:
        name: the name, which no other data set has.
        folder: below the root of all data sets, or absolute.

    Raises:
        ConfigError, LayoutError: the name is taken by something else.
    """
    folder = str(folder)
    if name in DATASET_REGISTRY._obj_map:
        there = DATASET_REGISTRY.get(name)
        if issubclass(there, CSVDataset) and there.folder == folder:
            return there
        raise ConfigError(f"a data set is already registered as {name!r}: choose another name")
    doc = f"The images of ``{folder}``, by its CSV files."
    kind = type(name, (CSVDataset,), {"folder": folder, "dataset_name": name.lower(), "__doc__": doc})
    DATASET_REGISTRY.register(kind)
    EXPECTED_TREES[name] = [f"{folder}/{split}.csv (path,person,camera)" for split in ("train", "query", "gallery")]
    DESCRIBED_AT[name] = DESCRIBED_AT["CSVDataset"]
    return kind
