"""Image files as RGB bytes: what FastReID's ``read_image`` gives of photographs, without its detours.

PIL and OpenCV both decode JPEG by libjpeg-turbo with its default settings, OpenCV in half the time. It reads the plain
photographs that data sets are made of (JFIF, 8 bits, three channels, no EXIF or colour profile, complete). PIL
reads all other files and raises the errors. It tells a file's format by its content, and one of its formats (EPS)
starts Ghostscript, others are hardly ever used: it gets the list of those that are.

What is no photograph of 8 bits becomes one by rules that look at the kind of a file, never at its values:

- of pixels of 16 bits, grey or in colour, the upper 8 count; of TIFF's 12 bits, the upper 8 of those;
- transparent pixels are laid on black, as cut-outs are in files that have no transparency;
- of palettes, CMYK and one bit, the colours that they stand for; of several pictures in a file, the first;
- whole numbers of 32 bits and floats are refused: nothing says which of them is white.
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
BACKGROUND = (0, 0, 0, 255)
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # of TIFF
LARGEST = 1 << 26  # pixels of an image; 200 MB once it is decoded, of a file that may have a few hundred bytes


def read_rgb(path: str, fast: bool = True) -> np.ndarray:
    """Return an image file upright, as (H, W, 3) uint8.

    Args:
        path: of the file.
        fast: whether OpenCV may decode it where it gives PIL's pixels.

    Raises:
        OSError: it can't be read, it is of none of ``FORMATS``, it has more than ``LARGEST`` pixels, or they are of a
            kind that has no white.
    """
    check_is_file(path)
    with PathManager.open(path, "rb") as file:
        data = file.read()
    size = plain_jpeg_size(data) if fast else None
    if size is not None and decoders_agree():
        image = _decode(data)
        if image is not None and image.shape == (*size, 3):
            return image
    with opened_image(io.BytesIO(data)) as image:
        return rgb_of(image)


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


def rgb_of(image: Image.Image) -> np.ndarray:
    """Return an opened image upright as (H, W, 3) uint8, by the rules of this module; it is not changed.

    Raises:
        OSError: pixels of 32 bits.
    """
    deep, tags, key = image.mode.startswith("I"), getattr(image, "tag_v2", {}), image.info.get("transparency")
    # PIL's "I" has 32 bits: of PGM and, in older versions, of PNG they are 16 in truth.
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        kind = "floats" if image.mode == "F" else "numbers of 32 bits"
        raise OSError(f"its pixels are {kind}, and nothing says which of them is white: save it with 8 or 16 bits")
    bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    image = _upright(image)
    if deep:
        pixels = np.asarray(image).astype(np.int64)
        clear = pixels == key
        pixels >>= bits - 8
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # PIL turns it round in 8 bits alone
            pixels = 255 - pixels
        pixels[clear] = 0
        return np.repeat(pixels.astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return np.asarray(image.convert("RGB"))


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
