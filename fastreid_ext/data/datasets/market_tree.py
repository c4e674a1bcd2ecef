"""Sets in Market1501's form: three folders of images, whose names tell person and camera."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.datasets.files import list_images, refuse_names, report_zeros, training_item
from fastreid_ext.data.datasets.folders import find_layout
from fastreid_ext.data.labels import BEHIND_CAMERA

FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
# A number of more digits would not fit into the int64 that labels become.
FILE_NAME = re.compile(rf"(-1|[0-9]{{1,18}})_c0*([1-9][0-9]{{0,17}}){BEHIND_CAMERA}", re.IGNORECASE)
JUNK = -1


class MarketTree(ImageDataset):
    """Training images, queries and gallery in a folder each; names like ``0001_c1s1_000151_01.jpg``.

    The name of an image alone tells its labels: ``0001`` is the person, ``c1`` the camera, from 1, of as many digits as
    there are. The person -1 is junk and left out. Any suffix of an image is read, in upper or lower case. An image
    whose name doesn't tell both is an error.

    Attributes:
        data_dir: the set's folder.
        train_dir, query_dir, gallery_dir: its three folders.
        same_numbers: whether a number is the same person in training and in the test.
    """

    folders: tuple[str, ...]  # accepted below the root
    subfolders: tuple[str, str, str] = FOLDERS
    dataset_name: str
    example = "0001_c1s1_000151_01.jpg, with cameras from 1"
    same_numbers = True

    def __init__(self, root: str = "datasets", **kwargs: Any):
        self.find(root)
        self.read_lazily(**kwargs)

    def find(self, root: str) -> None:
        """Find the folders.

        Raises:
            LayoutError: they are not there.
        """
        self.data_dir, _, found = find_layout(root, self.folders, [self.subfolders])
        self.train_dir, self.query_dir, self.gallery_dir = map(str, found)

    def read_lazily(self, **kwargs: Any) -> None:
        """Set the three lists up, each of which is read when it is asked for."""
        # Not super(): a class that takes the place of FastReID's is a subclass of it too, whose __init__ is not wanted.
        ImageDataset.__init__(
            self,
            lambda: self.process_dir(self.train_dir),
            lambda: self.process_dir(self.query_dir, is_train=False),
            self.read_gallery,
            **kwargs,
        )

    def read_gallery(self) -> list[tuple]:
        """List the gallery by name."""
        return self.process_dir(self.gallery_dir, is_train=False)

    def process_dir(self, dir_path: str, is_train: bool = True) -> list[tuple]:
        """List (path, person, camera) of one folder by name, in FastReID's form; cameras from 0.

        Raises:
            LabelError: a name can't be read.
        """
        return [
            training_item(path, self.dataset_name, person, camera) if is_train else (str(path), person, camera)
            for path, person, camera in read_names(list_images(Path(dir_path), "*"), self.example)
        ]


def read_names(paths: Sequence[Path], example: str) -> list[tuple[Path, int, int]]:
    """Return (path, person, camera from 0) of images that are named as Market1501's, without junk.

    Raises:
        LabelError: a name can't be read.
    """
    found, odd, persons = [], [], []
    for path in paths:
        match = FILE_NAME.match(path.name)
        if match is None:
            odd.append(path)
        elif (person := int(match[1])) != JUNK:
            persons.append((path, match[1]))
            found.append((path, person, int(match[2]) - 1))
    refuse_names(odd, example)
    report_zeros(persons)
    return found
