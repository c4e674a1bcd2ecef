"""The whole backbone: timm's numbers and names, the published sizes, what the config can and can't ask for."""

import math

import pytest
import shapes
import timm
import torch
from fastreid.layers.batch_norm import FrozenBatchNorm
from fastreid.modeling.backbones import build_backbone
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.key_tracking import check_all_read, track
from fastreid_ext.modeling.trunk import check_trunk, stage_channels
from fastreid_ext.res2net import Res2Net, Res2NetBottleneck

SMALL = (2, 1, 1, 1)  # blocks of the stages; layer1 has a hierarchy


def config(**overrides):
    cfg = get_cfg()
    settings = {"NAME": "build_res2net_backbone", "DEPTH": "26x", **overrides}
    cfg.merge_from_list([x for key, v in settings.items() for x in (f"MODEL.BACKBONE.{key.replace('__', '.')}", v)])
    return cfg


def shape(**overrides):
    with shapes.OnMeta():
        return build_backbone(config(**overrides))


def shake_norms(module):
    """Random batch norms with the statistics of some images, so that the last maps depend on all that lies before.

    timm starts the last batch norm of every block at 0.
    """
    norms = [bn for bn in module.modules() if isinstance(bn, nn.BatchNorm2d)]
    for bn in norms:
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        nn.init.normal_(bn.bias, std=0.3)
        bn.momentum = 1.0  # the statistics of the next batch
    with torch.no_grad():
        module.train()(torch.randn(8, 3, 64, 32))
    for bn in norms:
        bn.momentum = 0.1
    return module


# name at timm -> our settings
TIMM = {
    "res2net50_26w_4s": {},
    "res2net50_48w_2s": {"RES2NET__WIDTH": 48, "RES2NET__SCALE": 2},
    "res2net50_14w_8s": {"RES2NET__WIDTH": 14, "RES2NET__SCALE": 8},
    "res2net50_26w_6s": {"RES2NET__SCALE": 6},
    "res2net50_26w_8s": {"RES2NET__SCALE": 8},
    "res2net101_26w_4s": {"DEPTH": "101x"},
    "res2net50d": {"RES2NET__V1B": True},
    "res2net101d": {"RES2NET__V1B": True, "DEPTH": "101x"},
}


@pytest.mark.parametrize("name", TIMM)
def test_names_and_shapes_are_timms(name):
    with shapes.OnMeta():
        theirs = timm.create_model(name).state_dict()
    ours = shape(**{"DEPTH": "50x", **TIMM[name]}).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items() if not k.startswith("fc.")}


@pytest.mark.parametrize("name", ["res2net50_26w_4s", "res2net50d"])
def test_last_maps_are_timms(name):
    """The same weights; largest difference 1e-5 of the largest value, in float32, images with odd sizes too."""
    theirs = shake_norms(timm.create_model(name)).eval()
    ours = build_backbone(config(**{"DEPTH": "50x", "LAST_STRIDE": 2, **TIMM[name]})).eval()
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing and set(unexpected) == {"fc.weight", "fc.bias"}
    for size in ((64, 32), (75, 41)):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected, found = theirs.forward_features(images), ours(images)
        assert found.shape == (2, 2048, math.ceil(size[0] / 32), math.ceil(size[1] / 32))
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
        assert (found[0] - found[1]).abs().max() > 0.1 * expected.abs().max()  # it depends on the image


# (depth, width, scale, v1b) -> millions of parameters with 1000 classes, from the table of the authors' README
PUBLISHED_MILLIONS = {
    ("50x", 48, 2, False): 25.29,
    ("50x", 26, 4, False): 25.70,
    ("50x", 14, 8, False): 25.06,
    ("50x", 26, 6, False): 37.05,
    ("50x", 26, 8, False): 48.40,
    ("101x", 26, 4, False): 45.21,
    ("50x", 26, 4, True): 25.72,
    ("101x", 26, 4, True): 45.23,
}


def count(blocks, width, scale, v1b):
    """Weights of a Res2Net by hand: C_in C_out k^2 of a convolution, 2 C of a batch norm."""
    stem = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32) if v1b else 49 * 3 * 64
    total, before = stem + 2 * 64, 64
    for stage, n in enumerate(blocks):
        planes = 64 * 2**stage
        w = math.floor(planes * width / 64)
        out, splits = 4 * planes, max(1, scale - 1)
        for block in range(n):
            total += before * w * scale + 2 * w * scale  # 1x1
            total += splits * (9 * w * w + 2 * w)  # 3x3 of all splits but the last
            total += w * scale * out + 2 * out  # 1x1
            total += before * out + 2 * out if block == 0 else 0  # shortcut
            before = out
    return total


@pytest.mark.parametrize(("depth", "width", "scale", "v1b"), PUBLISHED_MILLIONS)
def test_number_of_parameters(depth, width, scale, v1b):
    backbone = shape(DEPTH=depth, RES2NET__WIDTH=width, RES2NET__SCALE=scale, RES2NET__V1B=v1b)
    found = sum(p.numel() for p in backbone.parameters())
    assert found == count({"50x": (3, 4, 6, 3), "101x": (3, 4, 23, 3)}[depth], width, scale, v1b)
    assert round((found + 2048 * 1000 + 1000) / 1e6, 2) == PUBLISHED_MILLIONS[depth, width, scale, v1b]


def test_weights_start_as_fastreids(all_drawn):
    """Variance 2 / (k^2 C_out) of every convolution, within five standard errors."""
    backbone = Res2Net((2, 2, 1, 1), v1b=True)
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            expected = 2 / (module.kernel_size[0] ** 2 * module.out_channels)
            error = 5 * math.sqrt(2 / module.weight.numel())
            assert abs(module.weight.var().item() / expected - 1) < error, name


def test_every_block_is_of_its_kind():
    """The first of each stage, and it alone, averages its last split; the stride is on all its 3x3 convolutions."""
    backbone = shape(DEPTH="50x", LAST_STRIDE=2)
    for stage, blocks in zip((1, 2, 3, 4), (3, 4, 6, 3), strict=True):
        layer = getattr(backbone, f"layer{stage}")
        assert [type(block) for block in layer] == [Res2NetBottleneck] * blocks
        assert [block.first for block in layer] == [True] + [False] * (blocks - 1)
        for i, block in enumerate(layer):
            stride = 2 if stage > 1 and i == 0 else 1
            assert [conv.stride for conv in block.convs] == [(stride, stride)] * 3
            assert [conv.in_channels for conv in block.convs] == [26 * 2 ** (stage - 1)] * 3


@pytest.mark.parametrize("v1b", [False, True])
@pytest.mark.parametrize("last_stride", [1, 2])
def test_stages(last_stride, v1b):
    backbone = shape(LAST_STRIDE=last_stride, RES2NET__V1B=v1b)
    check_trunk(backbone)
    with shapes.OnMeta():
        assert stage_channels(backbone) == {1: 256, 2: 512, 3: 1024, 4: 2048}
        assert backbone(torch.zeros(1, 3, 256, 128)).shape == (1, 2048, 16 // last_stride, 8 // last_stride)


def test_norm():
    assert type(shape(NORM="GhostBN").layer1[0].bn1).__name__ == "GhostBatchNorm"
    assert isinstance(shape(NORM="FrozenBN").layer2[1].bns[2], FrozenBatchNorm)
    for v1b in (False, True):
        backbone = shape(NORM="GN", RES2NET__WIDTH=32, RES2NET__V1B=v1b)
        kinds = {type(m) for m in backbone.modules() if "Norm" in type(m).__name__}
        assert kinds == {nn.GroupNorm}


@pytest.mark.parametrize("v1b", [False, True])
def test_the_gradient_reaches_every_weight(v1b):
    backbone = Res2Net((2, 2, 1, 1), width=14, scale=5, v1b=v1b, last_stride=1)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    (backbone(torch.randn(4, 3, 64, 32)) ** 2).mean().backward()
    for name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name]) is ("running" not in name and "tracked" not in name), name


def test_features_of_an_image_do_not_depend_on_its_batch():
    """At the test; 1e-5 of the largest value, because sums may be taken in another order."""
    backbone = shake_norms(Res2Net(SMALL)).eval()
    images = torch.randn(3, 3, 64, 32)
    with torch.no_grad():
        together, again, alone = backbone(images), backbone(images), backbone(images[:1])
    assert torch.equal(together, again)
    assert (together[:1] - alone).abs().max() <= 1e-5 * alone.abs().max()


HALF = pytest.param(torch.float16, 0.01, marks=pytest.mark.slow)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.08), HALF])
def test_autocast(dtype, tolerance):
    """Finite, and near float32: its difference's norm is some ten to twenty roundings (0.4 % and 0.05 %)."""
    backbone = shake_norms(Res2Net(SMALL, last_stride=1))
    images = torch.randn(4, 3, 64, 32)
    with torch.autocast("cpu", dtype):
        maps = backbone(images)
    maps.float().mean().backward()
    assert maps.dtype == dtype and maps.isfinite().all()
    assert all(p.grad.isfinite().all() for p in backbone.parameters())
    with torch.no_grad():
        full = backbone.eval()(images)
        with torch.autocast("cpu", dtype):
            low = backbone(images)
    assert (low.float() - full).norm() <= tolerance * full.norm()


def test_all_its_keys_are_read():
    """And those of other backbones are not: the trainer refuses them."""
    settings = {"RES2NET__WIDTH": 14, "RES2NET__SCALE": 8, "RES2NET__V1B": True, "NORM": "syncBN", "LAST_STRIDE": 2}
    for name, passes in (("build_res2net_backbone", True), ("build_resnet_backbone", False)):
        cfg, reads = track(config(NAME=name, DEPTH="50x", **settings))
        with shapes.OnMeta():
            build_backbone(cfg)
        reads.add("MODEL.BACKBONE.NAME")
        if passes:
            check_all_read(cfg, get_cfg(), reads, nodes=("MODEL.BACKBONE",))
            continue
        with pytest.raises(ValueError, match="RES2NET.WIDTH, .*RES2NET.SCALE, .*RES2NET.V1B"):
            check_all_read(cfg, get_cfg(), reads, nodes=("MODEL.BACKBONE",))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"DEPTH": "18x"},
            "DEPTH is '18x', and build_res2net_backbone has 26x, 50x, 101x: .* as many blocks as an 18x",
        ),
        ({"DEPTH": "121x"}, "so there are no 18, 34 or 121"),
        ({"WITH_IBN": True}, "no instance norm, .*: set MODEL.BACKBONE.WITH_IBN False"),
        (
            {"WITH_SE": True, "WITH_NL": True},
            "set MODEL.BACKBONE.WITH_SE and MODEL.BACKBONE.WITH_NL False",
        ),
        ({"LAST_STRIDE": 4}, "LAST_STRIDE must be 1 or 2 for a Res2Net, got 4"),
        ({"NORM": "LN"}, "NORM is 'LN', and FastReID has BN, syncBN, GhostBN, FrozenBN, GN"),
        ({"NORM": ""}, "NORM is '', and FastReID has"),
        ({"NORM": "GN"}, "GN has 32 groups, which splits of 26 channels do not make"),
        ({"RES2NET__SCALE": 0}, "a scale of 1 or more .* got scale 0"),
        ({"RES2NET__WIDTH": 0}, "width 0 gives 0 of 64"),
    ],
)
def test_bad_settings(overrides, message):
    with pytest.raises(ValueError, match=message) as error:
        shape(**overrides)
    assert "\n" not in str(error.value)
