"""Smooth noise of 8 bits: random bytes on coarse grids, enlarged without floating point."""

import cv2
import numpy as np


def smooth_noise(rng: np.random.RandomState, height: int, width: int, cells: int, octaves: int = 1) -> np.ndarray:
    """Return (height, width) uint8 noise around 128.

    Args:
        rng: draws the grids.
        height, width: in pixels.
        cells: grid cells of the first octave over the longer side; each further octave has twice as many.
        octaves: how many are averaged, each with half the amplitude of the one before, the last two with the same.
    """
    longer = max(height, width)
    layers = []
    for octave in range(octaves):
        step = max(1, longer // (cells << octave))
        rows, columns = height // step + 2, width // step + 2
        grid = np.frombuffer(rng.bytes(rows * columns), np.uint8).reshape(rows, columns)
        if step > 1:
            grid = cv2.resize(grid, (columns * step, rows * step), interpolation=cv2.INTER_LINEAR_EXACT)
        layers.append(grid[step // 2 : step // 2 + height, step // 2 : step // 2 + width])
    total = layers.pop()
    while layers:
        total = (total >> 1) + (layers.pop() >> 1)
    return total


def grain(rng: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """Return (height, width) int16 noise from -127 to 127 without neighbours in common."""
    return np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width).astype(np.int16) - 128


def scaled(picture: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return a uint8 ``picture`` (h, w, 3) times ``light`` (h, w) or (h, w, 3), uint16, where 128 is 1; clipped."""
    if light.ndim == 2:
        light = cv2.merge((light, light, light))  # NumPy would loop over three channels at a time
    product = np.multiply(picture, light, dtype=np.uint16)
    product >>= 7
    return np.minimum(product, 255, out=product).astype(np.uint8)
