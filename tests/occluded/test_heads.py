"""The multi-head classifier against its formula, one head, image and identity at a time. Tolerance: 1e-12 (float64)."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.losses import smoothed_cross_entropy
from fastreid_ext.occluded.multi_head import MultiHeadBNNeckHead, multi_head_logits

TIGHT = {"rtol": 1e-12, "atol": 1e-12}
B, D, K = 5, 12, 4
TARGETS = torch.tensor([0, 2, 3, 2, 1])


def reference(features, weight, heads=2, scale=16.0, gamma=1 / 32):
    """Tang et al., 2020: both vectors cut in H parts; (scale / H) x^T w / ((|w| + gamma) |x|)."""
    size = features.shape[1] // heads
    logits = torch.zeros(len(features), heads, len(weight), dtype=torch.float64)
    for b, x in enumerate(features.tolist()):
        for k, w in enumerate(weight.tolist()):
            for h in range(heads):
                x_h, w_h = x[h * size : (h + 1) * size], w[h * size : (h + 1) * size]
                length_x, length_w = (math.sqrt(sum(v * v for v in part)) for part in (x_h, w_h))
                dot = sum(p * q for p, q in zip(x_h, w_h, strict=True))
                logits[b, h, k] = scale / heads * dot / ((length_w + gamma) * length_x)
    return logits


def inputs():
    return 3 * torch.randn(B, D, dtype=torch.float64), 0.1 * torch.randn(K, D, dtype=torch.float64)


@pytest.mark.parametrize(
    "settings", [{}, {"scale": 3.0}, {"gamma": 0.0}, {"gamma": 2.0}, {"scale": 30.0, "gamma": 0.5}]
)
@pytest.mark.parametrize("heads", [1, 2, 3, 12])
def test_against_loops(heads, settings):
    x, w = inputs()
    logits = multi_head_logits(x, w, heads, **settings)
    assert logits.shape == (B, heads, K)
    torch.testing.assert_close(logits, reference(x, w, heads, **settings), **TIGHT)


def test_by_hand():
    """H = 2 of length 1: x = (2, -3) is (1, -1) per head; w = (0.5, 2), gamma 0.5: 0.5 and 0.8; times 16 / 2."""
    logits = multi_head_logits(torch.tensor([[2.0, -3.0]]).double(), torch.tensor([[0.5, 2.0]]).double(), 2, 16.0, 0.5)
    torch.testing.assert_close(logits, torch.tensor([[[4.0], [-6.4]]], dtype=torch.float64), **TIGHT)


def test_limits():
    x, w = inputs()
    one = multi_head_logits(x, w, heads=1, gamma=0.0)
    torch.testing.assert_close(one[:, 0], 16 * F.normalize(x) @ F.normalize(w).T, **TIGHT)  # cosines
    torch.testing.assert_close(multi_head_logits(7 * x, w), multi_head_logits(x, w), **TIGHT)  # length is no matter
    lengths = torch.tensor([0.5, 3.0], dtype=torch.float64).repeat_interleave(D // 2)
    torch.testing.assert_close(multi_head_logits(lengths * x, w), multi_head_logits(x, w), **TIGHT)  # of any part
    assert multi_head_logits(x, 1e9 * w).abs().max() <= 8.0  # scale / H bounds a head, scale all of them
    large, small = (multi_head_logits(x, factor * w).abs() for factor in (1.0, 0.01))
    assert (small < large).all()  # a small weight answers less


def test_gradcheck():
    x, w = inputs()
    assert torch.autograd.gradcheck(multi_head_logits, (x.requires_grad_(), w.requires_grad_()))


def test_zero_features_and_zero_weights():
    x, w = torch.zeros(2, D, requires_grad=True), torch.zeros(K, D, requires_grad=True)
    logits = multi_head_logits(x, w)
    assert not logits.any()
    smoothed_cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert x.grad.isfinite().all() and w.grad.isfinite().all()
    half = torch.cat([torch.zeros(2, D // 2), torch.ones(2, D // 2)], dim=1).requires_grad_()
    logits = multi_head_logits(half, torch.ones(K, D))
    assert not logits[:, 0].any() and (logits[:, 1] > 0).all()
    (gradient,) = torch.autograd.grad(logits.sum(), half)
    assert gradient.isfinite().all() and gradient.abs().max() < 100


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype, autocast):
    """1024 values of order 200: a squared length of 4e7 is past float16. Tolerance: float32 against float64."""
    x, w = (torch.randn(4, 2048) * 200).to(dtype), (torch.randn(3, 2048) * 0.01).to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        logits = multi_head_logits(x, w)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), multi_head_logits(x.double(), w.double()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [0, -1, 5, 24])
def test_heads_that_do_not_divide(heads):
    with pytest.raises(ValueError, match=f"a classifier of {heads} heads needs a feature length .* got 12"):
        multi_head_logits(*inputs(), heads)
    with pytest.raises(ValueError, match=rf"{heads} heads \(MODEL.OCCLUDED.CLASSIFIER.HEADS\) needs .* got 12"):
        MultiHeadBNNeckHead(D, K, heads=heads)


# ---- the head -----------------------------------------------------------------------------------------------------


def make(**settings):
    return MultiHeadBNNeckHead(D, K, **settings).double()


def pooled():
    return torch.randn(B, D, dtype=torch.float64)


def test_the_classifier_reads_the_neck():
    head, x = make(scale=9.0, gamma=0.1, heads=3), pooled()
    output = head(x, TARGETS)
    neck = (x - x.mean(dim=0)) / (x.var(dim=0, unbiased=False) + head.bnneck.eps).sqrt()
    torch.testing.assert_close(output["neck"], neck, rtol=1e-10, atol=1e-10)
    assert torch.equal(output["feature"], x)
    torch.testing.assert_close(output["logits"], reference(output["neck"], head.weight, 3, 9.0, 0.1), **TIGHT)
    assert set(head(x)) == {"feature", "neck"}


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_losses_of_both_modes(epsilon):
    """per_head: L_c = sum over h of E(Y, Y_h); summed: one cross entropy on the sum of the heads' logits."""
    per_head, summed, x = make(), make(mode="summed"), pooled()
    summed.load_state_dict(per_head.state_dict())
    outputs = [head(x, TARGETS)["logits"] for head in (per_head, summed)]
    assert [o.shape for o in outputs] == [(B, 2, K), (B, K)]
    torch.testing.assert_close(outputs[1], outputs[0][:, 0] + outputs[0][:, 1], **TIGHT)
    entropy = lambda z: F.cross_entropy(z, TARGETS, label_smoothing=epsilon)  # noqa: E731
    expected = entropy(outputs[0][:, 0]) + entropy(outputs[0][:, 1])
    torch.testing.assert_close(smoothed_cross_entropy(outputs[0], TARGETS, epsilon), expected, **TIGHT)
    torch.testing.assert_close(smoothed_cross_entropy(outputs[1], TARGETS, epsilon), entropy(outputs[1]), **TIGHT)


@pytest.mark.parametrize("mode", ["per_head", "summed"])
def test_it_trains(mode):
    head, x = make(mode=mode, embedding_dim=6), pooled().requires_grad_()
    assert head.weight.shape == (K, 6)
    smoothed_cross_entropy(head(x, TARGETS)["logits"], TARGETS).backward()
    for name, parameter in head.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 1e-8, name
    assert x.grad.isfinite().all()


def test_names_are_those_of_every_head():
    """Checkpoints, and the rule of what a test feature does not need, know the parameters by name."""
    assert {name for name, _ in make().named_parameters()} == {"weight", "bnneck.weight", "bnneck.bias"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "both"}, r"must be one of \('per_head', 'summed'\), got 'both'"),
        ({"scale": 0.0}, "needs scale > 0 and gamma > 0, got 0.0 and 0.03125"),
        ({"scale": math.nan}, "needs scale > 0 and gamma > 0, got nan"),
        ({"gamma": -0.1}, "needs scale > 0 and gamma > 0, got 16.0 and -0.1"),
        ({"gamma": math.nan}, "needs scale > 0 and gamma > 0, got 16.0 and nan"),
        ({"embedding_dim": 5}, "divide, got 5"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)
