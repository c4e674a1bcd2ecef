"""The supervised contrastive loss against eq. 2 of Khosla et al. written out in loops."""

import math

import pytest
import torch

from fastreid_ext.errors import ConfigError
from fastreid_ext.losses import supervised_contrastive_loss as supcon

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 on both sides


def reference(features, targets, temperature):
    """Eq. 2, L_out, one image and one positive at a time; the mean over images that have a positive."""
    z = [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in features]

    def share(i, p):
        weight = {a: math.exp(sum(x * y for x, y in zip(z[i], z[a], strict=True)) / temperature) for a in range(len(z))}
        return weight[p] / sum(value for a, value in weight.items() if a != i)

    losses = []
    for i in range(len(z)):
        positives = [p for p in range(len(z)) if p != i and targets[p] == targets[i]]
        if positives:
            losses.append(-sum(math.log(share(i, p)) for p in positives) / len(positives))
    return sum(losses) / len(losses)


def batch(seed=0, dim=5):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])  # unequal groups, and one image alone
    return torch.randn(8, dim, generator=generator, dtype=torch.float64), targets


@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0, 20.0])
def test_against_loops(temperature):
    features, targets = batch()
    loss = supcon(features, targets, temperature)
    torch.testing.assert_close(loss.item(), reference(features.tolist(), targets.tolist(), temperature), **EXACT)


def test_gradcheck():
    features, targets = batch()
    assert torch.autograd.gradcheck(lambda x: supcon(x, targets), features.requires_grad_())


def test_length_and_order_of_features_do_not_count():
    features, targets = batch()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    lengths = torch.linspace(0.1, 30, 8, dtype=torch.float64)[:, None]
    moved = supcon((features * lengths)[order], targets[order])
    torch.testing.assert_close(moved, supcon(features, targets), **EXACT)


def test_people_apart_cost_nothing_and_equal_features_the_logarithm_of_the_others():
    apart = torch.eye(3, dtype=torch.float64).repeat_interleave(2, dim=0)
    pairs = torch.tensor([0, 0, 1, 1, 2, 2])
    torch.testing.assert_close(supcon(apart, pairs, 0.01).item(), 0.0, rtol=0, atol=1e-12)
    torch.testing.assert_close(supcon(torch.ones(6, 3, dtype=torch.float64), pairs).item(), math.log(5), **EXACT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype):
    features, targets = batch()
    half = features.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = supcon(half, targets, 0.01)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, supcon(half.detach().float(), targets, 0.01), rtol=0, atol=0)
    loss.backward()
    assert half.grad.isfinite().all()


def test_zero_features_have_a_finite_gradient():
    features = torch.zeros(4, 3, requires_grad=True)
    supcon(features, torch.tensor([0, 0, 1, 1])).backward()
    assert features.grad.isfinite().all()


def test_bad_input_is_an_error():
    features, targets = batch()
    for temperature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConfigError, match="temperature of the supervised contrastive loss"):
            supcon(features, targets, temperature)
    with pytest.raises(ConfigError, match="no two in this batch of 8"):
        supcon(features, torch.arange(8))
    with pytest.raises(ValueError, match="expected features"):
        supcon(features, targets[:4])


@pytest.mark.parametrize("size", [1e20, 1e37, 1e-20, 1e-30])
def test_features_whose_squares_leave_float32(size):
    features, targets = batch()
    usual, huge = features.float().requires_grad_(), (features * size).float().requires_grad_()
    loss = supcon(huge, targets)
    torch.testing.assert_close(loss, supcon(usual, targets), rtol=1e-5, atol=0)
    loss.backward()
    supcon(usual, targets).backward()
    torch.testing.assert_close(huge.grad.double() * size, usual.grad.double(), rtol=1e-3, atol=1e-5)
