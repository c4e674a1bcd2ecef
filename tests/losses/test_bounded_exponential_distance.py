"""The BED loss against eq. 3 written out in loops, and what the paper says of it."""

import math

import numpy as np
import pytest
import torch

from fastreid_ext.losses import bounded_exponential_distance_loss as bed_loss

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 on both sides


def reference(features, targets, alpha, normalize, reduction):
    """Eq. 3 over ordered pairs i != j, one pair at a time."""
    x = np.array(features, dtype=np.float64)
    if normalize:
        x = np.stack([row / math.sqrt(sum(value**2 for value in row)) for row in x])
    n = len(x)
    attraction, repulsion, hard_attraction, hard_repulsion = [], [], [], []
    for i in range(n):
        positives, negatives = [], []
        for j in range(n):
            if i == j:
                continue
            distance = math.sqrt(sum((a - b) ** 2 for a, b in zip(x[i], x[j], strict=True)))
            if targets[i] == targets[j]:
                positives.append(1 - math.exp(-alpha * distance))
            else:
                negatives.append(math.exp(-alpha * distance))
        attraction += positives
        repulsion += negatives
        hard_attraction += [max(positives)] if positives else []
        hard_repulsion += [max(negatives)] if negatives else []
    if reduction == "mean":
        return np.mean(attraction + repulsion)
    if reduction == "balanced":
        return np.mean(attraction) + np.mean(repulsion)
    return np.mean(hard_attraction) + np.mean(hard_repulsion)


def batch(seed=0, dim=5):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])  # unequal groups, and one image alone
    return torch.randn(8, dim, generator=generator, dtype=torch.float64), targets


@pytest.mark.parametrize("reduction", ["balanced", "mean", "hard"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("alpha", [0.05, 0.3, 4.0])
def test_against_loops(alpha, normalize, reduction):
    features, targets = batch()
    loss = bed_loss(features, targets, alpha, normalize=normalize, reduction=reduction)
    expected = reference(features.tolist(), targets.tolist(), alpha, normalize, reduction)
    torch.testing.assert_close(loss.item(), float(expected), **EXACT)


@pytest.mark.parametrize("reduction", ["balanced", "mean", "hard"])
@pytest.mark.parametrize("normalize", [True, False])
def test_gradcheck(normalize, reduction):
    features, targets = batch()
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: bed_loss(x, targets, 0.7, normalize, reduction), (features,))


def test_by_hand():
    """Two pairs at distance 3 and 4 (raw): persons (a, b) at (0, 0), (3, 0) and (0, 4), (3, 4)."""
    features = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0], [3.0, 4.0]], dtype=torch.float64)
    targets = torch.tensor([0, 0, 1, 1])
    e = math.exp
    positives, negatives = 1 - e(-0.3 * 3), (e(-0.3 * 4) + e(-0.3 * 5)) / 2
    torch.testing.assert_close(bed_loss(features, targets, 0.3, False).item(), positives + negatives, **EXACT)
    hard = bed_loss(features, targets, 0.3, False, "hard").item()
    torch.testing.assert_close(hard, positives + e(-0.3 * 4), **EXACT)
    mean = bed_loss(features, targets, 0.3, False, "mean").item()  # 4 positive and 8 negative ordered pairs
    torch.testing.assert_close(mean, (4 * positives + 8 * negatives) / 12, **EXACT)


def test_limits_of_eq_4():
    """Far apart, a positive pair costs 1 and a negative one 0; at distance 0 it is the other way round."""
    targets = torch.tensor([0, 0, 1, 1])
    far = torch.eye(4, dtype=torch.float64) * 1e6
    assert bed_loss(far, targets, 0.3, normalize=False).item() == 1.0
    near = torch.zeros(4, 4, dtype=torch.float64)
    assert bed_loss(near, targets, 0.3, normalize=False).item() == 1.0
    best = torch.tensor([[0.0], [0.0], [1e6], [1e6]], dtype=torch.float64)
    assert bed_loss(best, targets, 0.3, normalize=False).item() == 0.0
    worst = torch.tensor([[0.0], [1e6], [0.0], [1e6]], dtype=torch.float64)
    assert bed_loss(worst, targets, 0.3, normalize=False, reduction="hard").item() == 2.0


def test_order_and_length_do_not_matter():
    features, targets = batch()
    order = torch.randperm(8)
    loss = bed_loss(features, targets, 0.3)
    torch.testing.assert_close(bed_loss(features[order], targets[order], 0.3), loss, **EXACT)
    lengths = torch.rand(8, 1, dtype=torch.float64) + 0.5
    torch.testing.assert_close(bed_loss(features * lengths, targets, 0.3), loss, **EXACT)
    assert not torch.isclose(bed_loss(features * 3, targets, 0.3, normalize=False), loss)


@pytest.mark.parametrize("reduction", ["balanced", "mean", "hard"])
@pytest.mark.parametrize("normalize", [True, False])
def test_equal_and_zero_features_have_a_finite_gradient(normalize, reduction):
    for features in (torch.ones(4, 3), torch.zeros(4, 3), torch.tensor([[0.0], [0.0], [1.0], [1.0]])):
        features = features.clone().requires_grad_()
        loss = bed_loss(features, torch.tensor([0, 0, 1, 1]), 0.3, normalize, reduction)
        loss.backward()
        assert loss.isfinite() and features.grad.isfinite().all()
        assert features.grad.abs().max() < 10


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype):
    """At 2048 values of order 100 a squared length is 2e7, past float16's range."""
    features = (torch.randn(8, 2048) * 100).to(dtype).requires_grad_()
    targets = torch.arange(4).repeat_interleave(2)
    for normalize in (True, False):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = bed_loss(features, targets, 0.3, normalize)
        assert loss.dtype == torch.float32
        # One rounding of the same numbers: float32 against float64
        torch.testing.assert_close(
            loss.double(), bed_loss(features.double(), targets, 0.3, normalize), rtol=1e-5, atol=0
        )
        (gradient,) = torch.autograd.grad(loss, features)
        assert gradient.isfinite().all()


def test_the_features_are_left_alone():
    features, targets = batch()
    before = features.clone()
    bed_loss(features, targets, 0.3)
    assert torch.equal(features, before)


@pytest.mark.parametrize("reduction", ["balanced", "mean", "hard"])
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 1, 2, 3], "no two images of one identity in this batch of 4"),
        ([5, 5, 5, 5], "no images of two identities in this batch of 4.*DATALOADER.NUM_INSTANCE"),
        ([7], "no two images of one identity in this batch of 1"),
        ([], "no two images of one identity in this batch of 0"),
    ],
)
def test_a_batch_without_pairs_is_an_error(targets, message, reduction):
    with pytest.raises(ValueError, match=message):
        bed_loss(torch.randn(len(targets), 3), torch.tensor(targets, dtype=torch.long), 0.3, True, reduction)


@pytest.mark.parametrize("alpha", [0.0, -0.3, math.nan, math.inf])
def test_alpha_must_be_positive(alpha):
    with pytest.raises(ValueError, match="alpha of the BED loss must be positive and finite"):
        bed_loss(torch.randn(4, 3), torch.tensor([0, 0, 1, 1]), alpha)


def test_unknown_reduction_and_shapes():
    with pytest.raises(ValueError, match=r"must be one of \('balanced', 'mean', 'hard'\), got 'sum'"):
        bed_loss(torch.randn(4, 3), torch.tensor([0, 0, 1, 1]), 0.3, reduction="sum")
    with pytest.raises(ValueError, match=r"expected features \(B, D\) and targets \(B,\)"):
        bed_loss(torch.randn(4, 3), torch.tensor([0, 0, 1]), 0.3)
    with pytest.raises(ValueError, match=r"expected features \(B, D\) and targets \(B,\)"):
        bed_loss(torch.randn(4, 3, 1), torch.tensor([0, 0, 1, 1]), 0.3)
