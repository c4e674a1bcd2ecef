"""ResNet-152: FastReID's stages with more blocks, torchvision's weights, and what it refuses."""

import pytest
import shapes
import torch
from fastreid.modeling.backbones import build_backbone
from torchvision.models import resnet152

from fastreid_ext.config import get_cfg
from fastreid_ext.errors import UserError
from fastreid_ext.modeling.deep_resnet import BLOCKS, DeepResNet


def make(**keys):
    cfg = get_cfg()
    for key, value in {"NAME": "build_deep_resnet_backbone", "DEPTH": "152x", "PRETRAIN": False, **keys}.items():
        cfg.MODEL.BACKBONE[key] = value
    return build_backbone(cfg)


def shapes_of(network):
    return {key: value.shape for key, value in network.state_dict().items() if not key.startswith("fc.")}


def test_its_weights_are_those_of_torchvision():
    """The names and shapes of the file that is downloaded, so that it loads whole."""
    with shapes.OnMeta():
        assert shapes_of(make()) == shapes_of(resnet152())


@pytest.mark.parametrize(("last_stride", "size"), [(1, (4, 2)), (2, (2, 1))])
def test_the_last_stride(last_stride, size):
    with shapes.OnMeta():
        network = make(LAST_STRIDE=last_stride, WITH_SE=True, WITH_IBN=True)
        assert network(torch.zeros(1, 3, 64, 32)).shape == (1, 2048, *size)
    assert {name.rpartition(".")[2] for name, _ in network.named_modules()} >= {"IN", "se"}


def test_a_file_of_weights_is_loaded(tmp_path, monkeypatch):
    """By a network of the same names with fewer blocks: 60 M numbers would take most of a minute's tests."""
    monkeypatch.setitem(BLOCKS, "152x", (1, 1, 1, 1))
    torch.save(DeepResNet((1, 1, 1, 1)).state_dict(), tmp_path / "weights.pth")
    loaded = make(PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "weights.pth"))
    state = torch.load(tmp_path / "weights.pth")
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"DEPTH": "101x"}, "DEPTH is '101x', and build_deep_resnet_backbone has 152x"),
        ({"WITH_NL": True}, "set MODEL.BACKBONE.WITH_NL False"),
        ({"PRETRAIN": True, "WITH_SE": True}, "no ImageNet weights of build_deep_resnet_backbone 152x and WITH_SE"),
        ({"PRETRAIN": True, "PRETRAIN_PATH": "none.pth"}, "there is no file none.pth"),
    ],
)
def test_refusals(keys, message):
    with shapes.OnMeta(), pytest.raises(UserError, match=message):
        make(**keys)
