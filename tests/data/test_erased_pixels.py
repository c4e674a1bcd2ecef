"""What erased pixels become."""

import pytest
import torch

from fastreid_ext.data.erased_pixels import Fill
from fastreid_ext.errors import ConfigError

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
INSIDE = torch.zeros(40, 1, 64, 32, dtype=torch.bool)
INSIDE[:, :, 10:40, 5:25] = True
OUTSIDE = 7.25


def erased_pixels(kind, normalised, dtype=torch.float32):
    """(C, N), from 0 to 255."""
    images = torch.full((40, 3, 64, 32), OUTSIDE, dtype=dtype)
    found = Fill(kind, MEAN, STD, normalised)(images, INSIDE, torch.Generator().manual_seed(0))
    assert found.dtype == dtype and (images == OUTSIDE).all()
    assert (found.masked_select(~INSIDE) == OUTSIDE).all()
    pixels = found.transpose(0, 1).masked_select(INSIDE.transpose(0, 1)).view(3, -1).double()
    mean, std = torch.tensor(MEAN)[:, None], torch.tensor(STD)[:, None]
    return pixels * std + mean if normalised else pixels


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_mean_pixel(normalised, dtype):
    mean = torch.tensor(MEAN).to(dtype if not normalised else torch.float32)[:, None].double()
    assert (erased_pixels("mean", normalised, dtype) - mean).abs().max() < 1e-5


@pytest.mark.parametrize("normalised", [True, False])
def test_random_pixels_are_uniform_from_black_to_white(normalised):
    """24,000 numbers a channel: six standard errors."""
    pixels = erased_pixels("random", normalised)
    assert pixels.min() > -1e-3 and pixels.max() < 255 + 1e-3
    assert (pixels.mean(1) - 127.5).abs().max() < 3 and (pixels.std(1) - 255 / 12**0.5).abs().max() < 2
    assert ((pixels < 63.75).double().mean(1) - 0.25).abs().max() < 0.02
    assert pixels.unique().numel() > 0.98 * pixels.numel()  # another number in every channel of every pixel


@pytest.mark.parametrize("normalised", [True, False])
def test_normal_pixels_have_the_mean_and_the_spread_of_the_images(normalised):
    pixels = erased_pixels("normal", normalised)
    assert (pixels.mean(1) - torch.tensor(MEAN)).abs().max() < 3
    assert (pixels.std(1) - torch.tensor(STD)).abs().max() < 2
    assert ((pixels - torch.tensor(MEAN)[:, None] > torch.tensor(STD)[:, None]).double().mean() - 0.1587).abs() < 0.01


def test_another_kind():
    with pytest.raises(ConfigError, match=r"one of \('mean', 'random', 'normal'\), got 'noise'"):
        Fill("noise", MEAN, STD)
