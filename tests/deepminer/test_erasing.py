"""Eq. 1 of Deep Miner. The mask is compared exactly; there is no tolerance."""

import pytest
import torch

from fastreid_ext.deepminer.erasing import erase, keep_mask


def naive_mask(features, tau):
    """Eq. 1, one place at a time."""
    masks = []
    for maps in features.tolist():  # C x h x w
        channels, height, width = len(maps), len(maps[0]), len(maps[0][0])
        mean = [[sum(maps[c][x][y] for c in range(channels)) / channels for y in range(width)] for x in range(height)]
        low, high = min(map(min, mean)), max(map(max, mean))
        norm = [[(v - low) / (high - low) for v in row] for row in mean]
        masks.append([[[0.0 if v > tau else 1.0 for v in row] for row in norm]])
    return torch.tensor(masks, dtype=torch.float64)


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("shape", [(3, 5, 4, 3), (1, 1, 2, 2), (2, 8, 1, 7)])
def test_mask_equals_the_equation(tau, shape):
    features = torch.randn(shape, dtype=torch.float64)
    assert torch.equal(keep_mask(features, tau), naive_mask(features, tau))
    assert torch.equal(erase(features, tau), features * naive_mask(features, tau))


def test_numbers_by_hand():
    # Two channels with the mean (0 2 / 8 10); scaled (0 0.2 / 0.8 1). 0.8 itself is not above tau = 0.8: kept.
    features = torch.tensor([[[[0.0, 1.0], [6.0, 4.0]], [[0.0, 3.0], [10.0, 16.0]]]], dtype=torch.float64)
    assert keep_mask(features, 0.8).tolist() == [[[[1, 1], [1, 0]]]]
    assert keep_mask(features, 0.79).tolist() == [[[[1, 1], [0, 0]]]]
    assert erase(features, 0.1).tolist() == [[[[0, 0], [0, 0]], [[0, 0], [0, 0]]]]  # keeps one place, which is 0


def test_tau_one_keeps_everything_and_tau_zero_only_the_minimum():
    features = torch.randn(64, 3, 5, 4)
    assert keep_mask(features, 1.0).all()
    mean = features.mean(dim=1, keepdim=True)
    assert torch.equal(keep_mask(features, 0.0).bool(), mean == mean.amin(dim=(2, 3), keepdim=True))


def test_a_higher_threshold_keeps_more():
    features = torch.randn(4, 3, 6, 4)
    masks = [keep_mask(features, tau) for tau in (0.0, 0.2, 0.5, 0.8, 1.0)]
    assert all((low <= high).all() for low, high in zip(masks, masks[1:], strict=False))
    assert len({mask.sum().item() for mask in masks}) == len(masks)


@pytest.mark.parametrize("tau", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("value", [-3.0, 0.0, 0.1, 1e30])
def test_a_constant_map_erases_nothing(value, tau):
    features = torch.full((2, 3, 4, 2), value)
    assert torch.equal(erase(features, tau), features)


def test_a_single_place_is_kept():
    assert torch.equal(erase(torch.ones(2, 3, 1, 1)), torch.ones(2, 3, 1, 1))


def test_scale_and_offset_do_not_matter():
    # Min-max scaling takes out a positive factor and an offset: negative maps are maps like any other.
    features = torch.randn(4, 3, 6, 4, dtype=torch.float64)
    assert torch.equal(keep_mask(4 * features - 50), keep_mask(features))
    assert (4 * features - 50).max() < 0


def test_images_do_not_see_each_other():
    features = torch.randn(4, 3, 6, 4)
    features[2] *= 1000
    alone = torch.cat([keep_mask(image[None]) for image in features])
    assert torch.equal(keep_mask(features), alone)


def test_channels_share_one_mask():
    features = torch.randn(4, 3, 6, 4)
    mask = keep_mask(features)
    assert mask.shape == (4, 1, 6, 4) and set(mask.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(erase(features) == 0, (mask == 0).expand_as(features))


def test_gradient_passes_kept_places_only():
    features = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    mask = keep_mask(features)
    assert not mask.requires_grad
    weight = torch.randn_like(features)
    (erase(features) * weight).sum().backward()
    assert torch.equal(features.grad, weight * mask)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype):
    # 300 channels of about 300: their sum, 9e4, has no place in a float16.
    features = (300 + 30 * torch.randn(2, 300, 4, 4)).to(dtype)
    mask = keep_mask(features)
    assert mask.dtype == erase(features).dtype == dtype
    wide = features if dtype == torch.float64 else features.float()
    assert torch.equal(mask, keep_mask(wide).to(dtype))
    assert 0 < mask.mean() < 1


def test_autocast_changes_nothing():
    features = torch.randn(2, 8, 6, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = erase(features)
    assert torch.equal(inside, erase(features))


@pytest.mark.parametrize("tau", [-0.1, 1.1, float("nan")])
def test_bad_threshold(tau):
    with pytest.raises(ValueError, match=r"threshold tau must lie in \[0, 1\]"):
        erase(torch.randn(1, 2, 3, 3), tau)


def test_bad_shape():
    with pytest.raises(ValueError, match=r"expected feature maps \(B, C, h, w\), got \(2, 3\)"):
        keep_mask(torch.randn(2, 3))


def test_the_callers_tensor_is_left_alone():
    features = torch.randn(2, 3, 4, 4)
    before = features.clone()
    erase(features)
    assert torch.equal(features, before)
