"""Section 3.4 of Deep Miner against explicit loops. Tolerance: 1e-10 (float64)."""

import math

import pytest
import torch

from fastreid_ext.deepminer.attention import ChannelAttention, SpatialAttention, build_attention

TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def spatial(channels=16, gamma=0.7, reduction=8):
    sam = SpatialAttention(channels, reduction).double()
    torch.nn.init.constant_(sam.gamma, gamma)
    torch.nn.init.normal_(sam.norm.weight)
    torch.nn.init.normal_(sam.norm.bias)
    return sam


def convolve(conv, vector):
    """A 1x1 convolution of one place: a list of C numbers."""
    weight = conv.weight[:, :, 0, 0].tolist()
    bias = [0.0] * len(weight) if conv.bias is None else conv.bias.tolist()
    return [sum(w * v for w, v in zip(row, vector, strict=True)) + b for row, b in zip(weight, bias, strict=True)]


def softmax(values):
    top = max(values)
    exps = [math.exp(v - top) for v in values]
    return [e / sum(exps) for e in exps]


def naive_spatial(sam, y):
    """output[p] = gamma * BN(sum_q F[p, q] Y[q]) + Y[p], F[p] = softmax over q of A[p] . B[q]; batch statistics."""
    places = y.flatten(2).transpose(1, 2).tolist()  # B x D x C
    mixed = []
    for image in places:
        a, b = [convolve(sam.query, v) for v in image], [convolve(sam.key, v) for v in image]
        rows = []
        for p in range(len(image)):
            f = softmax([sum(s * t for s, t in zip(a[p], b[q], strict=True)) for q in range(len(image))])
            rows.append([sum(f[q] * image[q][c] for q in range(len(image))) for c in range(y.shape[1])])
        mixed.append(rows)
    out = []
    for image, rows in zip(places, mixed, strict=True):
        out.append([list(row) for row in image])
        for c in range(y.shape[1]):
            column = [row[c] for every in mixed for row in every]
            mean = sum(column) / len(column)
            var = sum((v - mean) ** 2 for v in column) / len(column)
            for p, row in enumerate(rows):
                normal = (row[c] - mean) / math.sqrt(var + sam.norm.eps)
                out[-1][p][c] += sam.gamma.item() * (normal * sam.norm.weight[c].item() + sam.norm.bias[c].item())
    return torch.tensor(out, dtype=torch.float64).transpose(1, 2).view_as(y)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (3, 5), (1, 7)])
def test_sam_equals_the_loop(height, width):
    sam, y = spatial(), torch.randn(2, 16, height, width, dtype=torch.float64)
    torch.testing.assert_close(sam(y), naive_spatial(sam, y), **TIGHT)


def test_sam_softmax_runs_over_the_places_that_are_read():
    # One channel, two places Y = (0, 1), A = 1 (no weight, bias 1), B = Y ln 3, no normalisation (eval, eps aside):
    # A_p . B_q = (0, ln 3) for both p, F[p] = (1/4, 3/4), so both places become 3/4.
    sam = spatial(channels=1, gamma=1.0).eval()
    for parameter, value in [
        (sam.query.weight, 0.0),
        (sam.query.bias, 1.0),
        (sam.key.weight, math.log(3)),
        (sam.norm.weight, math.sqrt(1 + sam.norm.eps)),
        (sam.norm.bias, 0.0),
    ]:
        torch.nn.init.constant_(parameter, value)
    y = torch.tensor([[[[0.0, 1.0]]]], dtype=torch.float64)
    torch.testing.assert_close(sam(y), y + 0.75, **TIGHT)


def test_sam_starts_as_the_identity():
    sam, y = SpatialAttention(16), torch.randn(2, 16, 4, 3)
    assert sam.gamma.item() == 0 and torch.equal(sam(y), y)


def test_sam_gamma_learns_from_zero():
    sam, y = SpatialAttention(16), torch.randn(2, 16, 4, 3)
    (sam(y) * torch.randn_like(y)).sum().backward()
    assert sam.gamma.grad.abs().item() > 1e-3


def test_sam_gradcheck():
    sam = spatial(channels=8)
    y = torch.randn(2, 8, 2, 3, dtype=torch.float64, requires_grad=True)
    sam.norm.momentum = 0.0  # every call sees the same module
    assert torch.autograd.gradcheck(sam, y)


def test_sam_moves_with_the_places():
    # No place is special: a permutation of the places permutes the output.
    sam, y, order = spatial(), torch.randn(2, 16, 3, 4, dtype=torch.float64), torch.randperm(12)
    shuffled = y.flatten(2)[..., order].view_as(y)
    torch.testing.assert_close(sam(shuffled), sam(y).flatten(2)[..., order].view_as(y), **TIGHT)


def test_sam_images_do_not_see_each_other():
    sam, y = spatial().eval(), torch.randn(3, 16, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(sam(y), torch.cat([sam(image[None]) for image in y]), **TIGHT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sam_affinity_is_float32_under_autocast(dtype):
    """Two places, A = (s, 1) at both, B = (s, 0) and (s, 1): affinities s^2 and s^2 + 1, F = (0.269, 0.731).

    s = 64 gives 4096 and 4097: a bfloat16 (spacing 32) or a float16 (spacing 4) would make them equal and F
    (0.5, 0.5). Y's first channel is 0 at place 0 and 1 at place 1, so both places read 0.731 there.
    """
    s = 64.0
    sam = SpatialAttention(16).eval()
    torch.nn.init.ones_(sam.gamma)
    for conv in (sam.query, sam.key):
        torch.nn.init.zeros_(conv.weight)
    sam.query.bias.data = torch.tensor([s, 1.0])
    sam.key.weight.data[0, 1], sam.key.weight.data[1, 0] = s, 1.0
    y = torch.zeros(1, 16, 1, 2)
    y[0, 0, 0, 1] = 1.0
    y[0, 1] = 1.0  # B's first channel is s at both places
    with torch.autocast("cpu", dtype=dtype):
        out = sam(y)
    # Afterwards the mixing itself is done in dtype: 2^-8 relative, 0.003
    expected = y[0, 0] + 1 / (1 + math.exp(-1))
    torch.testing.assert_close(out[0, 0].float(), expected, rtol=0, atol=0.006)


def test_sam_huge_affinity_does_not_overflow():
    # 400 * 400 = 1.6e5 has no place in a float16.
    sam = SpatialAttention(16)
    for conv in (sam.query, sam.key):
        torch.nn.init.constant_(conv.weight, 25.0)
    torch.nn.init.ones_(sam.gamma)
    with torch.autocast("cpu", dtype=torch.float16):
        assert sam(1 + 0.01 * torch.randn(2, 16, 3, 2)).isfinite().all()


def channel(activation="softmax", rescale=True, channels=32):
    return ChannelAttention(channels, 16, activation, rescale).double()


def naive_channel(cham, y, activation, rescale):
    """Weights of every place and channel, one number at a time, times Y."""
    images, channels, height, width = y.shape
    out = torch.empty_like(y)
    for i in range(images):
        scores = {}
        for r in range(height):
            for s in range(width):
                hidden = [max(0.0, v) for v in convolve(cham.squeeze, y[i, :, r, s].tolist())]
                scores[r, s] = convolve(cham.excite, hidden)
        places = list(scores)
        for c in range(channels):
            over_places = dict(zip(places, softmax([scores[p][c] for p in places]), strict=True))
            for r, s in places:
                if activation == "sigmoid":
                    weight = 1 / (1 + math.exp(-scores[r, s][c]))
                elif activation == "softmax":
                    weight = softmax(scores[r, s])[c] * (channels if rescale else 1)
                else:
                    weight = over_places[r, s] * (len(places) if rescale else 1)
                out[i, c, r, s] = weight * y[i, c, r, s]
    return out


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "softmax_spatial"])
def test_cham_equals_the_loop(activation, rescale):
    cham, y = channel(activation, rescale), torch.randn(2, 32, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(cham(y), naive_channel(cham, y, activation, rescale), **TIGHT)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize(("activation", "dims"), [("softmax", (1,)), ("softmax_spatial", (2, 3))])
def test_cham_mean_weight(activation, dims, rescale):
    # On a map of ones the output is the weights: their mean over the axis of the softmax is 1, their sum unscaled.
    cham = channel(activation, rescale)
    torch.nn.init.normal_(cham.excite.bias)
    out = cham(torch.ones(2, 32, 3, 5, dtype=torch.float64))
    total = out.mean(dim=dims) if rescale else out.sum(dim=dims)
    torch.testing.assert_close(total, torch.ones_like(total), **TIGHT)


def test_cham_without_weights_is_the_identity():
    # Equal scores: a softmax over C channels is 1/C everywhere, times C is 1.
    cham, y = channel(), torch.randn(2, 32, 3, 5, dtype=torch.float64)
    torch.nn.init.zeros_(cham.excite.weight)
    torch.nn.init.zeros_(cham.excite.bias)
    torch.testing.assert_close(cham(y), y, **TIGHT)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "softmax_spatial"])
def test_cham_gradcheck(activation):
    cham = channel(activation, channels=16)
    assert torch.autograd.gradcheck(cham, torch.randn(2, 16, 2, 2, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "softmax_spatial"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cham_half(dtype, activation):
    cham = ChannelAttention(32, activation=activation).to(dtype)
    y = (100 * torch.randn(2, 32, 3, 2)).to(dtype)
    out = cham(y)
    assert out.dtype == dtype and out.isfinite().all()


def test_cham_unknown_activation():
    with pytest.raises(ValueError, match="must be one of.*softmax_spatial.*got 'relu'"):
        ChannelAttention(32, activation="relu")


@pytest.mark.parametrize("module", [SpatialAttention, ChannelAttention])
@pytest.mark.parametrize("channels", [1, 4, 20])
def test_few_and_odd_channels(module, channels):
    # C / reduction is at least 1 and rounded down.
    attention, y = module(channels), torch.randn(2, channels, 5, 3)
    assert attention(y).shape == y.shape
    inner = attention.query if module is SpatialAttention else attention.squeeze
    assert inner.out_channels == max(channels // (8 if module is SpatialAttention else 16), 1)


@pytest.mark.parametrize("module", [SpatialAttention, ChannelAttention])
def test_the_callers_tensor_is_left_alone(module):
    y = torch.randn(2, 16, 3, 2)
    before = y.clone()
    module(16)(y)
    assert torch.equal(y, before)


def test_cham_follows_sam():
    both = build_attention(32, {"reduction": 8}, {"reduction": 16, "activation": "sigmoid"})
    assert [type(module) for module in both] == [SpatialAttention, ChannelAttention]
    y = torch.randn(2, 32, 3, 2)
    torch.nn.init.ones_(both[0].gamma)
    torch.testing.assert_close(both(y), both[1](both[0](y)), rtol=0, atol=0)
    assert [type(module) for module in build_attention(32, None, {})] == [ChannelAttention]
    assert [type(module) for module in build_attention(32, {}, None)] == [SpatialAttention]
