"""The projected bottleneck against its equation, and its sizes."""

import pytest
import torch
from torch import nn

from fastreid_ext.msreid.bottleneck import ProjectedBottleneck

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64 on both sides, sums in another order


def random_block(in_channels, out_channels, activation=None):
    block = ProjectedBottleneck(in_channels, out_channels, activation).double().eval()
    for part in block.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.weight, 1, 0.3)
            nn.init.normal_(part.bias, 0, 0.3)
    return block


def folded(convolution, norm):
    """Kernel and bias of a convolution with the batch norm behind it."""
    scale = norm.weight / (norm.running_var + 1e-5).sqrt()
    return convolution.weight * scale[:, None, None, None], (convolution.bias - norm.running_mean) * scale + norm.bias


def places(y, kernel, bias):
    """A padded convolution, one place at a time."""
    size, half = kernel.shape[-1], kernel.shape[-1] // 2
    padded = torch.zeros(*y.shape[:2], y.shape[2] + 2 * half, y.shape[3] + 2 * half, dtype=y.dtype)
    padded[:, :, half : half + y.shape[2], half : half + y.shape[3]] = y
    output = torch.empty(len(y), len(kernel), *y.shape[2:], dtype=y.dtype)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            window = padded[:, :, i : i + size, j : j + size].reshape(len(y), -1)
            output[:, :, i, j] = window @ kernel.reshape(len(kernel), -1).T + bias
    return output


@pytest.mark.parametrize("size", [(4, 2), (5, 3), (1, 1)])
@pytest.mark.parametrize(("out", "activation"), [(6, None), (1, nn.Sigmoid())])
def test_against_the_places(out, activation, size):
    block = random_block(8, out, activation)
    maps = torch.randn(2, 8, *size, dtype=torch.float64)
    with torch.no_grad():
        y = maps
        for first, last in ((0, False), (3, False), (6, True)):
            y = places(y, *folded(block.body[first], block.body[first + 1]))
            y = y if last else y.clamp_min(0)
        y = y + places(maps, *folded(*block.shortcut))
        expected = 1 / (1 + (-y).exp()) if activation else y.clamp_min(0)
        torch.testing.assert_close(block(maps), expected, **EXACT)


def test_gradcheck():
    block = random_block(4, 3, nn.Sigmoid())
    maps = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (maps, *block.parameters()))


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "count"), [(2048, 1, 3_413_510), (2048, 1536, 7_352_320), (1024, 1536, 2_828_800)]
)
def test_parameters(in_channels, out_channels, count):
    """The mask, the global and the local reduction."""
    with torch.device("meta"):
        block = ProjectedBottleneck(in_channels, out_channels)
    assert sum(p.numel() for p in block.parameters()) == count
    inner = [m.out_channels for m in block.body if isinstance(m, nn.Conv2d)]
    assert inner == [in_channels // 4, in_channels // 4, out_channels]


def test_the_map_is_not_written_to():
    maps = torch.randn(2, 8, 4, 2)
    before = maps.clone()
    ProjectedBottleneck(8, 6)(maps)
    assert torch.equal(maps, before)
