"""A stage's residual block as a new module: of its kind, of the map's channels, with weights of its own."""

import pytest
import shapes
import torch
from fastreid.modeling.backbones import build_backbone
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.anatomy import Anatomy, anatomy_of
from fastreid_ext.modeling.residual_blocks import block_count, following_block
from fastreid_ext.modeling.trunk import STAGES, stage_channels

# (builder, DEPTH, other keys) -> residual blocks of the stages
TRUNKS = {
    ("resnet", "18x"): (2, 2, 2, 2),
    ("resnet", "18x", "WITH_SE"): (2, 2, 2, 2),
    ("narrow_resnet", "10x", "WITH_IBN"): (1, 1, 1, 1),
    ("resnet", "50x", "WITH_IBN"): (3, 4, 6, 3),
    ("resnet", "50x", "WITH_SE"): (3, 4, 6, 3),
    ("deep_resnet", "152x", "WITH_IBN"): (3, 8, 36, 3),
    ("resnext", "50x", "WITH_IBN"): (3, 4, 6, 3),
    ("resnest", "50x"): (3, 4, 6, 3),
    ("res2net", "26x"): (2, 2, 2, 2),
    ("osnet", "x0_25"): (2, 2, 1, 1),
    ("osnet", "x0_5", "WITH_IBN"): (2, 2, 1, 1),
    ("regnet", "200x"): (1, 1, 4, 7),
    ("regnet", "400y"): (1, 3, 6, 6),
    ("effnet", "b0"): (2, 2, 6, 5),
    ("mobilenetv2", "1.0x"): (2, 3, 7, 4),
    ("mobilenetv3", "Small"): (1, 2, 5, 3),
    ("mobilenetv3", "Large"): (2, 3, 6, 3),
    ("shufflenetv2", "0.5x"): (0, 4, 8, 4),
    ("repvgg", "A0"): (2, 4, 14, 1),
    ("repvgg", "B1g2"): (4, 6, 16, 1),
}


def make(builder, depth, *on, **keys):
    cfg = get_cfg()
    settings = {"NAME": f"build_{builder}_backbone", "DEPTH": depth, "PRETRAIN": False, **dict.fromkeys(on, True)}
    cfg.merge_from_list([x for k, v in {**settings, **keys}.items() for x in (f"MODEL.BACKBONE.{k}", v)])
    return build_backbone(cfg)


def shapes_of(block):
    return {key: value.shape for key, value in block.state_dict().items()}


@pytest.mark.parametrize("trunk", TRUNKS, ids=" ".join)
def test_a_block_goes_on_in_its_stage(trunk):
    """Where the stage's last block has as many channels before it as behind it, the new one is as that one."""
    with shapes.OnMeta():
        network = make(*trunk)
        channels = stage_channels(network)
        for stage, count in zip(STAGES, TRUNKS[trunk], strict=True):
            assert block_count(network, stage) == count
            block = following_block(network, stage, channels[stage])
            y = torch.zeros(2, channels[stage], 4, 2)
            assert block(y).shape == y.shape
            names = anatomy_of(network).block_names(network, stage if count else stage + 1)
            last = network.get_submodule(names[-1])
            assert type(block) is type(last) and block is not last
            if count > 1 and names[-1] == anatomy_of(network).stage_names(network, stage)[-1]:
                assert shapes_of(block) == shapes_of(last)


def inner_width(block):
    return max(conv.out_channels for conv in block.modules() if isinstance(conv, nn.Conv2d) and conv.groups > 1)


@pytest.mark.parametrize("trunk", [("mobilenetv2", "1.0x"), ("mobilenetv3", "Small"), ("effnet", "b0")], ids=" ".join)
def test_behind_the_last_convolution_a_block_is_as_wide_inside_as_the_stages_last(trunk):
    """An expansion of the map's 1280 channels by six would make it ten times the trunk."""
    with shapes.OnMeta():
        network = make(*trunk)
        block = following_block(network, 4, 1280)
    last = network.get_submodule(anatomy_of(network).block_names(network, 4)[-1])
    assert inner_width(block) == inner_width(last) < 1280


@pytest.mark.parametrize("trunk", [("resnext", "50x"), ("osnet", "x0_25"), ("mobilenetv3", "Small")], ids=" ".join)
def test_the_norm_is_the_one_that_is_asked_for(trunk):
    with shapes.OnMeta():
        kinds = {type(m).__name__ for m in following_block(make(*trunk), 3, 128, "GhostBN").modules()}
    assert "GhostBatchNorm" in kinds and "BatchNorm" not in kinds


def test_weights_are_its_own():
    network = make("osnet", "x0_25")
    first, second = (following_block(network, 4, 128) for _ in range(2))
    assert not torch.equal(first.conv1.conv.weight, second.conv1.conv.weight)
    assert not torch.equal(first.conv1.conv.weight, network.conv4[1].conv1.conv.weight)


class Own(nn.Module):
    anatomy = Anatomy("a", ("b[:]", "b[:]", "b[:]", "b[:]"))

    def __init__(self, block):
        super().__init__()
        self.a, self.b = nn.Identity(), nn.Sequential(block)


class OwnBlock(nn.Conv2d):
    def following(self, norm):
        return OwnBlock(self.out_channels, self.out_channels, 1)


def test_no_block_anywhere():
    network = Own(OwnBlock(3, 7, 1))
    network.anatomy = Anatomy("a", ("b[:]", "b[:]", "b[:]", "+b[:]"))
    assert block_count(network, 4) == 0 and block_count(network, 3) == 1
    with pytest.raises(ConfigError, match="stage 4 of Own has no residual block that another could follow"):
        following_block(network, 4, 7)


def test_a_block_of_ones_own():
    block = following_block(Own(OwnBlock(3, 7, 1)), 2, 7)
    assert type(block) is OwnBlock and block.in_channels == 7
    with pytest.raises(ConfigError, match=r"Own has blocks of a kind of its own: give Conv2d a method following"):
        following_block(Own(nn.Conv2d(3, 7, 1)), 2, 7)
