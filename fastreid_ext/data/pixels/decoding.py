"""Image files as RGB bytes: what FastReID's ``read_image`` gives, without its detours.

PIL and OpenCV both decode JPEG by libjpeg-turbo with its default settings, OpenCV in half the time. It reads the plain
photographs that data sets are made of (JFIF, 8 bits, three channels, no EXIF or colour profile, complete). PIL
reads all other files and raises the errors. It tells a file's format by its content, and one of its formats (EPS)
starts Ghostscript, others are hardly ever used: it gets the list of those that are.
"""

import functools
import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from fastreid.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError

from fastreid_ext.image_files import check_is_file

START, END = b"\xff\xd8", b"\xff\xd9"
JFIF, TABLES, BASELINE, PROGRESSIVE, CODES, RESTART, SCAN, COMMENT = 0xE0, 0xDB, 0xC0, 0xC2, 0xC4, 0xDD, 0xDA, 0xFE
TABLE_BYTES = 65  # a quantisation table of 8 bits and its number
MOST_PIXELS = 1 << 24  # OpenCV's part; larger photographs are rare
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
LARGEST = 1 << 26  # pixels of an image; 200 MB once it is decoded, of a file that may have a few hundred bytes


def read_rgb(path: str) -> np.ndarray:
    """Return an image file upright, as (H, W, 3) uint8.

    Raises:
        OSError: it can't be read, it is of none of ``FORMATS``, or it has more than ``LARGEST`` pixels.
    """
    check_is_file(path)
    with PathManager.open(path, "rb") as file:
        data = file.read()
    size = plain_jpeg_size(data)
    if size is not None and decoders_agree():
        image = _decode(data)
        if image is not None and image.shape == (*size, 3):
            return image
    with opened_image(io.BytesIO(data)) as image:
        _check_bits(image)
        return np.asarray(_upright(image).convert("RGB"))


@contextmanager
def opened_image(source: Path | io.BytesIO) -> Iterator[Image.Image]:
    """Open an image by PIL, whose pixels are read when they are asked for.

    Raises, also for what is done with it:
        OSError: as :func:`read_rgb`.
    """
    try:
        with Image.open(source, formats=FORMATS) as image:
            if image.width * image.height > LARGEST:
                raise OSError(f"{image.width} x {image.height} are more than {LARGEST} pixels")
            yield image
    except UnidentifiedImageError as error:  # its text has the address of what was read
        raise UnidentifiedImageError("cannot identify image file") from error
    except OSError:
        raise
    except Exception as error:  # PIL raises a dozen exception types for invalid files
        raise OSError(str(error) or type(error).__name__) from error


def _check_bits(image: Image.Image) -> None:
    """Check that pixels of more than 8 bits are from 0 to 255: PIL cuts off what is beyond, and all is white.

    Raises:
        OSError: they are not.
    """
    if image.mode.startswith(("I", "F")):
        low, high = image.getextrema()
        if not (low >= 0 and high <= 255):
            raise OSError(f"its pixels are from {low:g} to {high:g}, and not from 0 to 255: save it with 8 bits")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data say nothing; FastReID takes the image as it is, too
        return image


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (H, W) of a complete JPEG file that has nothing but its pixels in it, None for any other file."""
    if not (data.startswith(START) and data.endswith(END)):
        return None
    size, place, jfif = None, 2, False
    while place + 4 <= len(data):
        prefix, marker, length = struct.unpack_from(">BBH", data, place)
        segment = data[place + 4 : place + 2 + length]
        if prefix != 0xFF or length < 2 or len(segment) != length - 2:
            return None
        if marker == SCAN:
            return size if jfif and size and 0 < size[0] * size[1] <= MOST_PIXELS else None
        if marker == JFIF and segment.startswith(b"JFIF\0"):
            jfif = True
        elif marker in (BASELINE, PROGRESSIVE) and size is None and len(segment) == 15:
            bits, height, width, channels = struct.unpack_from(">BHHB", segment)
            if (bits, channels) != (8, 3):
                return None
            size = (height, width)
        elif marker == TABLES:
            if len(segment) % TABLE_BYTES or any(number > 15 for number in segment[::TABLE_BYTES]):
                return None
        elif marker not in (CODES, RESTART, COMMENT):
            return None
        place += 2 + length
    return None


def _decode(data: bytes) -> np.ndarray | None:
    """Decode a JPEG file by OpenCV; None if it can't."""
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return image if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


@functools.cache
def decoders_agree() -> bool:
    """Whether the two libraries on this machine are built to give the same pixels."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(0, 256, (7, 5, 3), dtype=np.uint8), (37, 53), interpolation=cv2.INTER_LINEAR)
    noise = rng.integers(0, 256, (53, 37, 3), dtype=np.uint8)
    for image in (smooth, noise):
        for options in ({"subsampling": s, "quality": q} for s in (0, 1, 2) for q in (50, 95)):
            for progressive in (False, True):
                file = io.BytesIO()
                Image.fromarray(image).save(file, "JPEG", progressive=progressive, **options)
                decoded = _decode(file.getvalue())
                if decoded is None or not np.array_equal(decoded, np.asarray(Image.open(file))):
                    return False
    return True
