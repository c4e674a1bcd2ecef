"""Small pictures of image files, as data URIs that a page holds once each."""

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fastreid_ext.data.pixels.decoding import read_rgb
from fastreid_ext.image_files import is_image

HEIGHT, WIDEST, QUALITY = 144, 160, 78
MOST = 6_000  # pictures of a page: 20 MB


class Thumbnails:
    """Numbers files and keeps a small JPEG of each that can be read.

    Args:
        read: path -> (H, W, 3) uint8, RGB; raises an OSError for what it can't read.
    """

    def __init__(self, read: Callable[[str], np.ndarray] = read_rgb):
        self.read = read
        self.uris: list[str] = []
        self.numbers: dict[str, int | None] = {}

    def number(self, path: str) -> int | None:
        """Return the number of a file's picture in ``uris``; None if it can't be read."""
        if path not in self.numbers:
            self.numbers[path] = self._add(path)
        return self.numbers[path]

    def _add(self, path: str) -> int | None:
        # A file of this machine: FastReID's way of opening would fetch what a URL names.
        if not (os.path.isabs(path) and os.path.isfile(path) and is_image(Path(path))) or len(self.uris) >= MOST:
            return None
        try:
            pixels = self.read(path)
        except OSError:
            return None
        self.uris.append(jpeg_uri(Image.fromarray(pixels), HEIGHT, WIDEST))
        return len(self.uris) - 1

    @property
    def missing(self) -> int:
        """How many files could not be read."""
        return sum(number is None for number in self.numbers.values())


def jpeg_uri(picture: Image.Image, height: int, width: int) -> str:
    """Return a picture as the data URI of a JPEG, made smaller to fit into a height and a width in pixels."""
    scale = min(height / picture.height, width / picture.width, 1.0)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    file = io.BytesIO()
    picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
