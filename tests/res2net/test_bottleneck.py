"""The Res2Net module against a reference that goes split by split, written from the paper."""

import math

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling.backbones.resnet import Bottleneck
from torch import nn

from fastreid_ext.res2net import Res2NetBottleneck

EXACT = {"rtol": 1e-10, "atol": 1e-12}  # float64, another order of sums


def normalised(x, bn, training):
    if training:
        mean = x.mean(dim=(0, 2, 3))
        var = ((x - mean[None, :, None, None]) ** 2).mean(dim=(0, 2, 3))
    else:
        mean, var = bn.running_mean, bn.running_var
    mean, var, weight, bias = (v[None, :, None, None] for v in (mean, var, bn.weight, bn.bias))
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def average_of_nine(x, stride):
    """Mean of 3 x 3 places, those beyond the edge counted as zeros."""
    padded = F.pad(x, (1, 1, 1, 1))
    return padded.unfold(2, 3, stride).unfold(3, 3, stride).mean(dim=(-1, -2))


def reference(block, x, *, planes, width, scale, stride=1, first=False, training=False):
    """Gao et al., eq. 1, with the split that has no convolution at the end."""
    w = math.floor(planes * width / 64)
    hidden = normalised(F.conv2d(x, block.conv1.weight), block.bn1, training).clamp(min=0)
    assert hidden.shape[1] == w * scale
    y = []
    for i in range(scale):
        split = hidden[:, i * w : (i + 1) * w]
        if scale > 1 and i == scale - 1:
            y.append(average_of_nine(split, stride) if first else split)
            continue
        if i > 0 and not first:
            split = split + y[i - 1]
        convolved = F.conv2d(split, block.convs[i].weight, stride=stride, padding=1)
        y.append(normalised(convolved, block.bns[i], training).clamp(min=0))
    out = normalised(F.conv2d(torch.cat(y, dim=1), block.conv3.weight), block.bn3, training)
    shortcut = x
    if block.downsample is not None:
        shortcut = normalised(F.conv2d(x, block.downsample[0].weight, stride=stride), block.downsample[1], training)
    return (out + shortcut).clamp(min=0)


def shake_norms(module):
    """Batch norms that do something, with statistics of some data."""
    for bn in module.modules():
        if isinstance(bn, nn.BatchNorm2d):
            nn.init.uniform_(bn.weight, 0.5, 1.5)
            nn.init.normal_(bn.bias, std=0.3)
            nn.init.normal_(bn.running_mean, std=0.3)
            nn.init.uniform_(bn.running_var, 0.5, 2.0)
    return module


def make(in_channels, *, planes, width, scale, stride=1, first=False):
    shortcut = nn.Sequential(nn.Conv2d(in_channels, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes))
    settings = {"width": width, "scale": scale, "first": first}
    block = Res2NetBottleneck(in_channels, planes, stride, shortcut if first else None, **settings)
    return shake_norms(block).double()


# (width, scale): of 16 planes 6 of 6.5 channels, 3 of 3.5, 12, 16 and 4 of 4.5
KINDS = [(26, 4), (14, 8), (48, 2), (64, 1), (18, 3)]
PLACES = {"normal": (64, 1, False), "first, stride 1": (24, 1, True), "first, stride 2": (24, 2, True)}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("width", "scale"), KINDS)
def test_output_and_gradients_are_the_references(width, scale, place, training):
    in_channels, stride, first = PLACES[place]
    settings = {"planes": 16, "width": width, "scale": scale, "stride": stride, "first": first}
    block = make(in_channels, **settings).train(training)
    x = torch.randn(3, in_channels, 7, 5, dtype=torch.float64, requires_grad=True)  # odd: strides leave a rest
    expected = reference(block, x, **settings, training=training)
    found = block(x)
    assert found.shape == (3, 64, math.ceil(7 / stride), math.ceil(5 / stride))
    torch.testing.assert_close(found, expected, **EXACT)
    weights = torch.randn_like(found)
    inputs = {"x": x, **dict(block.named_parameters())}
    ours, theirs = (torch.autograd.grad((y * weights).sum(), list(inputs.values())) for y in (found, expected))
    for name, a, b in zip(inputs, ours, theirs, strict=True):
        assert b.any(), name
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize(("in_channels", "stride", "first"), PLACES.values(), ids=PLACES)
def test_one_split_is_fastreids_bottleneck(in_channels, stride, first):
    """w = 64, s = 1: the same weights give the same numbers, exactly."""
    block = make(in_channels, planes=16, width=64, scale=1, stride=stride, first=first).float()
    plain = Bottleneck(in_channels, 16, "BN", stride=stride, downsample=block.downsample)
    names = {"convs.0": "conv2", "bns.0": "bn2"}
    state = {}
    for key, value in block.state_dict().items():
        state[next((key.replace(a, b) for a, b in names.items() if key.startswith(a)), key)] = value
    plain.load_state_dict(state)  # strict: every weight has its place
    x = torch.randn(2, in_channels, 8, 4)
    for training in (True, False):
        with torch.no_grad():
            assert torch.equal(block.train(training)(x), plain.train(training)(x))


def test_refusals():
    with pytest.raises(ValueError, match="a scale of 1 or more and splits of 1 channel or more; got scale 0"):
        Res2NetBottleneck(64, 16, scale=0)
    with pytest.raises(ValueError, match="width 3 gives 0 of 16"):
        Res2NetBottleneck(64, 16, width=3)
    with pytest.raises(ValueError, match="only the first block of a stage shrinks the map, and this one has stride 2"):
        Res2NetBottleneck(64, 16, stride=2)


def test_the_following_block():
    """As the stage's second block: same kind and names, no stride and shortcut layers, and its own weights."""
    block = make(24, planes=16, width=14, scale=8, stride=2, first=True)
    following = block.following("syncBN").eval()
    second = make(64, planes=16, width=14, scale=8)
    assert {k: v.shape for k, v in following.named_parameters()} == {k: v.shape for k, v in second.named_parameters()}
    assert isinstance(following.bn1, nn.SyncBatchNorm) and following.downsample is None and not following.first
    x = torch.randn(2, 64, 6, 4)
    assert following(x).shape == x.shape
