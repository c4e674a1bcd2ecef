"""OPReID, whose public layout isn't documented: several are read, and the log says what was assumed."""

import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.files import LabelError, LayoutError, list_images, log_once, refuse_names, training_item
from fastreid_ext.data.datasets.folders import find_folder
from fastreid_ext.files import read_text
from fastreid_ext.foreign_files import whole_number

FOLDERS = {
    "train": ("bounding_box_train", "train"),
    "query": ("query",),
    "gallery": ("bounding_box_test", "gallery", "test"),
}
LISTS = ("{}.txt", "{}.list", "list_{}.txt", "{}_list.txt")
PERSON = re.compile(r"(-1|\d+)[_.]")
CAMERA = re.compile(r"_c(\d+)")
JUNK = -1


class Row(NamedTuple):
    """An image; the camera is None if nothing tells it."""

    path: Path
    person: int
    camera: int | None


@register(DATASET_REGISTRY)
class OPReID(ImageDataset):
    """OPReID: occluded persons in supermarkets and malls, seen by some 6,000 cameras.

    Reference: Yan et al., Occluded Person Re-Identification with Single-scale Global Representations, ICCV 2021.
    Tree: ``OPReID`` with, for each split, a list file (``train.txt``, ``query.txt``, ``gallery.txt``; a line has a path
    and, optionally, person and camera) or a folder (Market1501's names, or ``train``, ``query``, ``gallery``) of images
    like ``0001_c12_3.jpg`` or ``0001/c12_3.jpg``. The person -1 is junk.
    Rule: what the query's own camera saw of the person is left out. If not every test image tells its camera, the
    query's is 0 and the gallery's 1, so that nothing is left out.
    """

    _junk_pids = [JUNK]
    folders = ("OPReID", "OP-ReID", "OPReID_dataset")
    dataset_name = "opreid"

    def __init__(self, root: str = "datasets", **kwargs: Any):
        self.data_dir = find_folder(root, self.folders)
        self._test: dict[str, list[tuple]] = {}
        super().__init__(
            self.read_train, lambda: self.read_test()["query"], lambda: self.read_test()["gallery"], **kwargs
        )

    def read_train(self) -> list[tuple]:
        """List the training images by path; all have camera 0 if not every one tells its own."""
        rows = self.read_rows("train")
        known = all(row.camera is not None for row in rows)
        if not known:
            self.say(logging.WARNING, "not every training image tells its camera: assumed one camera for all")
        return [training_item(row.path, self.dataset_name, row.person, row.camera if known else 0) for row in rows]

    def read_test(self) -> dict[str, list[tuple]]:
        """List queries and gallery by path."""
        if not self._test:
            rows = {split: self.read_rows(split) for split in ("query", "gallery")}
            known = all(row.camera is not None for found in rows.values() for row in found)
            if not known:
                self.say(
                    logging.WARNING,
                    "not every test image tells its camera: assumed 0 for queries and 1 for the gallery, so that "
                    "nothing is left out of a ranking",
                )
            self._test = {
                split: [(str(row.path), row.person, row.camera if known else assumed) for row in rows[split]]
                for assumed, split in enumerate(rows)
            }
        return self._test

    def read_rows(self, split: str) -> list[Row]:
        """Read one split from its list, else from its folder, without junk and by path."""
        lists = [self.data_dir / name.format(split) for name in LISTS]
        folders = [self.data_dir / name for name in FOLDERS[split]]
        file = next((path for path in lists if path.is_file()), None)
        folder = next((path for path in folders if path.is_dir()), None)
        if file:
            self.say(logging.INFO, f"{split} images are assumed to be those of {file.name}")
            rows = read_list(file, [self.data_dir, *(path for path in folders if path.is_dir())])
        elif folder:
            self.say(logging.INFO, f"{split} images are assumed to be those of the folder {folder.name}")
            rows = read_folder(folder)
        else:
            raise LayoutError(
                f"{self.data_dir} has for its {split} images neither a folder {' or '.join(FOLDERS[split])} nor a "
                f"list {' or '.join(path.name for path in lists)}"
            )
        return sorted((row for row in rows if row.person != JUNK), key=lambda row: str(row.path))

    def say(self, level: int, what: str) -> None:
        """Log an assumption."""
        log_once(level, f"the layout of OPReID is not documented; in {self.data_dir}, {what}")


def read_folder(folder: Path) -> list[Row]:
    """Read images whose names, or whose own folder's names, tell the person."""
    found = []
    for path in list_images(folder, "*", "*/*"):
        own = re.fullmatch(r"-1|\d+", path.parent.name) if path.parent != folder else None
        person = own[0] if own else (match := PERSON.match(path.name)) and match[1]
        found.append((path, person))
    refuse_names((path for path, person in found if person is None), "0001_c12_3.jpg or 0001/c12_3.jpg")
    return [Row(path, int(person), camera_of(path)) for path, person in found]


def camera_of(path: Path) -> int | None:
    """Return the number after ``_c`` (or after a ``c`` at the start) in a file's name."""
    match = CAMERA.search(f"_{path.name}")
    return int(match[1]) if match else None


def read_list(file: Path, folders: list[Path]) -> list[Row]:
    """Read lines of path, person and camera, with spaces, tabs or commas between them; the last two are optional."""
    rows = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        name, *labels = [word for word in re.split(r"[,\s]+", line) if word] or [""]
        if not name:
            continue
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise LabelError(f"line {number} of {file} names {name}, which is not there")
        named = PERSON.match(path.name)
        person = whole_number(labels[0] if labels else named[1] if named else "")
        camera = whole_number(labels[1]) if len(labels) > 1 else camera_of(path)
        if person is None or (camera is None and len(labels) > 1):
            raise LabelError(
                f"line {number} of {file} doesn't tell the person: a line should have path, person and camera"
            )
        rows.append(Row(path, person, camera))
    return rows
