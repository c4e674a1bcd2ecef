"""The DNL block against eq. 1 written out place by place."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fastreid_ext.layers import DisentangledNonLocal2d

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64 on both sides, sums in another order


def softmax(values):
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def reference(block, maps, temperature=1.0):
    """Eq. 1: one place, one image at a time."""
    weights = {
        name: p.detach().numpy()[:, :, 0, 0] for name, p in ((n.split(".")[0], p) for n, p in block.named_parameters())
    }
    output = np.array(maps)
    for b, image in enumerate(np.array(maps)):
        places = image.reshape(image.shape[0], -1).T  # (N, C)
        q, k, v = ([weights[name] @ f for f in places] for name in ("query", "key", "value"))
        mean_q, mean_k = sum(q) / len(q), sum(k) / len(k)
        unary = softmax([float(weights["mask"][0] @ f) for f in places])
        for i in range(len(places)):
            pairwise = softmax([float((q[i] - mean_q) @ (k_j - mean_k)) / temperature for k_j in k])
            y = sum((pairwise[j] + unary[j]) * v[j] for j in range(len(places)))
            y = weights["project"] @ y if "project" in weights else y
            output[b].reshape(image.shape[0], -1)[:, i] += y
    return output


def random_block(channels, reduction, temperature=1.0):
    block = DisentangledNonLocal2d(channels, reduction, temperature).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.7)  # large enough for softmaxes that are far from flat
    return block


@pytest.mark.parametrize("size", [(3, 2), (1, 1), (5, 1)])
@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_against_loops(reduction, size):
    block = random_block(8, reduction)
    maps = torch.randn(2, 8, *size, dtype=torch.float64)
    torch.testing.assert_close(block(maps).detach().numpy(), reference(block, maps.numpy()), **EXACT)


@pytest.mark.parametrize("temperature", [0.05, 3.0])
def test_temperature(temperature):
    """It divides the pairwise term alone."""
    block = random_block(8, 2, temperature)
    maps = torch.randn(2, 8, 3, 2, dtype=torch.float64) / 4
    expected = reference(block, maps.numpy(), temperature)
    torch.testing.assert_close(block(maps).detach().numpy(), expected, **EXACT)
    assert np.abs(expected - reference(block, maps.numpy())).max() > 1e-3
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="a temperature above 0"):
            DisentangledNonLocal2d(8, temperature=bad)


@pytest.mark.parametrize("reduction", [1, 2])
def test_gradcheck(reduction):
    block = random_block(4, reduction)
    maps = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    parameters = tuple(block.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: block(x), (maps, *parameters))


@pytest.mark.parametrize("reduction", [1, 2])
def test_it_starts_as_the_identity_and_learns(reduction):
    block = DisentangledNonLocal2d(8, reduction)
    maps = torch.randn(2, 8, 4, 2)
    assert torch.equal(block(maps), maps)
    optimizer = torch.optim.SGD(block.parameters(), lr=1.0)
    before = {name: p.detach().clone() for name, p in block.named_parameters()}
    for _ in range(2):  # the zero hides the rest in the first step
        optimizer.zero_grad()
        (block(maps) * torch.arange(64).view(1, 8, 4, 2)).sum().backward()
        optimizer.step()
    assert all(not torch.equal(p, before[name]) for name, p in block.named_parameters())


def test_constant_maps_give_the_mean_twice():
    """All places alike: both softmaxes are flat, so y = f + 2 W_o W_v f."""
    block = random_block(8, 2)
    f = torch.randn(8, dtype=torch.float64)
    expected = f + 2 * block.project.weight[:, :, 0, 0] @ (block.value.weight[:, :, 0, 0] @ f)
    output = block(f.view(1, 8, 1, 1).expand(1, 8, 4, 3))
    torch.testing.assert_close(output, expected.view(1, 8, 1, 1).expand(1, 8, 4, 3), **EXACT)


def test_images_do_not_mix():
    block = random_block(8, 2)
    maps = torch.randn(3, 8, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(block(maps)[1:2], block(maps[1:2]), **EXACT)


def test_places_may_be_exchanged():
    block = random_block(8, 2)
    maps = torch.randn(1, 8, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(block(maps.flip(2, 3)), block(maps).flip(2, 3), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_affinities_are_float32_at_1024_channels(dtype):
    """q^T k of 1024 channels of order 100 is 1e7, past float16; the softmaxes stay those of float32."""
    block = DisentangledNonLocal2d(1024, 1)
    nn.init.eye_(block.query.weight[:, :, 0, 0])
    nn.init.eye_(block.key.weight[:, :, 0, 0])
    nn.init.eye_(block.value.weight[:, :, 0, 0])
    maps = torch.randn(2, 1024, 4, 2) * 100
    half = maps.to(dtype).requires_grad_()
    with torch.no_grad():
        expected = block(half.float())
    output = block.to(dtype)(half)
    assert output.dtype == dtype
    resolution = torch.finfo(dtype).eps
    torch.testing.assert_close(output.float(), expected, rtol=4 * resolution, atol=4 * resolution * 100)
    output.float().square().mean().backward()
    assert half.grad.isfinite().all()


def test_autocast():
    block = DisentangledNonLocal2d(16)
    nn.init.normal_(block.project.weight)
    maps = torch.randn(2, 16, 4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = block(maps)
    torch.testing.assert_close(output.float(), block(maps), rtol=0.05, atol=0.05)  # bfloat16 has 8 bits


@pytest.mark.parametrize("reduction", [0, 3, 16])
def test_reduction_must_divide(reduction):
    with pytest.raises(ValueError, match=f"reduction that divides its 8 channels, got {reduction}"):
        DisentangledNonLocal2d(8, reduction)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"expected feature maps \(B, 8, h, w\), got \(2, 4, 3, 3\)"):
        DisentangledNonLocal2d(8)(torch.zeros(2, 4, 3, 3))
