"""PIL's bicubic resize, bit for bit, in half the time.

Resizing is the longest step of loading most data sets. PIL weighs bytes by whole multiples of 2^-22 and rounds the sums
to bytes, along one side and then along the other. Here each weight is split into a multiple of 2^-11 and the rest: then
torch's vectorised sums are exact in float32 too.
"""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import suppress

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fastreid_ext.data.pixels import doubling

PRECISION = 22  # bits of PIL's weights for bytes
SPLIT = 11  # bits of the rest
SUPPORT = 2  # inputs on either side of an output, where nothing is made smaller
SMALLEST_SCALE = 1 / 15  # 60 inputs an output; of more than 64, sums of rests may need more than 24 bits
MOST_PIXELS = 1 << 20  # beyond, float32 no longer fits into a core's cache
MOST_LENGTHY = 50  # PIL 12.3 changes the order of its two passes where an image is 100 times as high as wide
SIZES_KEPT = 1024
AS_IT_IS = np.frombuffer(np.array([1, 0], np.float32).tobytes(), np.uint8)  # scale and offset behind a row
SMALL_PROBES = 48
# Doubled, and as in data sets: height and width of a file and of the batch.
PROBES = [(32, 24, 64, 48), (31, 25, 62, 50), (260, 110, 256, 128), (500, 200, 384, 128), (90, 30, 256, 128)]

# (height, width, wanted height, wanted width) -> which side is resized first and which second.
Order = Callable[[int, int, int, int], tuple[str, str]]
Taps = tuple[Tensor, Tensor, Tensor]  # inputs, where those of each output begin, weights


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return what ``PIL.Image.resize((width, height), BICUBIC)`` returns.

    Args:
        image: (H, W, 3) uint8; returned as it is if it has the size.
    """
    if image.shape[:2] == (height, width):
        return image
    order = pils_order() if is_suited(*image.shape[:2], height, width) else None
    return by_pil(image, height, width) if order is None else resized(image, height, width, order)


def is_suited(height: int, width: int, wanted_height: int, wanted_width: int) -> bool:
    """Whether sums are exact, faster than PIL's, and made in an order that is known."""
    scale = min(wanted_height / height, wanted_width / width)
    long_side, short_side = max(height, width), min(height, width)
    return height * width <= MOST_PIXELS and long_side <= MOST_LENGTHY * short_side and scale >= SMALLEST_SCALE


def by_pil(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return what :func:`resize` returns, by PIL itself."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def resized(image: np.ndarray, height: int, width: int, order: Order) -> np.ndarray:
    """Return what :func:`resize` returns if PIL has this order."""
    for side in order(*image.shape[:2], height, width):
        if side == "height" and image.shape[0] != height:
            image = _at_height(image, height)
        elif side == "width" and image.shape[1] != width:
            image = cv2.transpose(_at_height(cv2.transpose(image), width))
    return image


def _at_height(image: np.ndarray, height: int) -> np.ndarray:
    """Return a uint8 image (H, W, C) at another height."""
    count, *rest = image.shape
    if height == 2 * count and count >= doubling.SMALLEST:
        return doubling.doubled(image)
    inputs, starts, weights = taps_of(count, height)
    rows = np.empty((count, math.prod(rest) + len(AS_IT_IS)), np.uint8)
    rows[:, : -len(AS_IT_IS)], rows[:, -len(AS_IT_IS) :] = image.reshape(count, -1), AS_IT_IS
    # Sums of rows of bytes, without making them float32 first, as torch.nn.functional.embedding_bag would have it.
    sums = torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
        torch.from_numpy(rows), inputs, starts, per_sample_weights=weights, include_last_offset=True
    )
    # Whole numbers below 2^24 once the rests are rounded down, which changes no floor of what follows.
    whole = sums[height:].floor_().add_(sums[:height]).relu_().numpy()
    # OpenCV rounds halves to even, PIL up: a value moved by a quarter of a step is not a half and rounds alike.
    return cv2.convertScaleAbs(whole, alpha=2.0**-SPLIT, beta=2.0 ** -(SPLIT + 2)).reshape(height, *rest)


@functools.lru_cache(SIZES_KEPT)
def taps_of(count: int, wanted: int) -> Taps:
    """Return the taps of ``wanted`` outputs of ``count`` inputs, for whole 2^-11, and after them for the rests.

    The sum of one output's two, the rests' rounded down, is what PIL rounds, in 2^-11.
    """
    first, weights = pils_weights(count, wanted)
    used = weights != 0
    upper = (weights + (1 << SPLIT - 1)) >> SPLIT
    rest = (weights - (upper << SPLIT)) / 2.0**SPLIT
    inputs = (first[:, None] + np.arange(weights.shape[1]))[used]
    counts = np.tile(used.sum(axis=1), 2)
    return (
        torch.from_numpy(np.tile(inputs, 2).astype(np.int32)),
        torch.from_numpy(np.concatenate([[0], counts.cumsum()]).astype(np.int32)),
        torch.from_numpy(np.concatenate([upper[used], rest[used]]).astype(np.float32)),
    )


def pils_weights(count: int, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first input of each output (wanted,) and its weights (wanted, K) in whole 2^-22, by PIL's operations.

    PIL's filter is cubic convolution with a = -1/2, stretched where the image is made smaller; an output's weights are
    divided by their sum. Behind the last input of an output are zeros.
    """
    scale = count / wanted
    stretch = max(scale, 1.0)
    center = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((center - SUPPORT * stretch + 0.5).astype(int), 0)
    behind = np.minimum((center + SUPPORT * stretch + 0.5).astype(int), count)
    place = np.arange((behind - first).max()) + first[:, None]
    weights = np.where(place < behind[:, None], _bicubic((place - center[:, None] + 0.5) * (1.0 / stretch)), 0.0)
    weights /= weights.cumsum(axis=1)[:, -1:]  # one after the other, as PIL sums
    weights *= 2.0**PRECISION
    return first, np.trunc(weights + np.copysign(0.5, weights)).astype(np.int64)


def _bicubic(distance: np.ndarray) -> np.ndarray:
    x, a = np.abs(distance), -0.5
    near, far = ((a + 2.0) * x - (a + 3.0)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


# ---- which side comes first, which matters, as the image is rounded in between ---------------------------------------


def width_first(height: int, width: int, wanted_height: int, wanted_width: int) -> tuple[str, str]:
    """Return the order of PIL before version 13."""
    return "width", "height"


def larger_loss_first(height: int, width: int, wanted_height: int, wanted_width: int) -> tuple[str, str]:
    """Return the order of PIL 13: the height is first if it loses more than twice the pixels that the width loses."""
    lost_rows, lost_columns = max(height - wanted_height, 0), max(width - wanted_width, 0)
    return ("height", "width") if lost_rows > 2 * lost_columns else ("width", "height")


@functools.cache
def pils_order() -> Order | None:
    """Return this PIL's order; None if it has another, or if this torch or this OpenCV give other pixels or none."""
    cases = [(image, wanted, by_pil(image, *wanted)) for image, wanted in _probes()]
    for order in (larger_loss_first, width_first):
        # An operator that torch no longer has is an AttributeError; one without a kernel here a RuntimeError.
        with suppress(AttributeError, RuntimeError):
            if all(np.array_equal(resized(image, *wanted, order), pils) for image, wanted, pils in cases):
                return order
    return None


def _probes() -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    rng = np.random.default_rng(0)
    sizes = [*rng.integers(4, 64, (SMALL_PROBES, 4)).tolist(), *PROBES]
    for number, (height, width, *wanted) in enumerate(sizes):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        # Noise, and what overshoots at every edge.
        yield image if number % 2 else 255 * (image > 127).astype(np.uint8), tuple(wanted)
