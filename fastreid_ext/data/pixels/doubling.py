"""PIL's bicubic resize to exactly twice the height, bit for bit, in a third of the time.

Market-1501 and its like come in 64x128 and are trained at 128x256, and that resize is the longest step of loading them.
Half-way between pixels the weights of the bicubic filter are whole multiples of 1/128, so sums of weighted bytes are
exact in float32 and OpenCV's filters give what PIL's integers give. The three outermost rows of either end, whose
weights PIL divides by their sum, are computed as PIL does.
"""

import functools

import cv2
import numpy as np

# Output 2i looks at the inputs i-2 ... i+1, output 2i+1 at i-1 ... i+2: cubic convolution with a = -1/2 at the
# distances 7/4, 3/4, 1/4, 5/4 and back.
EVEN = np.array([[-3], [29], [111], [-9]], np.float32) / 128
ODD = EVEN[::-1].copy()
HALF_UP = 1 / 256  # OpenCV rounds halves to even, PIL up; multiples of 1/128 moved by this are not halves
EDGE = 3  # outputs of each end whose window leaves the image
PRECISION = 22  # bits of PIL's weights for bytes
SMALLEST = 8  # inputs: the windows of both ends do not meet


def doubled(image: np.ndarray) -> np.ndarray:
    """Return a uint8 image (H, W, 3) at twice its height.

    Args:
        image: of at least SMALLEST rows.
    """
    count, width, channels = image.shape
    out = np.empty((2 * count, width, channels), np.uint8)
    # Two strided halves of one array: nothing is copied together afterwards.
    cv2.filter2D(image, -1, EVEN, dst=out[0::2], anchor=(0, 2), delta=HALF_UP, borderType=cv2.BORDER_REPLICATE)
    cv2.filter2D(image, -1, ODD, dst=out[1::2], anchor=(0, 1), delta=HALF_UP, borderType=cv2.BORDER_REPLICATE)
    weights = _edge_weights()
    out[:EDGE] = _weighted(weights, image[: EDGE + 1])
    out[-EDGE:] = _weighted(weights, image[: -EDGE - 2 : -1])[::-1]
    return out


def _weighted(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    # Below 2^53, where float64 is as exact as PIL's integers.
    sums = weights @ rows.reshape(len(rows), -1).astype(np.float64)
    rounded = np.floor((sums + 2.0 ** (PRECISION - 1)) / 2.0**PRECISION)
    return rounded.clip(0, 255).astype(np.uint8).reshape(len(weights), *rows.shape[1:])


@functools.cache
def _edge_weights() -> np.ndarray:
    """Weights of the first outputs (3, 4): what is inside the image, divided by its sum, as whole 2^-22."""
    weights = np.zeros((EDGE, EDGE + 1))
    for output in range(EDGE):
        kernel, first = (EVEN, output // 2 - 2) if output % 2 == 0 else (ODD, output // 2 - 1)
        inside = {first + tap: weight for tap, weight in enumerate(kernel[:, 0].tolist()) if first + tap >= 0}
        for place, weight in inside.items():
            weights[output, place] = weight / sum(inside.values()) * 2.0**PRECISION
    return np.trunc(weights + np.copysign(0.5, weights))
