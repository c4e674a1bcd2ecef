"""Soft attention against figure 3 written out with loops."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fastreid_ext.layers import SoftAttention

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64 on both sides, sums in another order
SIZES = [(4, 2), (7, 5), (1, 1), (5, 1), (1, 4), (3, 2)]


def weights_of(module):
    return {key: value.numpy() for key, value in module.state_dict().items() if "num_batches" not in key}


def batch_norm(y, weights, name):
    """(C, h, w) with the running statistics."""
    mean, variance, scale, shift = (
        weights[f"{name}.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (y - mean) / np.sqrt(variance + 1e-5) * scale + shift


def pointwise(y, kernel):
    """A 1x1 convolution without bias: (C, h, w), (D, C, 1, 1) -> (D, h, w)."""
    return np.einsum("dc,chw->dhw", kernel[:, :, 0, 0], y)


def three_by_three(y, kernel, stride):
    """A padded 3x3 convolution of one channel: (1, h, w) -> (1, ceil(h / stride), ceil(w / stride))."""
    _, h, w = y.shape
    padded = np.zeros((h + 2, w + 2))
    padded[1:-1, 1:-1] = y[0]
    rows, columns = range(0, h, stride), range(0, w, stride)
    return np.array([[[(padded[i : i + 3, j : j + 3] * kernel[0, 0]).sum() for j in columns] for i in rows]])


def enlarge(y, size):
    """Bilinear with the corners of both maps on each other: (1, h, w) -> (1, *size)."""

    def places(old, new):
        for i in range(new):
            place = i * (old - 1) / (new - 1) if new > 1 else 0.0
            low = min(int(math.floor(place)), old - 1)
            yield low, min(low + 1, old - 1), place - low

    output = np.zeros((1, *size))
    for i, (top, bottom, v) in enumerate(places(y.shape[1], size[0])):
        for j, (left, right, u) in enumerate(places(y.shape[2], size[1])):
            upper = (1 - u) * y[0, top, left] + u * y[0, top, right]
            lower = (1 - u) * y[0, bottom, left] + u * y[0, bottom, right]
            output[0, i, j] = (1 - v) * upper + v * lower
    return output


def relu(y):
    return np.maximum(y, 0)


def reference(module, maps):
    w = weights_of(module)
    output = []
    for x in maps.numpy():
        spatial = pointwise(x, w["weigh.weight"])
        spatial = relu(batch_norm(three_by_three(spatial, w["shrink.0.weight"], 2), w, "shrink.1"))
        spatial = enlarge(spatial, x.shape[1:])
        spatial = relu(batch_norm(three_by_three(spatial, w["refine.0.weight"], 1), w, "refine.1"))
        channel = x.reshape(len(x), -1).mean(axis=1)[:, None, None]
        channel = relu(batch_norm(pointwise(channel, w["squeeze.0.weight"]), w, "squeeze.1"))
        channel = relu(batch_norm(pointwise(channel, w["excite.0.weight"]), w, "excite.1"))
        y = batch_norm(pointwise(spatial * channel, w["combine.0.weight"]), w, "combine.1")
        output.append(x / (1 + np.exp(-y)))
    return np.array(output)


def random_block(channels=16, reduction=4):
    """Evaluation mode, float64, with batch norms that do something and few dead ReLUs."""
    module = SoftAttention(channels, reduction).double().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.weight, 1, 0.3)
            nn.init.normal_(part.bias, 4.0 if part.num_features == 1 else 0.5, 0.3)
        elif isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, std=1 / math.sqrt(part.in_channels))
            if part.in_channels == 1:
                part.weight.data.abs_()  # a negative one silences the whole spatial part of a 1 x 1 map
    return module


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("reduction", [1, 4])
def test_against_loops(reduction, size):
    module = random_block(reduction=reduction)
    maps = torch.randn(2, 16, *size, dtype=torch.float64)
    with torch.no_grad():
        output = module(maps)
        assert module.spatial(maps).any() and module.channel(maps).any()  # or half of the block would go unseen
    torch.testing.assert_close(output.numpy(), reference(module, maps), **EXACT)


@pytest.mark.parametrize("size", [(3, 2), (1, 1)])
def test_gradcheck(size):
    module = random_block(8, 4)
    maps = torch.randn(2, 8, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: module(x), (maps, *module.parameters()))


# C^2 of the combination, C^2/8 of the squeeze and the excitation, C of the weighing, 2 * 9 of the two convolutions
# of one channel; two numbers a channel of every batch norm: 2 (1 + 1 + C/16 + C + C)
@pytest.mark.parametrize(("channels", "count"), [(256, 75_062), (512, 297_558), (1024, 1_184_918), (2048, 4_729_110)])
def test_parameters_of_every_stage(channels, count):
    with torch.device("meta"):
        module = SoftAttention(channels)
    by_hand = channels**2 + channels**2 // 8 + channels + 18 + 2 * (2 + channels // 16 + 2 * channels)
    assert sum(p.numel() for p in module.parameters()) == count == by_hand
    assert not [name for name, p in module.named_parameters() if name.endswith("0.bias")]  # no convolution has one


def test_attention_of_zero_is_a_half():
    """Nothing reaches the sigmoid: it is 1/2 everywhere."""
    module = random_block()
    nn.init.zeros_(module.combine[1].weight)
    nn.init.zeros_(module.combine[1].bias)
    maps = torch.randn(2, 16, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(module(maps), maps / 2, **EXACT)


def test_images_do_not_mix_in_evaluation():
    module = random_block()
    maps = torch.randn(3, 16, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(module(maps)[1:2], module(maps[1:2]), **EXACT)


def test_the_map_is_not_written_to():
    maps = torch.randn(2, 16, 4, 2)
    before = maps.clone()
    SoftAttention(16)(maps)
    assert torch.equal(maps, before)


def test_training_moves_every_weight():
    module = SoftAttention(16).train()
    (module(torch.randn(4, 16, 5, 3)) * torch.randn(4, 16, 5, 3)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_one_image_in_training():
    module = SoftAttention(16)
    with pytest.raises(ValueError, match="soft attention needs at least two images in a training batch, got one"):
        module(torch.zeros(1, 16, 4, 2))
    assert module.eval()(torch.zeros(1, 16, 4, 2)).shape == (1, 16, 4, 2)
    module.train()(torch.randn(2, 16, 1, 1))  # two images of one place each are enough


@pytest.mark.parametrize("reduction", [0, 3, 32])
def test_reduction_must_divide(reduction):
    with pytest.raises(ValueError, match=f"a reduction that divides its 16 channels, got {reduction}"):
        SoftAttention(16, reduction)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype):
    """A dozen roundings behind each other before the sigmoid, hence a dozen resolutions of the type."""
    module, maps = random_block(32).float(), torch.randn(2, 32, 7, 5)
    expected = module(maps)
    half = module.to(dtype)(maps.to(dtype))
    assert half.dtype == dtype
    tolerance = 12 * torch.finfo(dtype).eps
    torch.testing.assert_close(half.float(), expected, rtol=tolerance, atol=tolerance)
    assert module.train()(1000 * maps.to(dtype)).isfinite().all()  # the batch norms hold the product small


@pytest.mark.parametrize("training", [True, False])
def test_autocast(training):
    module, maps = SoftAttention(32).train(training), torch.randn(4, 32, 7, 5, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = module(maps)
    torch.testing.assert_close(output.float(), module(maps), rtol=0.05, atol=0.1)  # bfloat16 has 8 bits
    output.float().square().mean().backward()
    assert maps.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in module.parameters())
