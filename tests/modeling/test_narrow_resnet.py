"""The narrow ResNet: FastReID's stages with fewer channels, and what it refuses."""

import pytest
import torch
from fastreid.layers.batch_norm import IBN
from fastreid.modeling.backbones import build_backbone

from fastreid_ext.config import get_cfg
from fastreid_ext.errors import UserError
from fastreid_ext.modeling.narrow_resnet import BLOCKS
from fastreid_ext.modeling.trunk import STAGES, run_stage, run_stem, stage_channels


def make(**keys):
    cfg = get_cfg()
    node = cfg.MODEL.BACKBONE
    node.NAME, node.DEPTH, node.PRETRAIN = "build_narrow_resnet_backbone", "10x", False
    for key, value in keys.items():
        (node.NARROW if key == "WIDTH" else node)[key] = value
    torch.manual_seed(0)
    return build_backbone(cfg)


@pytest.mark.parametrize(("width", "last_stride", "size"), [(8, 2, (2, 1)), (24, 1, (4, 2)), (32, 2, (2, 1))])
def test_channels_and_strides_are_those_of_a_resnet(width, last_stride, size):
    net = make(WIDTH=width, LAST_STRIDE=last_stride).eval()
    assert stage_channels(net) == {1: width, 2: 2 * width, 3: 4 * width, 4: 8 * width}
    maps = net(torch.zeros(1, 3, 64, 32))
    assert maps.shape == (1, 8 * width, *size)


@pytest.mark.parametrize("depth", BLOCKS)
def test_with_64_channels_its_stages_are_fastreids(depth):
    """The same names and shapes but the stem's, so the same outputs with the same weights."""
    net = make(DEPTH=depth, WIDTH=64, LAST_STRIDE=1, WITH_IBN=True).eval()
    assert tuple(len(getattr(net, f"layer{stage}")) for stage in STAGES) == BLOCKS[depth]
    if depth == "10x":
        return  # FastReID has none
    host = make(NAME="build_resnet_backbone", DEPTH=depth, LAST_STRIDE=1, WITH_IBN=True).eval()
    ours, theirs = net.state_dict(), host.state_dict()
    assert {k: v.shape for k, v in ours.items() if k != "conv1.weight"} == {
        k: v.shape for k, v in theirs.items() if k != "conv1.weight"
    }
    stages = {key: value for key, value in ours.items() if key.startswith("layer")}
    host.load_state_dict(stages, strict=False)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        y = run_stem(net, images)
        assert y.shape == (2, 64, 16, 8)
        for stage in STAGES:
            y = run_stage(host, stage, y)
        assert torch.equal(y, net(images))


def test_the_stem_starts_as_the_stages_do():
    """FastReID's normal distribution of variance 2 / (k k C_out), not torch's uniform one; 10 % for the sample."""
    net = make(WIDTH=64)
    for weight in (net.conv1.weight, net.layer1[0].conv1.weight):
        assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)


def test_instance_norm_is_in_the_first_three_stages_alone():
    found = {name.split(".")[0] for name, module in make(WITH_IBN=True).named_modules() if isinstance(module, IBN)}
    assert found == {"layer1", "layer2", "layer3"}
    assert not any(isinstance(module, IBN) for module in make().modules())


@pytest.mark.parametrize("keys", [{"WITH_IBN": True, "WITH_SE": True}, {"NORM": "GN"}])
def test_every_parameter_has_a_gradient(keys):
    net = make(**keys)
    net(torch.randn(4, 3, 64, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"DEPTH": "50x"}, "DEPTH is '50x', and build_narrow_resnet_backbone has 10x, 18x, 34x"),
        ({"WITH_NL": True}, "set MODEL.BACKBONE.WITH_NL False"),
        ({"NORM": "GN", "WITH_IBN": True}, "a multiple of 64, or another NORM"),
        ({"NORM": "GN", "WIDTH": 24}, "a multiple of 32, or another NORM"),
        ({"WITH_SE": True, "WIDTH": 8}, "NARROW.WIDTH to 16 or more, or WITH_SE False"),
        ({"PRETRAIN": True}, "knows no ImageNet weights of build_narrow_resnet_backbone 10x"),
    ],
)
def test_what_it_has_not(keys, message):
    with pytest.raises(UserError, match=message):
        make(**keys)
