"""Doubling by filters is PIL's bicubic resize, bit for bit."""

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.data import doubling


def pils(image, height, width):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def picture(kind, height, width):
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "extremes":  # overshoots on every edge, so that both ends of the range are cut
        return 255 * (image > 127).astype(np.uint8)
    return np.full_like(image, 255) if kind == "white" else image


@pytest.mark.parametrize("kind", ["noise", "extremes", "white"])
@pytest.mark.parametrize("size", [(128, 64), (8, 8), (9, 31), (7, 64), (128, 7), (3, 2)])
def test_it_is_pils(kind, size):
    height, width = size
    image = picture(kind, height, width)
    before = image.copy()
    wanted = [(2, 2), (1, 2), (2, 1), (3, 2), (2, 3), (1, 1), (4, 4)]
    for rows, columns in wanted:
        found = doubling.resize(image, rows * height, columns * width)
        assert np.array_equal(found, pils(image, rows * height, columns * width)), (rows, columns)
    assert np.array_equal(doubling.resize(image, height + 3, 2 * width), pils(image, height + 3, 2 * width))
    assert np.array_equal(image, before)


def test_views_and_read_only_images():
    image = picture("noise", 40, 80)
    image.flags.writeable = False
    for view in (image, image[:, :24], image[4:, 8:40]):
        height, width = view.shape[:2]
        assert np.array_equal(
            doubling.resize(view, 2 * height, 2 * width), pils(np.ascontiguousarray(view), 2 * height, 2 * width)
        )


def test_the_filters_are_in_use_here(monkeypatch):
    """Else the other tests would compare PIL with itself."""
    assert doubling.is_exact()
    monkeypatch.setattr(doubling.Image, "fromarray", lambda image: pytest.fail("PIL was asked"))
    doubling.resize(picture("noise", 64, 32), 128, 64)


def test_pil_does_it_where_the_filters_differ(monkeypatch):
    image = picture("noise", 64, 32)
    monkeypatch.setattr(doubling, "EVEN", doubling.EVEN * 1.01)
    doubling.is_exact.cache_clear()
    try:
        assert not doubling.is_exact()
        assert np.array_equal(doubling.resize(image, 128, 64), pils(image, 128, 64))
    finally:
        doubling.is_exact.cache_clear()
