"""Eq. 3 and 4 of Deep Miner. Tolerance against the loops: 1e-12 (float64)."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.losses import smoothed_cross_entropy

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def naive(logits, targets, epsilon):
    """Eq. 3 and 4, one number at a time."""
    total = 0.0
    for row, y in zip(logits.tolist(), targets.tolist(), strict=True):
        k = len(row)
        top = max(row)
        log_sum = top + math.log(sum(math.exp(z - top) for z in row))
        for i, z in enumerate(row):
            q = 1 - epsilon * (k - 1) / k if i == y else epsilon / k
            total -= q * (z - log_sum)
    return total / len(logits)


def batch(size=6, classes=5, dtype=torch.float64):
    return 3 * torch.randn(size, classes, dtype=dtype), torch.randint(classes, (size,))


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("classes", [1, 2, 7])
def test_equals_the_equation(epsilon, classes):
    logits, targets = batch(classes=classes)
    expected = torch.tensor(naive(logits, targets, epsilon), dtype=torch.float64)
    torch.testing.assert_close(smoothed_cross_entropy(logits, targets, epsilon), expected, **TIGHT)


def test_numbers_by_hand():
    # K = 2, logits (ln 3, 0): p = (3/4, 1/4). eps = 0.1: q = (1 - 0.1 + 0.05, 0.05) = (0.95, 0.05).
    # -(0.95 ln 0.75 + 0.05 ln 0.25) = 0.95 * 0.2876821 + 0.05 * 1.3862944 = 0.2732980 + 0.0693147 = 0.3426127
    logits = torch.tensor([[math.log(3), 0.0]], dtype=torch.float64)
    assert smoothed_cross_entropy(logits, torch.tensor([0]), 0.1).item() == pytest.approx(0.3426127, abs=1e-7)
    # FastReID's rule, q = (0.9, 0.1), would give 0.9 * 0.2876821 + 0.1 * 1.3862944 = 0.3975433.
    assert smoothed_cross_entropy(logits, torch.tensor([0])).item() != pytest.approx(0.3975433, abs=1e-3)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.9])
def test_equal_logits_cost_log_k(epsilon):
    # p_i = 1/K and the q_i sum to 1, so the loss is log K for every epsilon.
    loss = smoothed_cross_entropy(torch.full((3, 8), 2.5), torch.tensor([0, 3, 7]), epsilon)
    assert loss.item() == pytest.approx(math.log(8), abs=1e-6)


def test_epsilon_zero_is_plain_cross_entropy_with_its_gradient():
    logits, targets = batch()
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, reference = smoothed_cross_entropy(ours, targets, 0.0), F.cross_entropy(plain, targets)
    loss.backward()
    reference.backward()
    torch.testing.assert_close(loss, reference, **TIGHT)
    torch.testing.assert_close(ours.grad, plain.grad, **TIGHT)


def test_gradient_is_p_minus_q():
    logits, targets = batch()
    logits.requires_grad_()
    smoothed_cross_entropy(logits, targets, 0.1).backward()
    q = torch.full_like(logits, 0.1 / 5).scatter_(1, targets[:, None], 1 - 0.1 + 0.1 / 5)
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(1) - q) / len(logits), **TIGHT)


def test_gradcheck():
    logits, targets = batch()
    assert torch.autograd.gradcheck(lambda x: smoothed_cross_entropy(x, targets, 0.1), logits.requires_grad_())


def test_order_of_the_images_and_a_constant_do_not_matter():
    logits, targets = batch()
    loss = smoothed_cross_entropy(logits, targets)
    order = torch.randperm(len(logits))
    torch.testing.assert_close(smoothed_cross_entropy(logits[order], targets[order]), loss, **TIGHT)
    torch.testing.assert_close(smoothed_cross_entropy(logits + 100, targets), loss, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_give_float32(dtype):
    logits, targets = batch(dtype=dtype)
    logits = (1000 * logits).requires_grad_()
    loss = smoothed_cross_entropy(logits, targets)
    assert loss.dtype == torch.float32
    # The half numbers themselves are the input: in float32 they give the same loss exactly.
    assert loss.item() == smoothed_cross_entropy(logits.detach().float(), targets).item()
    loss.backward()
    assert logits.grad.dtype == dtype and logits.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(dtype):
    logits, targets = batch(dtype=torch.float32)
    logits = logits * 1000
    with torch.autocast("cpu", dtype=dtype):
        loss = smoothed_cross_entropy(logits, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == smoothed_cross_entropy(logits, targets).item()


def test_hopeless_logits_stay_finite():
    # The wrong class leads by 1.2e5, so at eps = 0 the loss is 1.2e5; a float16 would be inf (65504 is its last).
    logits = torch.tensor([[-6e4, 6e4]], dtype=torch.float16)
    assert smoothed_cross_entropy(logits, torch.tensor([0]), 0.0).item() == pytest.approx(1.2e5, rel=1e-3)


# ---- several heads (Yan et al., 2021, L_c of eq. 5) ----------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("heads", [1, 2, 5])
def test_heads_are_summed(heads, epsilon):
    logits, targets = 3 * torch.randn(6, heads, 4, dtype=torch.float64), torch.randint(4, (6,))
    expected = sum(naive(logits[:, head], targets, epsilon) for head in range(heads))
    torch.testing.assert_close(smoothed_cross_entropy(logits, targets, epsilon).item(), expected, **TIGHT)
    if heads == 1:
        torch.testing.assert_close(
            smoothed_cross_entropy(logits[:, 0], targets, epsilon), smoothed_cross_entropy(logits, targets, epsilon)
        )


def test_gradients_of_heads_are_their_own():
    logits, targets = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True), torch.randint(4, (6,))
    assert torch.autograd.gradcheck(lambda x: smoothed_cross_entropy(x, targets, 0.1), logits)
    (together,) = torch.autograd.grad(smoothed_cross_entropy(logits, targets), logits)
    for head in range(3):
        alone = logits.detach()[:, head].requires_grad_()
        (gradient,) = torch.autograd.grad(smoothed_cross_entropy(alone, targets), alone)
        torch.testing.assert_close(together[:, head], gradient, **TIGHT)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_heads_give_float32(dtype):
    logits, targets = (1000 * torch.randn(6, 2, 4)).to(dtype), torch.randint(4, (6,))
    with torch.autocast("cpu", dtype=dtype):
        loss = smoothed_cross_entropy(logits, targets)
    assert loss.dtype == torch.float32 and loss.item() == smoothed_cross_entropy(logits.float(), targets).item()


@pytest.mark.parametrize("epsilon", [-0.1, 1.0, float("nan")])
def test_bad_epsilon(epsilon):
    with pytest.raises(ValueError, match=r"epsilon must lie in \[0, 1\)"):
        smoothed_cross_entropy(*batch(), epsilon)


@pytest.mark.parametrize(
    ("shape", "targets"),
    [((0, 5), (0,)), ((4, 5), (3,)), ((4, 5), (4, 1)), ((4,), (4,)), ((4, 2, 5, 1), (4,)), ((4, 2, 5), (4, 2))],
    ids=["empty", "length", "column", "vector", "map", "targets of heads"],
)
def test_bad_shapes(shape, targets):
    with pytest.raises(ValueError, match=r"expected logits \(B, K\) or \(B, H, K\) and targets \(B,\) with B > 0"):
        smoothed_cross_entropy(torch.zeros(shape), torch.zeros(targets, dtype=torch.int64))


def test_the_callers_tensors_are_left_alone():
    logits, targets = batch()
    before = logits.clone(), targets.clone()
    smoothed_cross_entropy(logits, targets)
    assert torch.equal(logits, before[0]) and torch.equal(targets, before[1])
