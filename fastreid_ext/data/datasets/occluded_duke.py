"""Occluded-Duke, and its derivation from DukeMTMC-reID by its makers' lists of names."""

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.files import LayoutError, list_images, refuse_names, report_zeros, training_item
from fastreid_ext.data.datasets.folders import accepted_folders, find_layout
from fastreid_ext.data.labels import BEHIND_CAMERA
from fastreid_ext.errors import FileError
from fastreid_ext.files import locked, make_folder, read_text, reason

logger = logging.getLogger(__name__)

# Name of the list -> folder.
FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
FILE_NAME = re.compile(rf"(-1|[0-9]{{1,18}})_c([1-8]){BEHIND_CAMERA}", re.IGNORECASE)


@register(DATASET_REGISTRY)
class OccludedDuke(ImageDataset):
    """Occluded-Duke: images of DukeMTMC-reID, split anew so that every query is occluded.

    Reference: Miao et al., Pose-Guided Feature Alignment for Occluded Person Re-Identification, ICCV 2019.
    Tree: ``Occluded_Duke`` (or `Occluded-DukeMTMC`, `Occluded-DukeMTMC-reID`, also below `Occluded-DukeMTMC-Dataset`)
    with ``bounding_box_train``, ``query`` and ``bounding_box_test``; names like ``0001_c2_f0046182.jpg``: person 1,
    camera 2. -1 is junk, 0 a distractor.
    Rule: what the query's own camera saw of the person is left out. :func:`derive_occluded_duke` makes the tree.
    """

    _junk_pids = [0, -1]
    folders = (
        "Occluded_Duke",
        "OccludedDuke",
        "Occluded-DukeMTMC-reID",
        "Occluded-DukeMTMC",
        "Occluded-DukeMTMC-Dataset/Occluded_Duke",
        "ICME2018_Occluded-Person-Reidentification_datasets/Occluded_Duke",
    )
    dataset_name = "occludedduke"
    same_numbers = True

    def __init__(self, root: str = "datasets", **kwargs: Any):
        try:
            self.data_dir, _, found = find_layout(root, self.folders, [tuple(FOLDERS.values())])
        except LayoutError as error:
            if any((folder / "train.list").is_file() for folder in accepted_folders(root, self.folders)):
                raise LayoutError(
                    f"{error}; its lists exist: make it from them with fastreid-ext derive-occluded-duke"
                ) from error
            raise
        self._dirs = dict(zip(FOLDERS, found, strict=True))
        super().__init__(
            lambda: self.read_items("train"),
            lambda: self.read_items("query"),
            lambda: self.read_items("gallery"),
            **kwargs,
        )

    def read_items(self, split: str) -> list[tuple]:
        """List (path, person, camera) by name. Junk is left out, distractors are in the gallery alone."""
        paths = list_images(self._dirs[split], "*")
        found = [(path, FILE_NAME.match(path.name)) for path in paths]
        refuse_names((path for path, match in found if not match), "0001_c2_f0046182.jpg, with cameras 1 to 8")
        report_zeros((path, match[1]) for path, match in found)
        items = []
        for path, match in found:
            person, camera = int(match[1]), int(match[2]) - 1
            if person == -1 or (person == 0 and split != "gallery"):
                continue
            if split == "train":
                items.append(training_item(path, self.dataset_name, person, camera))
            else:
                items.append((str(path), person, camera))
        return items


def derive_occluded_duke(
    duke_root: str | Path, lists_folder: str | Path, target: str | Path, copy: bool = False
) -> dict[str, int]:
    """Make Occluded-Duke out of DukeMTMC-reID, by the lists of names that its makers publish.

    The target appears when it is complete; an interrupted run leaves none.

    Args:
        duke_root: ``DukeMTMC-reID`` with its three folders.
        lists_folder: where ``train.list``, ``query.list`` and ``gallery.list`` are, one file name a line.
        target: the folder to make, such as ``datasets/Occluded_Duke``; it must not be there.
        copy: copy the images. Without it they are hard links where the file system has them, which takes no space.

    Returns:
        How many images each list named.

    Raises:
        LayoutError: a list, or images that it names, are missing; a list is empty or does not name files; the target
            exists.
        FileError: a list can't be read, or the target can't be written, or another process is making it.
    """
    duke_root, lists_folder, target = Path(duke_root), Path(lists_folder), Path(target)
    if target.exists():
        raise LayoutError(f"{target} already exists: move it away or choose another target")
    sources = {split: find_images(duke_root, lists_folder, split) for split in FOLDERS}
    partial, lock = (target.with_name(f".{target.name}.{end}") for end in ("partial", "lock"))
    make_folder(target.parent)
    with locked(lock, busy=f"another process makes {target}: wait for it"):
        _fill(target, partial, sources, copy)
    counts = {split: len(paths) for split, paths in sources.items()}
    logger.info("derived %s: %s", target, ", ".join(f"{split} {count} images" for split, count in counts.items()))
    return counts


def _fill(target: Path, partial: Path, sources: dict[str, list[Path]], copy: bool) -> None:
    shutil.rmtree(partial, ignore_errors=True)  # what an interrupted run left
    try:
        for split, paths in sources.items():
            folder = make_folder(partial / FOLDERS[split])
            for path in paths:
                place(path, folder / path.name, copy)
        if hasattr(os, "sync"):
            os.sync()  # the images, before the name under which they are taken for whole
        partial.rename(target)
    except OSError as error:
        raise FileError(f"{target} can't be written: {reason(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def find_images(duke_root: Path, lists_folder: Path, split: str) -> list[Path]:
    """List the images that one list names; Occluded-Duke moved some from the gallery to the queries."""
    file = lists_folder / f"{split}.list"
    if not file.is_file():
        raise LayoutError(f"there is no {file}: the lists are train.list, query.list and gallery.list")
    names = list(dict.fromkeys(line.strip() for line in read_text(file).splitlines() if line.strip()))
    if not names:
        raise LayoutError(f"{file} is empty")
    odd = [name for name in names if name != Path(name).name or "\\" in name]
    if odd:
        raise LayoutError(f"{file} should name files, without folders, but has {odd[0]!r}")
    order = dict.fromkeys((FOLDERS[split], FOLDERS["gallery"], *FOLDERS.values()))
    found = {
        name: next((path for folder in order if (path := duke_root / folder / name).is_file()), None) for name in names
    }
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise LayoutError(
            f"{len(missing)} of {len(names)} images of {file} are not in {duke_root}, the first is {missing[0]}: is it "
            "DukeMTMC-reID, fully unpacked?"
        )
    return list(found.values())


def place(source: Path, target: Path, copy: bool) -> None:
    """Link or copy an image."""
    if not copy:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:
            logger.debug("%s can't be linked, so it is copied", source)
    shutil.copyfile(source, target)
