"""Images of any kind that a user has, as the RGB bytes that the evaluation makes of files.

An image has bytes: numbers of other types are brought to 0-255 and rounded, so what torchvision's ``ToTensor`` made
of a file gives that file's pixels again. Grey is the same in all three channels, and transparent pixels are
laid on black, as files are read. What is given is copied, never written into.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fastreid_ext.data.images import LARGE, read_image
from fastreid_ext.data.pixels import decoding, resampling
from fastreid_ext.data.pixels.resized_images import FirstResize
from fastreid_ext.errors import UserError
from fastreid_ext.files import fault_of
from fastreid_ext.foreign_files import shown
from fastreid_ext.image_files import list_folder

ORDERS, RANGES = ("RGB", "BGR"), (1, 255)
CHANNELS = (1, 3, 4)  # grey; colours; colours and transparency
NEARLY = 1e-3  # of the range: what rounding of floats may lie outside of it

Source = str | np.ndarray  # a file, or the pixels (H, W, 3) of an image in RGB, uint8

logger = logging.getLogger(__name__)


class InputError(UserError, ValueError):
    """What is given is no image, or does not say how its numbers are to be read."""


def sources_of(images: Any, order: str | None, range: float | None, resize: FirstResize | None) -> Iterator[Source]:
    """Yield the images of an input one by one; what it is built from is read when it is asked for.

    Args:
        images: a path, a folder, a PIL image, an array, a tensor, or an iterable of these.
        order: of the channels of arrays and tensors.
        range: 1 or 255, what white is in arrays and tensors.
        resize: what large images may wait resized as.

    Raises:
        InputError: one of them is no image, or does not say how it is to be read; names it by its position.
    """
    _check_options(order, range)
    if isinstance(images, dict | bytes | bytearray | memoryview) or images is None:
        raise InputError(_no_image("the input", images))
    single = isinstance(images, str | os.PathLike | Image.Image | np.ndarray | Tensor)
    if not single and not isinstance(images, Iterable):
        raise InputError(_no_image("the input", images))
    for number, item in enumerate([images] if single else images):
        name = "the input" if single else f"image {number} of the input"
        for source in _each(item, name, order, range):
            yield source if isinstance(source, str) else _kept(source, resize)


def pixels_of(image: Any, order: str | None, range: float | None, name: str = "the frame") -> np.ndarray:
    """Return the pixels (H, W, 3) of one image in RGB, uint8; they may be the caller's own.

    Raises:
        InputError: as :func:`sources_of`, or several images.
        ImageError: a file that can't be read.
    """
    _check_options(order, range)
    if isinstance(image, list | tuple | dict | bytes) or image is None:
        raise InputError(_no_image(name, image))
    found = list(_each(image, name, order, range))
    if len(found) != 1:
        raise InputError(f"{name} is {len(found)} images, and one is expected")
    return read_image(found[0]) if isinstance(found[0], str) else found[0]


def has_plain_numbers(tensor: Tensor) -> bool:
    """Return whether a tensor is dense, not quantized and not on the meta device."""
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta


def images_of_folder(folder: Path) -> list[str]:
    """Return the paths of the images of a folder and of those in it, sorted: the order of their features.

    Raises:
        InputError: no image.
    """
    listing = list_folder(folder)
    if not listing.files:
        raise InputError(f"the folder {folder} holds no image ({listing.sentence()})")
    if listing.surprises:
        logger.warning("%s", listing.sentence())
    return [str(path) for path in sorted(listing.files)]


def files_of(paths: Iterable[str | os.PathLike]) -> Iterator[str]:
    """Yield the files that paths name, one for each; a folder stays one, which no image can be read from.

    Raises:
        InputError: a path that can't be one.
    """
    for number, path in enumerate(paths):
        yield _path_of(os.fspath(path), f"image {number} of the input")


def _path_of(path: str, name: str) -> str:
    path = os.path.expanduser(path)
    if fault := fault_of(path):
        raise InputError(f"{name} {fault}")
    return path


def _each(item: Any, name: str, order: str | None, range: float | None) -> Iterator[Source]:
    """Yield the images that one element of an input is."""
    if isinstance(item, str | os.PathLike):
        path = os.fspath(item)
        if not isinstance(path, str):
            raise InputError(f"{name} is a path in bytes, {shown(path)}: give it as text (os.fsdecode)")
        path = _path_of(path, name)
        yield from images_of_folder(Path(path)) if os.path.isdir(path) else [path]
    elif isinstance(item, Image.Image):
        yield _of_pil(item, name)
    elif isinstance(item, np.ndarray):
        yield from _of_array(np.asarray(item), name, order, range)  # without what subclasses do otherwise
    elif isinstance(item, Tensor):
        yield from _of_tensor(item, name, order, range)
    else:
        raise InputError(_no_image(name, item))


def _no_image(name: str, item: Any) -> str:
    kinds = "a path, a folder, a PIL image, an array (H, W, 3) or a tensor (3, H, W)"
    hint = ""
    if isinstance(item, bytes | bytearray | memoryview):
        hint = "; of an encoded file make a PIL image: Image.open(io.BytesIO(data))"
    elif isinstance(item, list | tuple):
        hint = "; give all images in one list that has no lists in it"
    return f"{name} is {type(item).__name__} and must be {kinds}{hint}"


def _check_options(order: str | None, range: float | None) -> None:
    if order is not None and not (isinstance(order, str) and order in ORDERS):
        raise InputError(f'order is {shown(order)} and must be "RGB" or "BGR" (OpenCV\'s)')
    plain = isinstance(range, int | float | np.number) and not isinstance(range, bool)
    if range is not None and not (plain and range in RANGES):
        raise InputError(f"range is {shown(range)} and must be 255 or 1, what white is")


def _kept(pixels: np.ndarray, resize: FirstResize | None) -> np.ndarray:
    """Return a copy to keep until its batch is complete; of a large image, as the evaluation resizes it first."""
    if resize is not None and pixels.nbytes > LARGE:
        pixels = np.ascontiguousarray(pixels)
        resized = resampling.resize(pixels, *resize.size)
        if resized is not pixels:
            return resized
    return np.array(pixels, dtype=np.uint8, order="C")


# ---- kinds of images ------------------------------------------------------------------------------------------------


def _of_pil(image: Image.Image, name: str) -> np.ndarray:
    _check_sides(image.height, image.width, name)
    try:
        return decoding.rgb_of(image)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # PIL raises a dozen exception types for invalid files, which it reads only now
        raise InputError(f"{name} can't be read ({error})") from error


def _of_array(array: np.ndarray, name: str, order: str | None, range: float | None) -> Iterator[np.ndarray]:
    shape = array.shape
    if array.ndim == 4:
        if shape[3] not in CHANNELS:
            raise InputError(f"{name} is an array {shape} and must be (H, W, 3), or (B, H, W, 3) for several images")
        for number, one in enumerate(array):
            yield from _of_array(one, f"image {number} of {name}", order, range)
        return
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim != 3 or shape[2] not in CHANNELS:
        first = array.ndim == 3 and shape[0] in CHANNELS
        hint = ": put the channels last with array.transpose(1, 2, 0)" if first else ""
        hint = ": give paths as a list" if array.ndim == 1 and array.dtype.kind in "UO" else hint
        raise InputError(f"{name} is an array {shape} and must be (H, W, 3), or (H, W) for a grey one{hint}")
    _check_sides(*array.shape[:2], name)
    if order is None and array.shape[2] > 1:
        raise InputError(
            f'{name} is an array, which does not say in which order its channels are: pass order="RGB", or'
            ' order="BGR" for what OpenCV reads'
        )
    if range is None and array.dtype != np.uint8:
        raise InputError(
            f"{name} is an array of {array.dtype}, not of uint8: pass range=255 or range=1, what white is in it"
        )
    yield _in_colour(_as_bytes(array, name, range or 255), order)


def _of_tensor(tensor: Tensor, name: str, order: str | None, range: float | None) -> Iterator[np.ndarray]:
    shape = tuple(tensor.shape)
    if tensor.ndim not in (3, 4) or shape[-3] not in CHANNELS:
        last = tensor.ndim in (3, 4) and shape[-1] in CHANNELS
        hint = ": put the channels first with tensor.movedim(-1, -3)" if last else ""
        raise InputError(f"{name} is a tensor {shape} and must be (3, H, W) or (B, 3, H, W){hint}")
    if range is None:
        raise InputError(f"{name} is a tensor, which does not say what white is: pass range=255, or range=1")
    if not has_plain_numbers(tensor):
        raise InputError(f"{name} is a tensor without plain numbers ({tensor.layout}, {tensor.device})")
    _check_sides(*shape[-2:], name)
    tensor = tensor.detach()
    for number, one in enumerate(tensor if tensor.ndim == 4 else tensor[None]):
        one = one.float() if one.dtype is torch.bfloat16 or one.element_size() == 1 and one.is_floating_point() else one
        array = one.cpu().resolve_conj().resolve_neg().numpy().transpose(1, 2, 0)
        named = f"image {number} of {name}" if tensor.ndim == 4 else name
        yield _in_colour(_as_bytes(array, named, range), order or "RGB")


def _check_sides(height: int, width: int, name: str) -> None:
    if not height or not width:
        raise InputError(f"{name} is {height} high and {width} wide: it has no pixel")
    if height * width > decoding.LARGEST:
        raise InputError(f"{name} is {height} x {width}: more than {decoding.LARGEST} pixels")


def _as_bytes(array: np.ndarray, name: str, range: float) -> np.ndarray:
    """Return numbers from 0 to ``range`` as bytes."""
    if array.dtype == np.uint8:
        if range == 1:
            raise InputError(f"{name} is of uint8, whose white is 255: pass range=255")
        return array
    if array.dtype.kind not in "fiu":
        raise InputError(f"{name} is of {array.dtype}: give bytes (uint8) or floats")
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{name} has values that are not finite")
    if low < -NEARLY * range or high > range * (1 + NEARLY):
        hint = ": pass range=255" if range == 1 and low >= 0 and high <= 255 else ""
        normalised = "; a normalised image has to be brought back first" if low < 0 else ""
        raise InputError(
            f"{name} has values from {low:g} to {high:g}, and range={range} is 0 to {range}{hint}{normalised}"
        )
    if range == 255 and array.dtype.kind == "f" and 0 < high <= 1 and not np.isin(array, (0, 1)).all():
        raise InputError(f"{name} has values from {low:g} to {high:g}, which are all black of 255: pass range=1")
    scaled = array.astype(np.float64 if array.dtype.itemsize > 4 else np.float32) * (255 / range)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _in_colour(array: np.ndarray, order: str | None) -> np.ndarray:
    """Return bytes (H, W, 1, 3 or 4) as RGB."""
    channels = array.shape[2]
    if channels == 1:
        return np.repeat(array, 3, axis=2)
    if order == "BGR":
        array = array[..., [2, 1, 0, 3][:channels]] if channels == 4 else array[..., ::-1]
    return array if channels == 3 else decoding.rgb_of(Image.fromarray(np.ascontiguousarray(array), "RGBA"))
