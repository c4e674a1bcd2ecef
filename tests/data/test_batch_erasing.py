"""Random erasing of a whole batch."""

import math
import random

import pytest
import torch

from fastreid_ext.data.batch_erasing import erase_rectangles, rectangle_masks


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_every_hole_is_one_rectangle_of_the_drawn_size_and_shape():
    images = torch.ones(400, 3, 48, 32)
    erased = erase_rectangles(images, 1.0, (0.1, 0.2), 0.5, generator())
    for image in erased:
        hole = image[0] == 0
        assert torch.equal(image, image[:1].expand(3, -1, -1))  # the same in every channel
        rows, columns = hole.any(1).nonzero()[:, 0], hole.any(0).nonzero()[:, 0]
        height, width = int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
        assert hole.sum() == height * width
        # A side is rounded to a whole pixel: at most half a pixel each way, and sides here are 8 pixels or more.
        assert 0.1 * 0.87 < height * width / (48 * 32) < 0.2 * 1.13
        assert 0.5 * 0.87 < height / width < 2 * 1.13


def test_the_share_of_erased_images():
    erased = erase_rectangles(torch.ones(4000, 1, 16, 8), 0.25, generator=generator())
    share = (erased == 0).flatten(1).any(1).float().mean()
    assert abs(share - 0.25) < 0.03  # four standard errors


def test_every_pixel_can_be_erased():
    erased = erase_rectangles(torch.ones(4000, 1, 16, 8), 1.0, generator=generator())
    assert (erased == 0).any(0).all()


def test_repeatable_and_out_of_place():
    images = torch.randn(8, 3, 16, 8)
    before = images.clone()
    once, again = (erase_rectangles(images, 1.0, generator=generator(3)) for _ in range(2))
    assert torch.equal(once, again)
    assert not torch.equal(once, erase_rectangles(images, 1.0, generator=generator(4)))
    assert torch.equal(images, before)


def test_probability_zero_changes_nothing():
    images = torch.randn(8, 3, 16, 8)
    assert torch.equal(erase_rectangles(images, 0.0), images)


def sides(count, size, area=(0.02, 0.4), ratio=0.3):
    """(height, width) of the rectangles of many images."""
    inside = rectangle_masks(count, size, 1.0, area, ratio, generator())
    return inside.any(2).sum(1).double(), inside.any(1).sum(1).double()


def cited_law(count, size, area=(0.02, 0.4), ratio=0.3):
    """(height, width) as Zhong et al. draw them: area and ratio uniform, again until the rectangle fits."""
    numbers, found = random.Random(1), []
    while len(found) < count:
        pixels, aspect = numbers.uniform(*area) * size[0] * size[1], numbers.uniform(ratio, 1 / ratio)
        height, width = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if height <= size[0] and width <= size[1]:
            found.append((height, width))
    return torch.tensor(found, dtype=torch.double).T


@pytest.mark.parametrize("size", [(64, 32), (96, 32), (32, 32)])
def test_the_law_of_the_cited_work(size):
    """Quantiles of area, ratio, height and width of 20,000 rectangles each; two standard errors are 0.014 of a rank."""
    ranks = torch.linspace(0.05, 0.95, 19, dtype=torch.double)
    (h, w), (height, width) = sides(20000, size), cited_law(20000, size)
    for ours, theirs in ((h * w, height * width), (h / w, height / width), (h, height), (w, width)):
        below = (theirs[:, None] < ours.quantile(ranks)).double().mean(0)
        not_above = (theirs[:, None] <= ours.quantile(ranks)).double().mean(0)
        assert ((below - 0.02 < ranks) & (ranks < not_above + 0.02)).all()


def test_few_rectangles_are_bands_across_the_image():
    """A side that is cut makes every third one a band of 384x128 images, as CBE's stripes are."""
    (height, width), whole = sides(20000, (384, 128)), 128
    assert (width == whole).double().mean() < 0.005 and abs((height / width).median() - 2.0) < 0.05


def test_an_area_that_hardly_fits():
    """A ratio of 1/16 alone would fit; where none of the tries does, a rectangle is cut and not left out."""
    erased = erase_rectangles(torch.ones(64, 1, 4, 64), 1.0, (1.0, 1.0), 0.05, generator())
    assert (erased == 0).flatten(1).any(1).all()


@pytest.mark.parametrize(
    "settings", [{"probability": 1.5}, {"area": (0.0, 0.1)}, {"area": (0.3, 0.2)}, {"ratio": 0.0}, {"ratio": 2.0}]
)
def test_bad_settings(settings):
    with pytest.raises(ValueError, match="random erasing needs"):
        erase_rectangles(torch.ones(2, 3, 8, 8), **settings)
