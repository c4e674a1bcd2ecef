"""The input-erased branch by itself, on trunks that are no ResNet of FastReID."""

import pytest
import torch
from torch import nn

from fastreid_ext.deepminer import InputErasedBranch


def trunk():
    """Three blocks of another kind of network."""
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.GELU()) for a, b in ((3, 8), (8, 8), (8, 16))
    ).double()


def by_hand(y, threshold):
    """Eq. 1, place by place."""
    erased = y.clone()
    for image in range(len(y)):
        mean = y[image].mean(dim=0)
        for i in range(y.shape[2]):
            for j in range(y.shape[3]):
                if (mean[i, j] - mean.min()) / (mean.max() - mean.min()) > threshold:
                    erased[image, :, i, j] = 0
    return erased


@pytest.mark.parametrize("threshold", [0.3, 0.8, 1.0])
def test_it_erases_and_runs_the_later_blocks(threshold):
    first, second, third = trunk()
    y = first(torch.randn(2, 3, 6, 4, dtype=torch.float64))
    branch = InputErasedBranch([second, third], threshold)
    erased = by_hand(y, threshold)
    assert torch.equal(y * branch.keep_mask(y), erased) and (erased == y).all().item() is (threshold == 1.0)
    assert torch.equal(branch(y), third(second(erased)))


def test_the_copies_are_its_own():
    blocks = trunk()
    before = {name: value.clone() for name, value in blocks.state_dict().items()}
    for given, module in ((blocks[1:], nn.ModuleList), (blocks[2], nn.Sequential), (iter(blocks[1:]), object)):
        assert isinstance(given, module)
        branch = InputErasedBranch(given, 0.8)
        for parameter in branch.parameters():
            parameter.data.add_(1.0)
        assert len(list(branch.parameters())) in (2, 4)
    assert all(torch.equal(value, before[name]) for name, value in blocks.state_dict().items())


def test_the_mask_has_no_gradient_and_the_map_has():
    y = torch.randn(2, 8, 6, 4, dtype=torch.float64, requires_grad=True)
    branch = InputErasedBranch(trunk()[2], 0.5)
    branch(y).sum().backward()
    assert not branch.keep_mask(y).requires_grad
    assert y.grad.any() and all(parameter.grad.any() for parameter in branch.parameters())


@pytest.mark.parametrize("threshold", [-0.1, 1.5])
def test_a_threshold_outside_its_range(threshold):
    with pytest.raises(ValueError, match=r"tau must lie in \[0, 1\], got"):
        InputErasedBranch(nn.Identity(), threshold)
