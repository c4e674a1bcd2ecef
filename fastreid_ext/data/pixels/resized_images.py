"""Decoded and resized images, kept on disk: later epochs, evaluations and runs read the bytes instead."""

import hashlib
import logging
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import fastreid
import numpy as np
import PIL
import torch
from torchvision import transforms as T
from torchvision.transforms import Compose

from fastreid_ext.data.pixels import resampling
from fastreid_ext.data.pixels.joint_transforms import JointTransform
from fastreid_ext.files import replace_atomically

logger = logging.getLogger(__name__)

CHANNELS = 3
# What decodes and resizes. The number is ours: raise it when that gives other pixels.
MADE_BY = f"2, fastreid {fastreid.__version__}, pillow {PIL.__version__}, opencv {cv2.__version__}"


class ResizedImages:
    """A folder of RGB images of one size in bytes, one file each, which any number of processes and runs may share.

    A file's name follows from the image file's path, size in bytes and time of change, from the size of the images and
    from the versions of the libraries, so what is found is what would be made now. It is whole or absent, whenever a
    process is killed. Where the folder can't be written any more (a full disk), images are made anew each time, and a
    warning says so. The folder, or a part of it, may be deleted at any time.

    Args:
        folder: may be shared by data sets and sizes, and begin with ~; made if it is missing.
        height, width: of the images.
    """

    def __init__(self, folder: str | Path, height: int, width: int):
        self.folder = Path(folder).expanduser().absolute() / f"{height}x{width}"
        self.height, self.width = height, width
        self.writable = True

    @property
    def bytes_per_image(self) -> int:
        """The size of each file."""
        return CHANNELS * self.height * self.width

    def get(self, path: str, read: Callable[[str], np.ndarray]) -> np.ndarray:
        """Return an image file's pixels (height, width, 3) as PIL's bicubic resize gives them, uint8.

        Args:
            path: of the image file.
            read: path -> (H, W, 3) uint8, called where there is nothing kept; what it raises is raised.
        """
        place = self._place(path)
        if place is not None and (kept := self._kept(place)) is not None:
            return kept
        pixels = resampling.resize(read(path), self.height, self.width)
        if place is not None and self.writable:
            self._keep(place, pixels)
        return pixels

    def _place(self, path: str) -> Path | None:
        """Return the path that an image is kept at; None for something that is not a file."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        about = f"{os.path.abspath(path)}\0{status.st_size}\0{status.st_mtime_ns}\0{MADE_BY}"
        name = hashlib.blake2b(about.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.rgb"

    def _kept(self, place: Path) -> np.ndarray | None:
        pixels = np.empty((self.height, self.width, CHANNELS), np.uint8)
        try:
            with open(place, "rb", buffering=0) as file:
                # A file of another length, as after a power cut, is written anew.
                whole = os.fstat(file.fileno()).st_size == pixels.nbytes == file.readinto(pixels.reshape(-1))
        except OSError:
            return None
        return pixels if whole else None

    def _keep(self, place: Path, pixels: np.ndarray) -> None:
        # A name of its own: another process may be making the same image.
        temporary = place.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            data = np.ascontiguousarray(pixels).data
            replace_atomically(place, temporary, lambda file: file.write(data), durable=False)
        except FileNotFoundError:
            pass  # the folder was deleted this moment: the next image makes it again
        except OSError as error:
            self.writable = False
            logger.warning("DATALOADER.CACHE_DIR can't be written any more, so images are resized each time: %s", error)


@dataclass(frozen=True)
class FirstResize:
    """The resize that a list of transforms begins with.

    Attributes:
        size: (height, width) that every image gets.
        before: what is applied to some images before (INPUT.AUTOAUG), None if nothing is.
    """

    size: tuple[int, int]
    before: T.RandomApply | None = None

    def is_first(self, seed: int | None) -> bool:
        """Whether an image with this seed is resized as it was read; moves torch's generator."""
        if self.before is None:
            return True
        if seed is None:
            return False
        torch.default_generator.manual_seed(seed)
        return bool(self.before.p < torch.rand(1))  # RandomApply's own condition, its first draw


def first_resize(transform: Callable[..., Any]) -> FirstResize | None:
    """Return the resize to a height and width that a list of transforms begins with, None if it does not.

    Args:
        transform: as FastReID's ``build_transforms`` gives it, also with joints that follow.
    """
    steps = transform.transforms if type(transform) in (Compose, JointTransform) else []
    before = steps[0] if steps and type(steps[0]) is T.RandomApply else None
    step = steps[before is not None] if len(steps) > (before is not None) else None
    if type(step) is not T.Resize or step.interpolation is not T.InterpolationMode.BICUBIC:
        return None
    return None if isinstance(step.size, int) or len(step.size) != 2 else FirstResize(tuple(step.size), before)
