"""Eq. 2 of Yan et al., 2021, in its printed order, against the layer that pools first. Tolerance: 1e-10 (float64)."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fastreid_ext.layers import ReconstructivePooling

EXACT = {"rtol": 1e-10, "atol": 1e-10}
HALF_TYPES = [torch.float16, torch.bfloat16]


def softmax(values):
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def weights_of(layer):
    """W_m (C,) and W_v (C, C) as NumPy float64."""
    return layer.mask.weight.detach().double().numpy()[0, :, 0, 0], layer.value.weight.detach().double().numpy()


def reference(layer, maps):
    """(W_v F) s(W_m F)^T: the value of every place first, then their weighted sum, one number at a time."""
    w_m, w_v = weights_of(layer)
    pooled = []
    for image in maps.detach().double().numpy():
        f = image.reshape(image.shape[0], -1)  # F, (c, wh)
        weights = softmax([sum(w * x for w, x in zip(w_m, place, strict=True)) for place in f.T])
        values = w_v @ f  # (c, wh)
        pooled.append([sum(v * s for v, s in zip(row, weights, strict=True)) for row in values])
    return torch.tensor(np.array(pooled))


def random_layer(channels, std=0.7):
    layer = ReconstructivePooling(channels).double()
    nn.init.normal_(layer.mask.weight, std=std)  # large enough for a softmax that is far from flat
    return layer


@pytest.mark.parametrize("size", [(4, 2), (5, 3), (7, 1), (1, 9), (1, 1)])
def test_against_loops_in_the_printed_order(size):
    layer, maps = random_layer(6), torch.randn(3, 6, *size, dtype=torch.float64)
    output = layer(maps)
    assert output.shape == (3, 6)
    torch.testing.assert_close(output, reference(layer, maps), **EXACT)


def test_the_mask_weighs_places_and_not_channels():
    """W_m reads channel 0, which is 50 at one place alone: that place is what is pooled, e^-50 apart."""
    layer = random_layer(3)
    layer.mask.weight.data.zero_()
    layer.mask.weight.data[0, 0] = 1.0
    maps = torch.randn(1, 3, 2, 2, dtype=torch.float64)
    maps[0, 0] = 0.0
    maps[0, 0, 1, 0] = 50.0
    torch.testing.assert_close(layer(maps)[0], layer.value.weight @ maps[0, :, 1, 0], **EXACT)


def test_a_flat_mask_is_the_average_and_a_constant_map_needs_no_mask():
    layer, maps = random_layer(6), torch.randn(2, 6, 3, 5, dtype=torch.float64)
    f = torch.randn(2, 6, dtype=torch.float64)
    constant = f[:, :, None, None].expand(2, 6, 3, 5)
    torch.testing.assert_close(layer(constant), f @ layer.value.weight.T, **EXACT)
    nn.init.zeros_(layer.mask.weight)
    torch.testing.assert_close(layer(maps), maps.mean(dim=(2, 3)) @ layer.value.weight.T, **EXACT)


def test_places_may_be_exchanged_and_images_do_not_mix():
    layer, maps = random_layer(6), torch.randn(3, 6, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(layer(maps.flip(2, 3)), layer(maps), **EXACT)
    torch.testing.assert_close(layer(maps[1:2]), layer(maps)[1:2], **EXACT)


def test_gradcheck():
    layer = random_layer(4)
    maps = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (maps, *layer.parameters()))


def test_both_weights_learn():
    layer, maps = ReconstructivePooling(8), torch.randn(4, 8, 4, 2)
    layer(maps).square().sum().backward()
    assert {name for name, _ in layer.named_parameters()} == {"mask.weight", "value.weight"}
    assert all(p.grad.isfinite().all() and p.grad.any() for p in layer.parameters())


def test_at_the_start_the_mask_is_nearly_flat_and_the_length_is_kept():
    """W_v keeps the variance of its input (fan-in): mean squares within 20 % at c = 1024 and 32 images."""
    layer, maps = ReconstructivePooling(1024), torch.randn(32, 1024, 1, 1)
    output = layer(maps).square().mean() / maps.square().mean()
    assert 0.8 < output.item() < 1.2
    assert layer.mask.weight.std().item() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize("channels", [1024, 2048])
@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_half_types(dtype, channels, all_drawn):
    """The same rounded numbers in float64: a logit, the pooled vector and the sum of W_v are each rounded once."""
    layer = ReconstructivePooling(channels).to(dtype)
    maps = (torch.randn(2, channels, 4, 2) * 100).to(dtype).requires_grad_()
    output = layer(maps)
    assert output.dtype == dtype and output.isfinite().all()
    w_m, w_v = weights_of(layer)
    f = maps.detach().double().flatten(2)
    # Logits are of order 0.01 * 100 * sqrt(c) = 45: those that the layer has itself, rounded to its type
    logits = layer.mask(maps.detach()).double().flatten(2)
    torch.testing.assert_close(logits[:, 0], torch.tensor(w_m) @ f, rtol=0, atol=200 * torch.finfo(dtype).eps)
    expected = (logits.softmax(2) * f).sum(2) @ torch.tensor(w_v).T
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=600 * torch.finfo(dtype).eps)
    output.float().square().mean().backward()
    assert maps.grad.isfinite().all() and all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_softmax_and_sum_are_float32(dtype, autocast):
    """What W_v reads is the float64 result rounded once, though terms of both signs cancel; half weights would not do.

    Tolerance: one rounding, half an eps, and 2e-6 for float32 sums of terms of order 1.
    """
    layer = ReconstructivePooling(64)
    nn.init.normal_(layer.mask.weight, std=0.2)
    maps = torch.randn(4, 64, 3, 2).to(dtype)
    layer = layer if autocast else layer.to(dtype)
    seen = []
    layer.value.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        layer(maps)
        logits = layer.mask(maps).double().flatten(2)
    expected = (logits.softmax(2) * maps.double().flatten(2)).sum(2)
    torch.testing.assert_close(seen[0].double(), expected, rtol=0.51 * torch.finfo(dtype).eps, atol=2e-6)


def test_the_maps_are_left_alone():
    layer, maps = ReconstructivePooling(6), torch.randn(2, 6, 4, 2)
    before = maps.clone()
    layer(maps)
    assert torch.equal(maps, before)


@pytest.mark.parametrize("shape", [(2, 6), (2, 5, 4, 2), (6, 4, 2), (2, 6, 4, 2, 1)])
def test_bad_shapes(shape):
    with pytest.raises(ValueError, match=r"expected feature maps \(B, 6, h, w\), got "):
        ReconstructivePooling(6)(torch.zeros(shape))
