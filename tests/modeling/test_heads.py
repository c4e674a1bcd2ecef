"""BNNeck: what is read before it and what behind. Tolerance: 1e-10 (float64)."""

import math

import pytest
import torch

from fastreid_ext.modeling.heads import BNNeckHead

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
TARGETS = torch.tensor([0, 2, 4, 2])


def make(**settings):
    return BNNeckHead(in_dim=6, num_classes=5, **settings).double()


def pooled():
    return torch.randn(4, 6, dtype=torch.float64)


def batch_normalised(x, eps):
    return (x - x.mean(dim=0)) / (x.var(dim=0, unbiased=False) + eps).sqrt()


def test_feature_neck_and_logits():
    head, x = make(scale=3.0), pooled()
    output = head(x, TARGETS)
    assert set(output) == {"feature", "neck", "logits"}
    assert torch.equal(output["feature"], x)
    neck = batch_normalised(x, head.bnneck.eps)  # weight 1, bias 0 at the start
    torch.testing.assert_close(output["neck"], neck, **TIGHT)
    torch.testing.assert_close(output["logits"], 3 * neck @ head.weight.T, **TIGHT)


def test_no_logits_without_targets():
    assert set(make()(pooled())) == {"feature", "neck"}


def test_eval_uses_the_running_statistics():
    head, x = make(), pooled()
    head.bnneck.running_mean.fill_(2.0)
    head.bnneck.running_var.fill_(4.0)
    torch.testing.assert_close(head.eval()(x)["neck"], (x - 2) / math.sqrt(4 + head.bnneck.eps), **TIGHT)


def test_the_linear_layer_comes_before_the_feature():
    head, x = make(embedding_dim=3), pooled()
    output = head(x, TARGETS)
    assert head.dim == 3 and head.weight.shape == (5, 3)
    feature = x @ head.reduce.weight[:, :, 0, 0].T
    torch.testing.assert_close(output["feature"], feature, **TIGHT)
    torch.testing.assert_close(output["neck"], batch_normalised(feature, head.bnneck.eps), **TIGHT)


def test_bnneck_has_no_bias_to_learn():
    head = make()
    assert not head.bnneck.bias.requires_grad and not head.bnneck.bias.any()
    assert {name for name, p in head.named_parameters() if p.requires_grad} == {"weight", "bnneck.weight"}


def cosines(head, neck):
    """Cosine of every feature with every class, one number at a time."""
    rows = []
    for x in neck.tolist():
        length = math.sqrt(sum(v * v for v in x))
        rows.append([])
        for w in head.weight.tolist():
            dot = sum(a * b for a, b in zip(x, w, strict=True))
            rows[-1].append(dot / length / math.sqrt(sum(v * v for v in w)))
    return rows


@pytest.mark.parametrize(
    ("cls_layer", "with_margin"),
    [("CosSoftmax", lambda c: c - 0.2), ("ArcSoftmax", lambda c: math.cos(math.acos(c) + 0.2))],
)
def test_cosine_layers(cls_layer, with_margin):
    head = make(cls_layer=cls_layer, scale=8.0, margin=0.2)
    output = head(pooled(), TARGETS)
    expected = cosines(head, output["neck"].detach())
    for row, target in zip(expected, TARGETS.tolist(), strict=True):
        row[target] = with_margin(row[target])
    torch.testing.assert_close(output["logits"], 8 * torch.tensor(expected, dtype=torch.float64), **TIGHT)


@pytest.mark.parametrize("cls_layer", ["Linear", "CosSoftmax", "ArcSoftmax", "CircleSoftmax"])
def test_every_layer_trains(cls_layer):
    head, x = make(cls_layer=cls_layer, scale=8.0, margin=0.2, embedding_dim=3), pooled().requires_grad_()
    before = x.detach().clone()
    torch.nn.functional.cross_entropy(head(x, TARGETS)["logits"], TARGETS).backward()
    for name, parameter in head.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 1e-8, name
    assert x.grad.isfinite().all() and torch.equal(x.detach(), before)


@pytest.mark.parametrize("cls_layer", ["CosSoftmax", "ArcSoftmax", "CircleSoftmax"])
def test_cosines_are_float32_under_autocast(cls_layer):
    head = BNNeckHead(6, 5, cls_layer=cls_layer, scale=64.0, margin=0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(pooled().float(), TARGETS)["logits"]
    assert logits.dtype == torch.float32 and logits.isfinite().all()


def test_one_image():
    head = make()
    with pytest.raises(ValueError, match="at least two images in a training batch, got one"):
        head(pooled()[:1], TARGETS[:1])
    assert head.eval()(pooled()[:1])["neck"].shape == (1, 6)


def test_unknown_layer():
    with pytest.raises(ValueError, match="CLS_LAYER must be one of .*'CosSoftmax'.* got 'Identity'"):
        make(cls_layer="Identity")
