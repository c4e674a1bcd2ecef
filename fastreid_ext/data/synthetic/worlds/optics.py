"""What a camera of a world does to one picture: shade across it, veil, motion blur, and then :func:`cameras.shoot`."""

import math
from dataclasses import replace

import cv2
import numpy as np

from fastreid_ext.data.synthetic.cameras import Camera, shoot
from fastreid_ext.data.synthetic.worlds.noise import scaled
from fastreid_ext.data.synthetic.worlds.world import Optics

MOTION_TAPS = 9


def photograph(
    picture: np.ndarray, camera: Camera, optics: Optics, rng: np.random.RandomState, strength: float
) -> bytes:
    """Return the JPEG file that a camera makes of a picture (height, width, 3), uint8, BGR; ``strength`` is its."""
    height, width = picture.shape[:2]
    picture = scaled(picture, vignette(height, width, rng.uniform(*optics.vignette), rng))
    picture = cv2.LUT(picture, veil_table(optics, corrected(picture, optics.level), rng))
    length = height * rng.uniform(*optics.motion)
    if rng.random_sample() < optics.motion_share and length >= 1.5:
        picture = motion_blur(picture, length, rng.uniform(-0.5, 0.5))
    device = replace(
        camera,
        exposure=camera.exposure * rng.uniform(*optics.exposure),
        gains=tuple(gain * rng.uniform(0.96, 1.04) for gain in camera.gains),
        gamma=camera.gamma * rng.uniform(0.85, 1.18),
        blur=camera.blur * rng.uniform(0.5, 1.4),
        noise=camera.noise * rng.uniform(0.5, 1.5),
        resolution=min(1.0, camera.resolution * rng.uniform(*optics.coarse)),
        quality=int(min(92, max(18, camera.quality + rng.uniform(*optics.quality)))),
    )
    return shoot(device, picture, rng, strength)


def vignette(height: int, width: int, depth: float, rng: np.random.RandomState) -> np.ndarray:
    """Return (height, width) uint16 light, where 128 is 1, that falls by ``depth`` across the picture."""
    angle = rng.uniform(0, 2 * math.pi)
    right, down = int(depth * 128 * math.cos(angle)), int(depth * 128 * math.sin(angle))
    x, y = np.arange(width)[None] * right // width, np.arange(height)[:, None] * down // height
    return (128 + x + y - (right + down) // 2).astype(np.uint16)


def corrected(picture: np.ndarray, level: int) -> float:
    """Return the factor by which a camera corrects its exposure: half the way to a mean grey ``level``."""
    mean = int(picture.sum(dtype=np.int64)) / picture.size
    return min(1.7, max(0.6, math.sqrt(level / max(mean, 1.0))))


def veil_table(optics: Optics, factor: float, rng: np.random.RandomState) -> np.ndarray:
    """Return a (1, 256, 3) look-up table for a ``factor`` of the exposure, the contrast and a veil of haze."""
    haze, contrast = rng.uniform(*optics.haze), rng.uniform(*optics.contrast)
    levels = 112 + (np.arange(256)[:, None] * factor - 112) * contrast
    veiled = levels * (1 - haze) + np.array(optics.haze_colour)[None] * haze
    return np.clip(np.rint(veiled), 0, 255).astype(np.uint8)[None]


def motion_blur(picture: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Return the mean of a picture shifted along a line of ``length`` pixels."""
    margin = int(length / 2) + 1
    wide = cv2.copyMakeBorder(picture, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    height, width = picture.shape[:2]
    taps = min(MOTION_TAPS, int(length) + 1)
    total = np.zeros(picture.shape, np.uint16)
    for tap in range(taps):
        reach = (tap / (taps - 1) - 0.5) * length
        x, y = margin + round(reach * math.cos(angle)), margin + round(reach * math.sin(angle))
        total += wide[y : y + height, x : x + width]
    return (total // taps).astype(np.uint8)
