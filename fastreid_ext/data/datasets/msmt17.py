"""MSMT17 in either version, trained on as FastReID does or as papers do."""

import logging
import re
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from fastreid.data.datasets.msmt17 import MSMT17 as HostMSMT17

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.files import LabelError, LayoutError, log_once, training_item
from fastreid_ext.data.datasets.folders import find_layout, plain
from fastreid_ext.data.datasets.host_classes import as_released
from fastreid_ext.files import read_text
from fastreid_ext.foreign_files import is_below, shown, whole_number

# Version -> its folder, and the folders of images in it.
VERSIONS = {"V1": ("MSMT17_V1", ("train", "test")), "V2": ("MSMT17_V2", ("mask_train_v2", "mask_test_v2"))}
FOLDERS = (*(folder for folder, _ in VERSIONS.values()), "MSMT17")
LISTS = ("train", "val", "query", "gallery")
CAMERA = re.compile(r"\d+_\d+_0*([1-9]\d{0,17})_")


def find_msmt17(root: str | Path) -> tuple[str, Path, list[Path]]:
    """Return "V1" or "V2" (faces are blurred in V2), the folder, and those of its training and test images.

    Raises:
        LayoutError: there is neither, or one lacks its images, or has those of the other version.
    """
    folder, index, found = find_layout(root, FOLDERS, [subfolders for _, subfolders in VERSIONS.values()])
    version = list(VERSIONS)[index]
    for other, (name, _) in VERSIONS.items():
        if other != version and plain(folder.name) == plain(name):
            raise LayoutError(f"{folder} has the images of {version}: rename it to {VERSIONS[version][0]}")
    return version, folder, found


def msmt17_version(root: str | Path) -> str:
    """Return "V1" or "V2", the one that is read; see :func:`find_msmt17`.

    Raises:
        LayoutError: there is neither, or one lacks its images, or has those of the other version.
    """
    return find_msmt17(root)[0]


@register(DATASET_REGISTRY, instead_of=as_released(HostMSMT17))
class MSMT17(HostMSMT17):
    """MSMT17, trained on list_train alone, as in FastReID: 30,248 images. Papers use `MSMT17TrainVal`.

    Reference: Wei et al., Person Transfer GAN to Bridge Domain Gap for Person Re-identification, CVPR 2018.
    Tree: ``MSMT17_V1`` with ``train`` and ``test``, or ``MSMT17_V2`` with ``mask_train_v2`` and ``mask_test_v2``, or
    ``MSMT17`` with either, or a folder ``MSMT17`` around one of these; in each ``list_train.txt``, ``list_val.txt``,
    ``list_query.txt`` and ``list_gallery.txt``, with a path and a person in each line. The camera is the third number
    of a name such as ``0000_000_01_0303morning_0015_0.jpg``.
    Rule: what the query's own camera saw of the person is left out.
    """

    folders = FOLDERS
    with_val = False

    def __init__(self, root: str = "datasets", **kwargs: Any):
        version, self.data_dir, (train, test) = find_msmt17(root)
        log_once(logging.INFO, f"MSMT17 is {version}; results on V1 and V2 differ by points")
        self.train_dir, self.test_dir = str(train), str(test)
        self._first_test_person = 0  # behind the training persons, as FastReID numbers them
        missing = [f"list_{name}.txt" for name in LISTS if not (self.data_dir / f"list_{name}.txt").is_file()]
        if missing:
            raise LayoutError(f"{self.data_dir} has no {' and no '.join(missing)}")
        train_items = self.read_list("train")
        self._first_test_person = self.get_num_pids(train_items)
        if self.with_val or kwargs.get("combineall"):
            train_items += self.read_list("val")
        ImageDataset.__init__(self, train_items, self.read_list("query"), self.read_list("gallery"), **kwargs)

    def read_list(self, name: str) -> list[tuple]:
        """List the images of one of the four lists, in its order."""
        is_train = name in ("train", "val")
        folder = self.train_dir if is_train else self.test_dir
        return self.process_dir(folder, str(self.data_dir / f"list_{name}.txt"), is_train)

    def process_dir(self, dir_path: str, list_path: str, is_train: bool = True) -> list[tuple]:
        """List (path, person, camera) of a list, in FastReID's form; cameras from 0. Empty lines are left out.

        Raises:
            LabelError: a line can't be read.
        """
        items = []
        for number, line in enumerate(read_text(Path(list_path)).splitlines(), start=1):
            if not line.strip():
                continue
            name, label = " ".join(line.split()[:-1]), whole_number(line.split()[-1])
            camera = CAMERA.match(Path(name).name)
            if label is None or label < 0 or not camera or not is_below(name):
                raise LabelError(
                    f"line {number} of {list_path} can't be read, it is {shown(line.strip())}: expected is an image and"
                    " a person, such as 0000/0000_000_01_0303morning_0015_0.jpg 0, with cameras from 1"
                )
            path, seen_by = Path(dir_path, name), int(camera[1]) - 1
            if is_train:
                items.append(training_item(path, self.dataset_name, label, seen_by))
            else:
                items.append((str(path), label + self._first_test_person, seen_by))
        return items


@register(DATASET_REGISTRY)
class MSMT17TrainVal(MSMT17):
    """MSMT17, trained on list_train and list_val, as papers do: 1,041 identities, 32,621 images; tested as `MSMT17`."""

    with_val = True
