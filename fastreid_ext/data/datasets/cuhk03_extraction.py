"""Images and splits of CUHK03 out of its MATLAB files, whole whenever the process is killed."""

import contextlib
import importlib.util
import json
import logging
import os
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path

from fastreid.data.datasets.cuhk03 import CUHK03
from PIL import Image

from fastreid_ext.data.datasets.matlab_files import check_matlab_file
from fastreid_ext.files import locked, make_folder, write_text
from fastreid_ext.isolation import run_apart

IMAGES = ("images_detected", "images_labeled")
SPLITS = tuple(f"splits_{split}_{boxes}.json" for split in ("classic", "new") for boxes in ("detected", "labeled"))
SOURCES = (
    "cuhk03_release/cuhk-03.mat",
    "cuhk03_new_protocol_config_detected.mat",
    "cuhk03_new_protocol_config_labeled.mat",
)
PARTIAL, DONE, LOCK = ".extraction.partial", ".extraction.done", ".extraction.lock"
PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"

logger = logging.getLogger(__name__)


def extract_cuhk03(folder: Path) -> None:
    """Let FastReID extract the set into a folder of its own, and move what is finished to its place.

    FastReID takes whatever is there for whole, also half an image that a killed process left. What was extracted
    without our mark is checked, and made anew if an image or a split is missing or cut short. If the MATLAB files
    are missing, nothing is done: FastReID says which.

    Args:
        folder: of the set, ``cuhk03``.

    Raises:
        FileError: the folder can't be written.
    """
    if not all((folder / name).is_file() for name in SOURCES):
        return
    if _is_ready(folder):
        return
    with locked(folder / LOCK):
        if _is_ready(folder):  # another process did it meanwhile
            return
        if any((folder / name).exists() for name in (*IMAGES, *SPLITS)):
            logger.warning("images or splits in %s are missing or cut short: they are extracted again", folder)
        _extract(folder)


def _is_ready(folder: Path) -> bool:
    """Whether nothing is left to extract; what is whole is marked so."""
    if not all((folder / name).exists() for name in (*IMAGES, *SPLITS)):
        return False
    if (folder / DONE).is_file():
        return True
    if not _is_whole(folder):
        return False
    with contextlib.suppress(OSError):  # a folder that can only be read is checked each time
        (folder / DONE).touch()
    return True


def _extract(folder: Path) -> None:
    partial = folder / PARTIAL
    (folder / DONE).unlink(missing_ok=True)
    shutil.rmtree(partial, ignore_errors=True)  # what an interrupted run left
    make_folder(partial)
    host = CUHK03.__new__(CUHK03)
    host.raw_mat_path, host.split_new_det_mat_path, host.split_new_lab_mat_path = (
        str(folder / name) for name in SOURCES
    )
    host.imgs_detected_dir, host.imgs_labeled_dir = (str(partial / name) for name in IMAGES)
    (
        host.split_classic_det_json_path,
        host.split_classic_lab_json_path,
        host.split_new_det_json_path,
        host.split_new_lab_json_path,
    ) = (str(partial / name) for name in SPLITS)

    def extract() -> None:
        check_matlab_file(Path(host.raw_mat_path))
        with imageio_lent():
            CUHK03.preprocess_split(host)

    run_apart(extract, f"the MATLAB files of {folder}")  # a damaged one crashes the libraries that read it
    for name in IMAGES:
        make_folder(folder / name)
        for image in sorted((partial / name).iterdir()):
            image.replace(folder / name / image.name)  # over half an image, if there is one
    for name in SPLITS:
        text = (partial / name).read_text(encoding="utf-8")
        write_text(
            folder / name, text.replace(f"{json.dumps(str(partial))[1:-1]}/", f"{json.dumps(str(folder))[1:-1]}/")
        )
    if hasattr(os, "sync"):
        os.sync()  # every image, before the mark says that they are whole
    write_text(folder / DONE, "images and splits are whole\n")
    shutil.rmtree(partial, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    """Whether all splits can be read and each image that they name is there to its end."""
    ends: dict[str, set[str]] = {name: _whole_images(folder / name) for name in IMAGES}
    for name in SPLITS:
        images = IMAGES[0] if name.endswith("_detected.json") else IMAGES[1]
        try:
            splits = json.loads((folder / name).read_text(encoding="utf-8"))
            named = {
                Path(item[0]).name for split in splits for part in ("train", "query", "gallery") for item in split[part]
            }
        except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):  # also of a file from elsewhere
            return False
        if not named or not named <= ends[images]:
            return False
    return True


def _whole_images(folder: Path) -> set[str]:
    """Return the names of the images whose last bytes are those of a PNG."""
    found = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            with open(entry.path, "rb") as file:
                file.seek(max(entry.stat().st_size - len(PNG_END), 0))
                if file.read() == PNG_END:
                    found.add(entry.name)
    return found


@contextlib.contextmanager
def imageio_lent() -> Iterator[None]:
    """Offer ``imageio.imwrite`` by Pillow, where imageio isn't installed: FastReID writes PNGs with it, once."""
    if importlib.util.find_spec("imageio"):
        yield
        return
    lent = types.ModuleType("imageio")
    lent.imwrite = lambda path, pixels: Image.fromarray(pixels).save(path)
    sys.modules["imageio"] = lent
    try:
        yield
    finally:
        del sys.modules["imageio"]
