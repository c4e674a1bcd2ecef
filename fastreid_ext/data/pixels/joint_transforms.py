"""Image transforms that also move joints; the image is the same as without joints."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from fastreid.data.transforms import RandomPatch, ToTensor
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import functional as F

from fastreid_ext.data.pixels.byte_transforms import DeferredErasing, as_planes, deferred_erasing, gives_bytes
from fastreid_ext.data.pixels.photometric import RandomGaussianBlur
from fastreid_ext.errors import ConfigError

# The matrix that takes a place (x, y, 1) in pixels to its new place; None: everything stays where it is. Places are
# measured from the image's upper left corner, so the centre of its first pixel is (1/2, 1/2).
Matrix = tuple[tuple[float, float, float], tuple[float, float, float]]
Moved = tuple[Image.Image, Matrix | None]
Follower = Callable[[Any, Image.Image], Moved]


class JointTransform:
    """A list of transforms for an image and its joints.

    The image and every random draw are those of the transforms themselves, to the bit. A joint of which the image
    shows nothing, before the first transform or after any of them, keeps its place and has confidence 0. What covers a
    joint (erasing, patches) or changes colours leaves it as it is. A mirrored image exchanges left and right joints.

    Args:
        transforms: of torchvision and FastReID, as ``build_transforms(cfg).transforms``.
        flip_pairs: numbers of the joints that a mirror exchanges.
        joints: how many joints an image has.

    Raises:
        ConfigError: a transform that is not known to leave pixels in place or how it moves them, or pairs with a joint
            twice or out of range.
    """

    def __init__(self, transforms: Sequence[Callable], flip_pairs: Sequence[Sequence[int]], joints: int):
        self.steps = [(transform, _follower(transform)) for transform in transforms]
        self.deferred: DeferredErasing | None = None  # see on_bytes()
        self.mirrored = mirrored_order(flip_pairs, joints)

    @property
    def transforms(self) -> list[Callable[..., Any]]:
        """The list that it was made of."""
        return [transform for transform, _ in self.steps]

    def on_bytes(self) -> "JointTransform":
        """Return the same transform, whose images come out in bytes where their pixels are whole numbers.

        Erasing with other numbers, if it comes last, is deferred, see :class:`DeferredErasing`.
        """
        in_bytes = copy.copy(self)
        in_bytes.deferred = deferred_erasing(self.transforms)
        if gives_bytes(self.transforms) or in_bytes.deferred is not None:
            steps = self.steps if in_bytes.deferred is None else self.steps[:-1]
            in_bytes.steps = [(as_planes if type(t) is ToTensor else t, follow) for t, follow in steps]
        return in_bytes

    def __call__(
        self, image: Image.Image | np.ndarray, joints: np.ndarray, place: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the transformed image, and its joints (J, 3) in float32.

        Args:
            image: upright; a PIL image, or (H, W, 3) uint8.
            joints: (J, 3) x and y as shares of the image's width and height, and confidence; not written to.
            place: see :class:`fastreid_ext.data.pixels.byte_transforms.ByteTransform`.
        """
        image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        x, y, confidence = joints.T.astype(np.float64)
        confidence = confidence * _inside(x, y, 1, 1)
        steps = self.steps
        if steps and type(steps[0][0]) is T.Resize:  # it moves no share, and no joint over the edge by a rounding error
            image, steps = steps[0][0](image), steps[1:]
        width, height = image.size
        x, y = x * width, y * height
        for transform, follow in steps:
            if follow is None:
                image = as_planes(image, place) if transform is as_planes else transform(image)
                continue
            image, matrix = follow(transform, image)
            if matrix is None:
                continue
            (a, b, left), (c, d, top) = matrix
            x, y = a * x + b * y + left, c * x + d * y + top
            if a * d - b * c < 0:  # a mirror
                x, y, confidence = x[self.mirrored], y[self.mirrored], confidence[self.mirrored]
            width, height = image.size
            confidence = confidence * _inside(x, y, width, height)
        moved = np.stack([x / width, y / height, confidence], axis=1)
        return image, torch.from_numpy(moved.astype(np.float32))


def _inside(x: np.ndarray, y: np.ndarray, width: int, height: int) -> np.ndarray:
    return (x >= 0) & (x <= width) & (y >= 0) & (y <= height)


def mirrored_order(flip_pairs: Sequence[Sequence[int]], joints: int) -> np.ndarray:
    """Return for each joint the number of the one that takes its place in a mirrored image.

    Raises:
        ConfigError: no pairs, a joint twice, or one outside 0 to ``joints`` - 1.
    """
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in flip_pairs):
        raise ConfigError(f"INPUT.JOINTS.FLIP_PAIRS must be pairs of joints, such as [[1, 2], [3, 4]]: {flip_pairs}")
    members = [joint for pair in flip_pairs for joint in pair]
    wrong = [joint for joint in members if type(joint) is not int or not 0 <= joint < joints]
    if wrong:
        raise ConfigError(
            f"INPUT.JOINTS.FLIP_PAIRS has {wrong}, but the labels have joints 0 to {joints - 1}: name those of your"
            " labels"
        )
    twice = sorted({joint for joint in members if members.count(joint) > 1})
    if twice:
        raise ConfigError(f"INPUT.JOINTS.FLIP_PAIRS has joint {twice} more than once: each is exchanged with one other")
    order = np.arange(joints)
    for left, right in flip_pairs:
        order[left], order[right] = right, left
    return order


# ---- what each transform did -----------------------------------------------------------------------------------------
# Those that draw repeat the transform's own forward(), which does not say what it drew.


def _resize(transform: T.Resize, image: Image.Image) -> Moved:
    after = transform(image)
    return after, _scaled(after.width / image.width, after.height / image.height)


def _pad(transform: T.Pad, image: Image.Image) -> Moved:
    padding = transform.padding
    left, top = (padding, padding) if isinstance(padding, int) else (padding[0], padding[1 % len(padding)])
    return transform(image), _shifted(left, top)


def _flip(transform: T.RandomHorizontalFlip, image: Image.Image) -> Moved:
    if torch.rand(1) < transform.p:
        return F.hflip(image), ((-1.0, 0.0, image.width), (0.0, 1.0, 0.0))
    return image, None


def _crop(transform: T.RandomCrop, image: Image.Image) -> Moved:
    top, left, height, width = transform.get_params(image, transform.size)
    return F.crop(image, top, left, height, width), _shifted(-left, -top)


def _resized_crop(transform: T.RandomResizedCrop, image: Image.Image) -> Moved:
    top, left, height, width = transform.get_params(image, transform.scale, transform.ratio)
    after = F.resized_crop(
        image, top, left, height, width, transform.size, transform.interpolation, antialias=transform.antialias
    )
    return after, _scaled(after.width / width, after.height / height, left, top)


def _center_crop(transform: T.CenterCrop, image: Image.Image) -> Moved:
    after = transform(image)
    # A side that is too short is padded, half of it in front, rounded down; a longer one is cut.
    shifts = [
        -round((before - size) / 2) if before >= size else (size - before) // 2
        for before, size in zip(image.size, after.size, strict=True)
    ]
    return after, _shifted(*shifts)


def _affine(transform: T.RandomAffine, image: Image.Image) -> Moved:
    angle, shift, scale, shear = transform.get_params(
        transform.degrees, transform.translate, transform.scale, transform.shear, list(image.size)
    )
    after = F.affine(
        image, angle, shift, scale, shear, transform.interpolation, fill=transform.fill, center=transform.center
    )
    turn, (tan_x, tan_y) = math.radians(angle), (math.tan(math.radians(s)) for s in shear)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    linear = scale * rotation @ np.array([[1.0, 0.0], [-tan_y, 1.0]]) @ np.array([[1.0, -tan_x], [0.0, 1.0]])
    center = np.array(transform.center or (image.width / 2, image.height / 2))
    matrix = np.column_stack([linear, center - linear @ center + shift]).tolist()
    return after, (tuple(matrix[0]), tuple(matrix[1]))


def _shifted(x: float, y: float) -> Matrix:
    return (1.0, 0.0, x), (0.0, 1.0, y)


def _scaled(x: float, y: float, left: float = 0.0, top: float = 0.0) -> Matrix:
    """Enlarge by x and y what begins at (left, top)."""
    return (x, 0.0, -x * left), (0.0, y, -y * top)


GEOMETRIC: dict[type, Follower] = {
    T.Resize: _resize,
    T.Pad: _pad,
    T.RandomHorizontalFlip: _flip,
    T.RandomCrop: _crop,
    T.RandomResizedCrop: _resized_crop,
    T.CenterCrop: _center_crop,
    T.RandomAffine: _affine,
}
IN_PLACE = (ToTensor, RandomPatch, T.RandomErasing, T.ColorJitter, T.RandomGrayscale, RandomGaussianBlur)


def _follower(transform: Callable) -> Follower | None:
    """Return what follows a transform, None if it leaves every pixel in its place."""
    padded = type(transform) is T.RandomCrop and (transform.padding is not None or transform.pad_if_needed)
    if type(transform) in GEOMETRIC and not padded:
        return GEOMETRIC[type(transform)]
    inner = transform.transforms if type(transform) is T.RandomApply else [transform]
    if all(type(step) in IN_PLACE for step in inner):
        return None
    names = ", ".join(type(step).__name__ for step in inner)
    raise ConfigError(f"joints can't follow the image transform {names}: switch it off, or INPUT.JOINTS.ENABLED False")
