"""The image transforms of a config on bytes: the pixels and draws of FastReID's, without its detours over floats."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from fastreid.data.transforms import AugMix, RandomPatch, ToTensor
from fastreid.data.transforms.autoaugment import AutoAugment
from PIL import Image
from torchvision import transforms as T

from fastreid_ext.data.pixels import resampling
from fastreid_ext.data.pixels.photometric import RandomGaussianBlur
from fastreid_ext.errors import ConfigError

# What a list may consist of: RGB images of 8 bits to such images, then ToTensor, then tensors to tensors.
ON_IMAGES = (
    T.Resize,
    T.RandomResizedCrop,
    T.CenterCrop,
    T.Pad,
    T.RandomCrop,
    T.RandomHorizontalFlip,
    T.ColorJitter,
    T.RandomGrayscale,
    RandomGaussianBlur,
    T.RandomAffine,
    AutoAugment,
    AugMix,
)
ON_TENSORS = (T.RandomErasing, RandomPatch)


class ByteTransform:
    """A list of transforms that maps bytes to bytes if all its pixel values are whole numbers.

    Every pixel and every random draw is that of the transforms themselves, to the bit. Only erasing can fill in
    values that are not bytes, such as the mean pixel. Where it comes last, as in FastReID's strong baseline, it is
    deferred until the images become float, see ``deferred``. Otherwise images are float32. Only the list decides this.

    Args:
        transforms: of torchvision and FastReID, as ``build_transforms(cfg).transforms``.

    Attributes:
        deferred: the erasing that is still to be done, if any.

    Raises:
        ConfigError: a list that is not known to give what FastReID's transforms of a config give.
    """

    def __init__(self, transforms: Sequence[Callable]):
        names = [type(transform).__name__ for transform in transforms]
        if names.count("ToTensor") != 1 or not all(_is_known(transform) for transform in transforms):
            raise ConfigError(f"the image transforms {', '.join(names)} are not known to work on bytes")
        place = names.index("ToTensor")
        self.on_images = [(transform, _on_bytes(transform)) for transform in transforms[:place]]
        self.on_tensors = [_in_place(transform) for transform in transforms[place + 1 :]]
        if not all(type(step) in ON_IMAGES for t in transforms[:place] for step in _steps(t)) or not all(
            type(t) in ON_TENSORS for t in self.on_tensors
        ):
            raise ConfigError(f"of the image transforms {', '.join(names)}, one is on the wrong side of ToTensor")
        self.deferred = deferred_erasing(transforms)
        if self.deferred is not None:
            self.on_tensors.pop()
        self.dtype = torch.uint8 if gives_bytes(transforms) or self.deferred is not None else torch.float32

    def __call__(self, image: np.ndarray, place: torch.Tensor | None = None) -> torch.Tensor:
        """Return the transformed image (3, H', W') in ``dtype``.

        Args:
            image: (H, W, 3) uint8; not written to.
            place: where the result is put if it fits, and if nothing makes a copy of it later.
        """
        for transform, on_bytes in self.on_images:
            if on_bytes is None:
                image = np.asarray(transform(Image.fromarray(image)))
            else:
                image = on_bytes(transform, image)
        planes = as_planes(image, place)
        if self.dtype is not torch.uint8:
            planes = planes.to(self.dtype)
        for transform in self.on_tensors:
            planes = transform(planes)
        return planes


class DeferredErasing:
    """Random erasing with values that are not bytes, on images in bytes: it draws now and fills later.

    Args:
        erasing: the last transform.

    Attributes:
        fill: of each channel (C,) or of all (1,), float32.
    """

    def __init__(self, erasing: T.RandomErasing):
        self.erasing = erasing
        self.fill = torch.tensor([float(value) for value in _values(erasing)])

    def draw_box(self, image: torch.Tensor) -> torch.Tensor:
        """Draw what is to be erased of an image: top, left, height and width; zeros for nothing.

        Args:
            image: (C, H, W), of which the size matters.
        """
        erasing = self.erasing
        if torch.rand(1) < erasing.p:  # RandomErasing.forward(), which does not say what it drew
            *box, fill = erasing.get_params(image, erasing.scale, erasing.ratio, self.fill.tolist())
            if fill is not image:  # no box of such a shape fits
                return torch.tensor(box)
        return torch.zeros(4, dtype=torch.int64)


def erase_boxes(images: torch.Tensor, boxes: torch.Tensor, fill: torch.Tensor) -> None:
    """Fill a box of each image, in place.

    Args:
        images: (B, C, H, W) of a floating type.
        boxes: (B, 4) of :meth:`DeferredErasing.draw_box`, on the CPU.
        fill: (C,) or (1,), on the images' device.
    """
    fill = fill[:, None, None]
    for image, (top, left, height, width) in zip(images, boxes.tolist(), strict=True):
        if height:
            image[:, top : top + height, left : left + width] = fill


def deferred_erasing(transforms: Sequence[Callable]) -> DeferredErasing | None:
    """Return the erasing to do once images are float: the last transform, if it alone gives no bytes."""
    if gives_bytes(transforms) or not gives_bytes(transforms[:-1]) or not _fills_numbers(transforms[-1]):
        return None
    return DeferredErasing(transforms[-1])


def gives_bytes(transforms: Sequence[Callable]) -> bool:
    """Whether the pixels of known transforms are whole numbers from 0 to 255, whatever the image and the draws."""
    fills = [_values(t) for t in transforms if _erases(t)]
    # A value that is not a number ("random") stands for noise.
    return all(isinstance(v, int | float) and 0 <= v <= 255 and v == int(v) for fill in fills for v in fill)


def as_planes(image: np.ndarray | Image.Image, place: torch.Tensor | None = None) -> torch.Tensor:
    """Return a copy (3, H, W) of an RGB image, an array (H, W, 3) or PIL's, in bytes; in ``place`` if it fits."""
    image = np.asarray(image)
    shape = (3, *image.shape[:2])
    if place is None or (place.shape, place.dtype) != (shape, torch.uint8):
        place = torch.empty(shape, dtype=torch.uint8)
    cv2.split(image, list(place.numpy()))  # ten times as fast as NumPy's and torch's transposed copies
    return place


def _erases(transform: Callable) -> bool:
    return type(transform) is T.RandomErasing


def _values(erasing: T.RandomErasing) -> list[Any]:
    return list(erasing.value) if isinstance(erasing.value, list | tuple) else [erasing.value]


def _fills_numbers(transform: Callable) -> bool:
    """Whether a transform erases with a number, or one of each channel."""
    if not _erases(transform) or len(_values(transform)) not in (1, 3):
        return False
    return all(isinstance(value, int | float) for value in _values(transform))


def _steps(transform: Callable) -> Sequence[Callable]:
    return transform.transforms if type(transform) is T.RandomApply else [transform]


def _is_known(transform: Callable) -> bool:
    return all(type(step) in (*ON_IMAGES, ToTensor, *ON_TENSORS) for step in _steps(transform))


def _in_place(transform: Callable) -> Callable:
    """Let erasing write into the tensor, which is the item's own, instead of into a copy."""
    if _erases(transform):
        transform = copy.copy(transform)
        transform.inplace = True
    return transform


# ---- on bytes what PIL does ------------------------------------------------------------------------------------------
# Those that draw repeat the transform's own forward().


def _resize(transform: T.Resize, image: np.ndarray) -> np.ndarray:
    return resampling.resize(image, *transform.size)


def _pad(transform: T.Pad, image: np.ndarray) -> np.ndarray:
    return cv2.copyMakeBorder(image, *[transform.padding] * 4, cv2.BORDER_CONSTANT, value=(0, 0, 0))


def _crop(transform: T.RandomCrop, image: np.ndarray) -> np.ndarray:
    sides = torch.empty((3, *image.shape[:2]), device="meta")  # all that get_params() asks for
    top, left, height, width = transform.get_params(sides, transform.size)
    return image[top : top + height, left : left + width]


def _flip(transform: T.RandomHorizontalFlip, image: np.ndarray) -> np.ndarray:
    return cv2.flip(image, 1) if torch.rand(1) < transform.p else image


def _on_bytes(transform: Callable) -> Callable[[Callable, np.ndarray], np.ndarray] | None:
    """Return what does a transform on bytes; None where PIL has to."""
    kind = type(transform)
    if kind is T.Resize and not isinstance(transform.size, int) and len(transform.size) == 2:
        return _resize if transform.interpolation is T.InterpolationMode.BICUBIC else None
    if kind is T.Pad and isinstance(transform.padding, int) and transform.padding >= 0:
        return _pad if transform.padding_mode == "constant" and transform.fill == 0 else None
    if kind is T.RandomCrop and transform.padding is None and not transform.pad_if_needed:
        return _crop
    return _flip if kind is T.RandomHorizontalFlip else None
