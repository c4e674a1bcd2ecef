"""Crops for top-down pose models, and the mapping from the model's pixels back to the image's."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fastreid_ext.data.pixels.decoding import read_rgb
from fastreid_ext.data.poses import PoseError
from fastreid_ext.pose.options import MEAN, PADDING, STD


@dataclass(frozen=True)
class Crop:
    """How a model's pixels lie on an image: the whole image is the person's box, widened, with its middle kept.

    Pixels are counted from 0 at the centre of the first one, on both sides, as OpenCV and pose models count them.

    Attributes:
        size: width and height of the image.
        input_size: width and height of what the model takes.
        padding: how many times as wide and as high as the image the crop is at least; what one side lacks to the
            model's aspect ratio is added to it.
    """

    size: tuple[int, int]
    input_size: tuple[int, int]
    padding: float = PADDING

    @property
    def step(self) -> float:
        """Image pixels from one pixel of the model to the next, the same in x and y."""
        return self.padding * max(own / taken for own, taken in zip(self.size, self.input_size, strict=True))

    @property
    def first(self) -> np.ndarray:
        """Where in the image (2,) the centre of the model's first pixel lies; outside, mostly."""
        return (np.array(self.size) - 1) / 2 - self.step * (np.array(self.input_size) - 1) / 2

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Return where in the image the points (..., 2), x and y in the model's pixels, lie."""
        return self.first + self.step * points

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Return what the model sees of an image (h, w, 3) uint8: (H, W, 3) uint8, black outside the image."""
        matrix = np.array([[self.step, 0, self.first[0]], [0, self.step, self.first[1]]])
        # pose models were not trained with cubic or area interpolation
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, matrix, self.input_size, flags=flags, borderMode=cv2.BORDER_CONSTANT)


def normalise(
    crops: np.ndarray, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD, color: str = "rgb"
) -> np.ndarray:
    """Return crops (B, H, W, 3) uint8, RGB, as a model takes them: (B, 3, H, W) float32.

    Args:
        crops: what :meth:`Crop.cut` gave.
        mean: of red, green and blue, 0 to 255, whichever order the model takes them in.
        std: likewise.
        color: the order of the model's channels, "rgb" or "bgr".
    """
    # channels first before anything else: NumPy is four times slower with three numbers a row
    values = crops.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    values -= np.float32(mean)[:, None, None]
    values /= np.float32(std)[:, None, None]
    return values if color == "rgb" else np.ascontiguousarray(values[:, ::-1])


def read_pose_image(path: Path) -> np.ndarray:
    """Return an image (H, W, 3) uint8, turned as its EXIF data say.

    Raises:
        PoseError: it can't be read, or it is truncated.
    """
    try:
        return read_rgb(str(path))
    except (OSError, ValueError) as error:
        raise PoseError(f"{path} can't be read as an image ({error}): repair or remove it") from error
