"""Which modules are the stem and the stages: of networks that users make, and of those that have none."""

import pytest
import shapes
import torch
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.anatomy import Anatomy
from fastreid_ext.modeling.residual_blocks import block_count
from fastreid_ext.modeling.trunk import STAGES, StageCopies, check_trunk, run_stage, run_stem, stage_shapes, trunk_of


class OwnNet(nn.Module):
    """A network of a user's own, which says how it is made."""

    anatomy = Anatomy("begin", ("one[:]", "two[:]", "three[:]", "+shrink four[:] +end"))

    def __init__(self):
        super().__init__()
        conv = lambda a, b, stride=2: nn.Conv2d(a, b, 3, stride, padding=1)  # noqa: E731
        self.begin, self.one, self.two = conv(3, 4), nn.Sequential(conv(4, 4)), nn.Sequential(conv(4, 6), conv(6, 6, 1))
        self.three, self.shrink = nn.ModuleList([conv(6, 8)]), nn.AvgPool2d(2)
        self.four, self.end = nn.Sequential(conv(8, 8, 1)), conv(8, 10, 1)


def test_a_network_of_ones_own():
    net = OwnNet()
    found = [(shape.channels, shape.reduction) for shape in stage_shapes(net).values()]
    assert found == [(4, 4), (6, 8), (8, 16), (10, 32)]
    assert net.anatomy.block_names(net, 4) == ["four.0"]
    del net.shrink
    with pytest.raises(ValueError, match="OwnNet has no shrink: set MODEL.BACKBONE.NAME to build_resnet_backbone"):
        check_trunk(net)


def test_what_has_no_stages():
    with pytest.raises(ValueError, match="four stages, and Linear has no conv1, bn1, relu, maxpool, layer1, layer2"):
        check_trunk(nn.Linear(1, 1))
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.BACKBONE.DEPTH", "small"])
    with shapes.WithoutDraws(), pytest.raises(ValueError, match="VisionTransformer has no .*layer4.*, osnet, repvgg$"):
        trunk_of(cfg)


def test_an_anatomy_is_checked_where_it_is_written():
    stages = ("one[:]", "two", "three", "four")
    for name in ("one[0]", "one.", ".one", "one..0", "one[:", "+"):
        with pytest.raises(ValueError, match="names modules as layer1, .* got"):
            Anatomy("begin", (name, *stages[1:]))
    with pytest.raises(ValueError, match="4 stages, got 3"):
        Anatomy("begin", stages[:3])


@pytest.mark.parametrize("name", ["", "two[5:]"])
def test_a_stage_without_a_module(name):
    net = OwnNet()
    net.anatomy = Anatomy("begin", ("one[:]", name, "three[:]", "four[:]"))
    with pytest.raises(ConfigError, match="the anatomy of OwnNet names no module for stage 2"):
        check_trunk(net)


class OwnStage(nn.Module):
    """It has a forward of its own, which is none of its children one after the other."""

    def __init__(self, before, behind, stride):
        super().__init__()
        self.conv, self.shortcut = nn.Conv2d(before, behind, 3, stride, 1), nn.Conv2d(before, behind, 1, stride)

    def forward(self, x):
        return self.conv(x) + self.shortcut(x)


class LikeResNet(nn.Module):
    """A ResNet's names, without an anatomy."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = (
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.Identity(),
            nn.ReLU(),
            nn.Identity(),
        )
        self.layer1, self.layer2 = OwnStage(8, 8, 2), nn.Sequential(OwnStage(8, 8, 2), OwnStage(8, 8, 1))
        self.layer3, self.layer4 = OwnStage(8, 8, 2), OwnStage(8, 8, 1)

    def forward(self, images):
        return self.layer4(self.layer3(self.layer2(self.layer1(self.relu(self.conv1(images))))))


def by_stages(net, copies, y):
    for stage in STAGES:
        y = run_stage(copies if stage > 2 else net, stage, y)
    return y


def test_a_stage_with_a_forward_of_its_own_is_run_as_a_whole():
    net, images = LikeResNet(), torch.randn(2, 3, 32, 32)
    assert torch.equal(by_stages(net, StageCopies(net, (3, 4)), run_stem(net, images)), net(images))
    assert [block_count(net, stage) for stage in STAGES] == [1, 2, 1, 1]


class LikeConvNeXt(nn.Module):
    """Its stages are in one module, which has the name that networks of this kind give it."""

    anatomy = Anatomy("stem", ("stages[:1]", "stages[1:2]", "stages[2:3]", "stages[3:]"))

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.stages = nn.Sequential(*(OwnStage(8, 8, 2) for _ in STAGES))


def test_copies_of_stages_in_one_module():
    net = LikeConvNeXt()
    copies = StageCopies(net, (3, 4))
    assert {name for name, _ in copies.named_parameters()} < {name for name, _ in net.named_parameters()}
    y = run_stem(net, torch.randn(2, 3, 64, 64))
    assert torch.equal(by_stages(net, copies, y), net.stages(y))
