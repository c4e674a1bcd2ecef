"""Random erasing of a whole batch."""

import pytest
import torch

from fastreid_ext.data.batch_erasing import erase_rectangles


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


def test_random_pixels():
    """Mean 0 and spread 1 in the same rectangles as the mean pixel's, other numbers in each channel."""
    images = torch.full((200, 3, 16, 8), 7.0)
    erased, mean = (erase_rectangles(images, 0.5, generator=generator(), fill=fill) for fill in ("random", "mean"))
    assert torch.equal(erased == 7, mean == 7)
    noise = erased[erased != 7]
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05  # 15000 numbers: six standard errors
    assert noise.unique().numel() > 0.99 * noise.numel()
    again = erase_rectangles(images, 0.5, generator=generator(), fill="random")
    assert torch.equal(erased, again) and (images == 7).all()
    with pytest.raises(ValueError, match=r"one of \('mean', 'random'\), got 'noise'"):
        erase_rectangles(images, fill="noise")


def test_a_side_longer_than_the_image_is_cut():
    erased = erase_rectangles(torch.ones(64, 1, 4, 64), 1.0, (1.0, 1.0), 0.05, generator())
    assert (erased == 0).flatten(1).any(1).all()


@pytest.mark.parametrize(
    "settings", [{"probability": 1.5}, {"area": (0.0, 0.1)}, {"area": (0.3, 0.2)}, {"ratio": 0.0}, {"ratio": 2.0}]
)
def test_bad_settings(settings):
    with pytest.raises(ValueError, match="random erasing needs"):
        erase_rectangles(torch.ones(2, 3, 8, 8), **settings)
