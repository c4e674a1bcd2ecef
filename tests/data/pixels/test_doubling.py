"""Doubling by filters is PIL's bicubic resize, bit for bit."""

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.data.pixels import doubling


def picture(kind, height, width):
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "extremes":  # overshoots on every edge, so that both ends of the range are cut
        return 255 * (image > 127).astype(np.uint8)
    return np.full_like(image, 255) if kind == "white" else image


@pytest.mark.parametrize("kind", ["noise", "extremes", "white"])
@pytest.mark.parametrize("size", [(128, 64), (8, 8), (9, 31), (128, 7), (300, 1)])
def test_it_is_pils(kind, size):
    image = picture(kind, *size)
    before = image.copy()
    pils = Image.fromarray(image).resize((size[1], 2 * size[0]), Image.Resampling.BICUBIC)
    assert np.array_equal(doubling.doubled(image), np.asarray(pils))
    assert np.array_equal(image, before)
