"""Six cameras and what each does to a picture; everything is exact on 8-bit integers.

Float or 16-bit ``resize``, float ``GaussianBlur`` and linear ``warpAffine`` depend on the processor (IPP, AVX);
``INTER_LINEAR_EXACT`` and the blur of 8-bit pictures do not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

REFERENCE_HEIGHT = 128  # the picture height in pixels for which ``Camera.blur`` is meant


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        background: what it sees behind people, a key of :data:`backgrounds.BACKGROUNDS`.
        exposure: factor of the brightness.
        gains: factors of blue, green and red.
        gamma: exponent of the brightness.
        blur: standard deviation in pixels of a picture of ``REFERENCE_HEIGHT``.
        noise: standard deviation in grey levels.
        resolution: share of the picture's height that the sensor resolves.
        quality: of JPEG.
        crop_error: standard deviation of the box, in picture heights.
        pitch: how steeply it looks down, in radians.
    """

    background: str
    exposure: float
    gains: tuple[float, float, float]
    gamma: float
    blur: float
    noise: float
    resolution: float
    quality: int
    crop_error: float
    pitch: float


CAMERAS = (
    Camera("plaza", 1.14, (1.10, 1.00, 0.93), 0.92, 0.30, 4.0, 1.00, 79, 0.03, 0.12),
    Camera("crossing", 0.58, (1.16, 1.00, 0.88), 1.06, 0.60, 12.0, 0.75, 52, 0.06, 0.30),
    Camera("park", 1.00, (0.90, 1.08, 0.94), 0.86, 0.70, 6.0, 0.85, 62, 0.04, 0.08),
    Camera("hall", 0.78, (0.82, 0.98, 1.15), 1.00, 0.50, 9.0, 0.60, 46, 0.07, 0.38),
    Camera("station", 1.39, (0.98, 1.06, 0.95), 1.14, 1.10, 5.0, 0.90, 70, 0.05, 0.22),
    Camera("alley", 0.54, (0.86, 0.92, 1.18), 0.94, 0.85, 15.0, 0.50, 34, 0.09, 0.16),
)


def tone_table(camera: Camera, rng: np.random.RandomState, strength: float) -> np.ndarray:
    """Return the camera's colour response for one image, a (1, 256, 3) uint8 look-up table."""
    exposure = camera.exposure**strength * (1.0 + strength * rng.uniform(-0.15, 0.15))
    gamma = camera.gamma**strength
    levels = (np.arange(256) / 255.0) ** gamma
    table = [255.0 * exposure * gain**strength * levels for gain in camera.gains]
    return np.clip(np.rint(np.stack(table, axis=-1)), 0, 255).astype(np.uint8)[None]


def sensor_noise(rng: np.random.RandomState, shape: Sequence[int], sigma: float) -> np.ndarray:
    """Return noise of about ``sigma`` grey levels as an int16 array of ``shape``.

    It is the sum of two uniform bytes in integers, since a normal draw goes through the platform's logarithm.
    """
    draws = np.frombuffer(rng.bytes(2 * int(np.prod(shape))), np.uint8).reshape(2, *shape)
    triangular = draws[0].astype(np.int32) + draws[1] - 255  # standard deviation 104.5
    return (triangular * round(sigma * 256 / 104.5) >> 8).astype(np.int16)


def shoot(camera: Camera, picture: np.ndarray, rng: np.random.RandomState, strength: float) -> bytes:
    """Return the JPEG file, as bytes, that a camera makes of a picture.

    Args:
        camera: whose defects the file gets.
        picture: (height, width, 3) uint8, BGR; not written to.
        rng: draws the exposure and the noise.
        strength: factor of every defect; 0 for none but JPEG's.
    """
    height, width = picture.shape[:2]
    table = tone_table(camera, rng, strength)
    sigma = camera.blur * strength * height / REFERENCE_HEIGHT
    if sigma > 0:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma)
    resolution = 1.0 - (1.0 - camera.resolution) * strength
    coarse = max(2, round(width * resolution)), max(4, round(height * resolution))
    picture = cv2.LUT(picture, table)
    noise = camera.noise * strength
    if coarse[0] < width:
        picture = cv2.resize(picture, coarse, interpolation=cv2.INTER_LINEAR_EXACT)
    picture = np.clip(picture + sensor_noise(rng, picture.shape, noise), 0, 255).astype(np.uint8)
    if coarse[0] < width:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    quality = round(95 - (95 - camera.quality) * strength)
    return cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()
