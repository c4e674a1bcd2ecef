"""Smooth noise of 8 bits: random bytes on coarse grids, enlarged without floating point."""

import cv2
import numpy as np


def smooth_noise(rng: np.random.RandomState, height: int, width: int, cells: int, octaves: int = 1) -> np.ndarray:
    """Return (height, width) uint8 noise around 128.

    Args:
        rng: draws the grids.
        height, width: in pixels.
        cells: grid cells of the first octave over the longer side; each further octave has twice as many.
        octaves: how many are added, each with half the amplitude of the one before.
    """
    longer = max(height, width)
    total = np.zeros((height, width), np.uint16)
    for octave in range(octaves):
        step = max(1, longer // (cells << octave))
        rows, columns = height // step + 2, width // step + 2
        grid = np.frombuffer(rng.bytes(rows * columns), np.uint8).reshape(rows, columns)
        layer = cv2.resize(grid, (columns * step, rows * step), interpolation=cv2.INTER_LINEAR_EXACT)
        total += layer[step // 2 : step // 2 + height, step // 2 : step // 2 + width].astype(np.uint16) >> octave
    return (total * 128 // (256 - (256 >> octaves))).astype(np.uint8)


def grain(rng: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """Return (height, width) int16 noise from -127 to 127 without neighbours in common."""
    return np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width).astype(np.int16) - 128


def scaled(picture: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return a uint8 ``picture`` times ``light`` (uint16, 128 is 1), clipped; the shapes broadcast."""
    return np.minimum((picture.astype(np.uint16) * light) >> 7, 255).astype(np.uint8)
