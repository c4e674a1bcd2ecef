"""Eq. 5 of Deep Miner and the batch-hard margin loss. Tolerance against the loops: 1e-12 (float64)."""

import math

import pytest
import torch

from fastreid_ext.losses import batch_hard_triplet_loss, soft_margin_triplet_loss
from fastreid_ext.losses.triplet import hardest_distances

TIGHT = {"rtol": 1e-12, "atol": 1e-12}
LOSSES = [soft_margin_triplet_loss, batch_hard_triplet_loss]
EIGHT = torch.tensor([2, 0, 1, 0, 2, 1, 1, 0])  # identities with 3, 3 and 2 images, mixed


def distance(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))


def naive(features, targets, penalty):
    """Eq. 5: identity i, its image k, positives l of i, negatives l of j != i; penalty(hardest pos - hardest neg)."""
    people = {}
    for row, y in zip(features.tolist(), targets.tolist(), strict=True):
        people.setdefault(y, []).append(row)
    terms = []
    for i, images in people.items():
        others = [image for j, group in people.items() if j != i for image in group]
        for anchor in images:
            gap = max(distance(anchor, x) for x in images) - min(distance(anchor, x) for x in others)
            terms.append(penalty(gap))
    return torch.tensor(sum(terms) / len(terms), dtype=torch.float64)


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@pytest.mark.parametrize("dim", [1, 2, 16])
def test_soft_margin_equals_the_equation(dim):
    features = torch.randn(8, dim, dtype=torch.float64)
    torch.testing.assert_close(soft_margin_triplet_loss(features, EIGHT), naive(features, EIGHT, softplus), **TIGHT)


@pytest.mark.parametrize("margin", [1e-3, 0.3, 2.0])
def test_batch_hard_equals_its_definition(margin):
    features = torch.randn(8, 4, dtype=torch.float64)
    expected = naive(features, EIGHT, lambda gap: max(0.0, margin + gap))
    torch.testing.assert_close(batch_hard_triplet_loss(features, EIGHT, margin), expected, **TIGHT)


def test_numbers_by_hand():
    # On a line: identity 0 at 0 and 1, identity 1 at 3 and 7.
    #   anchor    0    1    3    7
    #   positive  1    1    4    4
    #   negative  3    2    2    6
    #   gap      -2   -1    2   -2
    features, targets = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([0, 0, 1, 1])
    positive, negative = hardest_distances(features, targets)
    assert positive.tolist() == [1, 1, 4, 4] and negative.tolist() == [3, 2, 2, 6]
    # softplus: 0.126928 + 0.313262 + 2.126928 + 0.126928 = 2.694046; / 4 = 0.6735115
    assert soft_margin_triplet_loss(features, targets).item() == pytest.approx(0.6735115, abs=1e-6)
    # margin 0.3: (0 + 0 + 2.3 + 0) / 4 = 0.575; margin 1.5: (0 + 0.5 + 3.5 + 0) / 4 = 1
    assert batch_hard_triplet_loss(features, targets, 0.3).item() == pytest.approx(0.575, abs=1e-6)
    assert batch_hard_triplet_loss(features, targets, 1.5).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradcheck(loss):
    features = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, EIGHT), features)


@pytest.mark.parametrize("loss", LOSSES)
def test_order_place_and_turn_do_not_matter(loss):
    features = torch.randn(8, 3, dtype=torch.float64)
    expected = loss(features, EIGHT)
    order = torch.randperm(8)
    torch.testing.assert_close(loss(features[order], EIGHT[order]), expected, **TIGHT)
    torch.testing.assert_close(loss(features, 10 - EIGHT), expected, **TIGHT)  # only equality of identities counts
    # Moved by 100 a float64 keeps 14 digits of a difference of order 1: 1e-10.
    torch.testing.assert_close(loss(features + 100, EIGHT), expected, rtol=1e-10, atol=1e-10)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    torch.testing.assert_close(loss(features @ turn, EIGHT), expected, **TIGHT)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_moves_no_common_point(loss):
    # The loss reads differences only, so the gradients of a batch sum to zero.
    features = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    loss(features, EIGHT).backward()
    assert features.grad.abs().max() > 1e-3
    torch.testing.assert_close(features.grad.sum(0), torch.zeros(3, dtype=torch.float64), **TIGHT)


def test_large_margin_is_the_mean_gap():
    # No term is cut, so loss - margin = mean(positive - negative).
    features = torch.randn(8, 4, dtype=torch.float64)
    positive, negative = hardest_distances(features, EIGHT)
    loss = batch_hard_triplet_loss(features, EIGHT, 1000.0)
    torch.testing.assert_close(loss - 1000, (positive - negative).mean(), rtol=1e-10, atol=1e-10)


def test_well_separated_identities_cost_nothing():
    # Identities 1000 apart, their images within 0.1: every gap is below -999.
    features = torch.tensor([[0.0], [0.1], [1000.0], [1000.1]], requires_grad=True)
    targets = torch.tensor([0, 0, 1, 1])
    hard, soft = batch_hard_triplet_loss(features, targets), soft_margin_triplet_loss(features, targets)
    assert hard.item() == 0 and soft.item() == 0  # exp(-999) is below the smallest float32
    hard.backward()
    assert not features.grad.any()


def test_softplus_does_not_overflow():
    # Mixed up: the gap is 1000 - 1 = 999 for every anchor, where log1p(exp(x)) is inf.
    features = torch.tensor([[0.0], [1000.0], [1.0], [1001.0]])
    assert soft_margin_triplet_loss(features, torch.tensor([0, 0, 1, 1])).item() == pytest.approx(999, abs=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_duplicate_images(loss):
    # Rows 1 and 3 show identity 0, row 5 identity 1: a positive and a negative distance are zero.
    features = torch.randn(8, 3)
    features[3] = features[5] = features[1]
    features.requires_grad_()
    value = loss(features, EIGHT)
    value.backward()
    assert value.isfinite() and features.grad.isfinite().all() and features.grad.any()


def test_collapsed_features():
    # All distances 0: softplus(0) = ln 2, and the margin is paid in full; nothing pulls in any direction.
    features = torch.ones(8, 3, requires_grad=True)
    soft, hard = soft_margin_triplet_loss(features, EIGHT), batch_hard_triplet_loss(features, EIGHT, 0.3)
    (soft + hard).backward()
    assert soft.item() == pytest.approx(math.log(2), abs=1e-6) and hard.item() == pytest.approx(0.3, abs=1e-6)
    assert not features.grad.any()


def test_small_distances_of_long_features():
    # Features of norm 1000 * sqrt(16) that differ by 0.25, 0.5 in one place, exact in float32. The form
    # |x|^2 + |y|^2 - 2xy has a rounding error of 16e6 * 2^-24 = 1 there and would be useless.
    features = torch.full((4, 16), 1000.0)
    features[:, 0] += torch.tensor([0.0, 0.25, 0.5, 1.25])
    positive, negative = hardest_distances(features, torch.tensor([0, 0, 1, 1]))
    assert positive.tolist() == [0.25, 0.25, 0.75, 0.75] and negative.tolist() == [0.5, 0.25, 0.25, 1.0]


def test_identity_with_one_image():
    # Its only positive is itself, at distance 0: gap = 0 - 2.
    features, targets = torch.tensor([[0.0], [2.0], [3.0]]), torch.tensor([0, 1, 1])
    positive, negative = hardest_distances(features, targets)
    assert positive.tolist() == [0, 1, 1] and negative.tolist() == [2, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_inputs_give_float32(loss, dtype):
    # Norm 1e3: the squared distances, 1e6, have no place in a float16.
    features = torch.nn.functional.normalize(torch.randn(8, 32)).mul(1e3).to(dtype).requires_grad_()
    value = loss(features, EIGHT)
    assert value.dtype == torch.float32 and value.isfinite()
    assert value.item() == loss(features.detach().float(), EIGHT).item()
    value.backward()
    assert features.grad.dtype == dtype and features.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_autocast_changes_nothing(loss, dtype):
    features = 1e3 * torch.nn.functional.normalize(torch.randn(8, 32))
    with torch.autocast("cpu", dtype=dtype):
        value = loss(features, EIGHT)
    assert value.dtype == torch.float32 and value.item() == loss(features, EIGHT).item()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [4, 1, 0])
def test_one_identity(loss, size):
    with pytest.raises(ValueError, match=f"at least two identities, but all {size} images.*NUM_INSTANCE"):
        loss(torch.randn(size, 3), torch.zeros(size, dtype=torch.int64))


@pytest.mark.parametrize("margin", [0.0, -0.3, float("nan")])
def test_bad_margin(margin):
    with pytest.raises(ValueError, match="margin must be positive"):
        batch_hard_triplet_loss(torch.randn(8, 3), EIGHT, margin)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(7, 3), (8,), (8, 3, 1)])
def test_bad_shapes(loss, shape):
    with pytest.raises(ValueError, match=r"expected features \(B, D\) and targets \(B,\)"):
        loss(torch.randn(shape), EIGHT)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_callers_tensors_are_left_alone(loss):
    features, targets = torch.randn(8, 3), EIGHT.clone()
    before = features.clone()
    loss(features, targets)
    assert torch.equal(features, before) and torch.equal(targets, EIGHT)
