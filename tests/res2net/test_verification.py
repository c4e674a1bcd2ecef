"""Eq. 3 to 5 against loops in float64, in every precision, and the log odds of all pairs against those of each."""

import math

import pytest
import torch

from fastreid_ext.res2net import PairVerification, verification_loss

D = 12


def reference(first, second, same, weight, bias):
    """(losses, probabilities of "same") of eq. 3 to 5, a pair and a number at a time."""
    losses, probabilities = [], []
    for f1, f2, s in zip(first.tolist(), second.tolist(), same.tolist(), strict=True):
        square = [(x - y) ** 2 for x, y in zip(f1, f2, strict=True)]
        theta = [sum(w * x for w, x in zip(row, square, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
        largest = max(theta)
        total = sum(math.exp(t - largest) for t in theta)
        hat_q = [math.exp(t - largest) / total for t in theta]
        q = [1, 0] if s else [0, 1]  # q_1 = 1 if the images depict the same person
        losses.append(sum(-t * (x - largest - math.log(total)) for t, x in zip(q, theta, strict=True)))
        probabilities.append(hat_q[0])
    return losses, probabilities


def head_of(dim=D, std=0.3):
    """With weights that matter: those of the start give 1/2 for everything."""
    head = PairVerification(dim)
    torch.nn.init.normal_(head.linear.weight, std=std)
    torch.nn.init.normal_(head.linear.bias)
    return head


def pairs(count=7, dim=D, scale=1.0):
    return torch.randn(count, dim) * scale, torch.randn(count, dim) * scale


SAME = {"both": [True, False, False, True, True, False, True], "all same": [True] * 7, "all different": [False] * 7}


@pytest.mark.parametrize("kinds", SAME)
def test_loss_and_probability(kinds):
    """Relative 1e-5 in float32, 1e-12 in float64."""
    head, (first, second), same = head_of(), pairs(), torch.tensor(SAME[kinds])
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        f1, f2, head = first.to(dtype), second.to(dtype), head.to(dtype)
        losses, probabilities = reference(f1, f2, same, head.linear.weight.tolist(), head.linear.bias.tolist())
        loss = verification_loss(head(f1, f2), same)
        assert loss.item() == pytest.approx(sum(losses) / 7, rel=tolerance)
        assert head.probability(f1, f2).tolist() == pytest.approx(probabilities, rel=tolerance)
        assert min(losses) < 0.5 * max(losses)  # the pairs differ


def test_gradients():
    head, (first, second), same = head_of(4).double(), pairs(5, 4), torch.tensor([True, False, True, True, False])
    inputs = (first.double().requires_grad_(), second.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: verification_loss(head(a, b), same), inputs)
    weight, bias = head.linear.weight.detach().clone().requires_grad_(), head.linear.bias.detach()
    square = (inputs[0] - inputs[1]).detach().square()
    assert torch.autograd.gradcheck(lambda w: verification_loss(square @ w.T + bias, same), (weight,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_features_under_autocast(dtype):
    """Squares of 300 leave float16's range (65504) when they are summed: they are computed in float32 all the same.

    Exact: the reference is the same call without autocast, on the same rounded features.
    """
    head, same = head_of(4096, std=1e-3), torch.tensor([True, False] * 4)
    first, second = (x.to(dtype) for x in pairs(8, 4096, scale=300.0))
    assert first.half().square().isinf().any()
    with torch.autocast("cpu", dtype=dtype):
        logits = head(first.requires_grad_(), second)
        loss = verification_loss(logits, same)
    loss.backward()
    assert logits.dtype == loss.dtype == torch.float32 and first.grad.isfinite().all() and first.grad.any()
    assert torch.equal(logits, head(first.detach().float(), second.float()))
    assert torch.equal(loss, verification_loss(logits, same))
    losses, _ = reference(first, second, same, head.linear.weight.tolist(), head.linear.bias.tolist())
    assert loss.item() == pytest.approx(sum(losses) / 8, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_loss_of_rounded_logits_is_float32s(dtype):
    """Exactly, under autocast and without."""
    logits, same = torch.randn(7, 2).to(dtype), torch.tensor(SAME["both"])
    expected = verification_loss(logits.float(), same)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(verification_loss(logits, same), expected)
    assert torch.equal(verification_loss(logits, same), expected) and expected.dtype == torch.float32


def test_equal_descriptors():
    """A distance of 0 leaves the bias alone, and moves nothing but it."""
    head, (first, _) = head_of(), pairs()
    f1, f2 = first.clone().requires_grad_(), first.clone().requires_grad_()
    verification_loss(head(f1, f2), torch.ones(7, dtype=torch.bool)).backward()
    assert not f1.grad.any() and not f2.grad.any() and not head.linear.weight.grad.any()
    assert head.linear.bias.grad.any()
    expected = head.linear.bias.softmax(0)[0].expand(7)
    torch.testing.assert_close(head.probability(first, first), expected)


def test_the_order_of_a_pair_plays_no_role():
    head, (first, second) = head_of(), pairs()
    assert torch.equal(head(first, second), head(second, first))


def test_it_starts_undecided():
    probability = PairVerification(4096).probability(*pairs(32, 4096))
    assert (probability - 0.5).abs().max() < 0.3  # logits differ by N(0, 0.31): four standard deviations


@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_log_odds_of_all_pairs(shift):
    """Within 1e-6, also of descriptors that lie close together and far from 0: squares of 1e6, distances of 1."""
    head, (queries, gallery) = head_of(), (torch.randn(5, D) + shift, torch.randn(9, D) + shift)
    found = head.log_odds(queries, gallery)
    assert found.shape == (5, 9) and found.dtype == torch.float64
    head = head.double()
    for i, query in enumerate(queries.double()):
        logits = head(query.expand(9, D), gallery.double())
        torch.testing.assert_close(found[i], logits[:, 0] - logits[:, 1], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.sigmoid()[:, 2], head.probability(queries.double(), gallery[2:3].double()))


def test_refusals():
    for logits, same in ((torch.zeros(3, 3), 3), (torch.zeros(3, 2), 2), (torch.zeros(0, 2), 0), (torch.zeros(2), 2)):
        with pytest.raises(ValueError, match=r"expected logits \(P, 2\) and same \(P,\) with P > 0"):
            verification_loss(logits, torch.ones(same, dtype=torch.bool))
