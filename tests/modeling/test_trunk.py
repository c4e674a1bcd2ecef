"""The host's backbones, stage by stage: the same numbers as its own forward, exactly."""

import copy

import pytest
import shapes
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.backbones.resnet import build_resnet_backbone
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.modeling.trunk import (
    STAGES,
    StageCopies,
    check_trunk,
    last_map_rows,
    output_channels,
    run_stage,
    run_stem,
    stage_channels,
    trunk_of,
)

BASIC, BOTTLENECK = {1: 64, 2: 128, 3: 256, 4: 512}, {1: 256, 2: 512, 3: 1024, 4: 2048}
# name -> (builder, DEPTH, switched on, channels)
BACKBONES = {
    "R18": ("resnet", "18x", (), BASIC),
    "R34-IBN": ("resnet", "34x", ("WITH_IBN",), BASIC),
    "R50": ("resnet", "50x", (), BOTTLENECK),
    "R50-NL": ("resnet", "50x", ("WITH_NL",), BOTTLENECK),
    "R50-SE": ("resnet", "50x", ("WITH_SE",), BOTTLENECK),
    "R101-NL": ("resnet", "101x", ("WITH_NL",), BOTTLENECK),
    "ResNeXt50-NL": ("resnext", "50x", ("WITH_NL",), BOTTLENECK),
    "ResNeSt50": ("resnest", "50x", (), BOTTLENECK),
    "Res2Net26": ("res2net", "26x", (), BOTTLENECK),
}
LARGER = ("R34-IBN", "R50-NL", "R50-SE", "ResNeXt50-NL", "ResNeSt50")


def make(name):
    builder, depth, on, _ = BACKBONES[name]
    cfg = get_cfg()
    overrides = {"NAME": f"build_{builder}_backbone", "DEPTH": depth, "PRETRAIN": False, "LAST_STRIDE": 1}
    overrides |= dict.fromkeys(on, True)
    cfg.merge_from_list([item for k, v in overrides.items() for item in (f"MODEL.BACKBONE.{k}", v)])
    return build_backbone(cfg)


def wake_non_local(backbone):
    """The host's non-local blocks end in a batch norm of weight 0 and so start as the identity."""
    for stage in STAGES:
        for parameter in getattr(backbone, f"NL_{stage}", nn.Module()).parameters():
            nn.init.normal_(parameter, std=0.1)
    return backbone


def by_stage(backbone, images):
    y = run_stem(backbone, images)
    for stage in STAGES:
        y = run_stage(backbone, stage, y)
    return y


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["R18", "Res2Net26", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGER)])
def test_stages_are_the_backbones_own_forward(name, training):
    backbone = wake_non_local(make(name)).train(training)
    twin, images = copy.deepcopy(backbone), torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        ours, theirs = by_stage(backbone, images), twin(images)
        assert torch.equal(ours, theirs)
        assert torch.equal(by_stage(twin, images), backbone(images))  # also after the host's forward edited its lists
    for (key, mine), other in zip(backbone.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(mine, other), key  # batch norms saw the same


def test_non_local_blocks_are_run():
    backbone = wake_non_local(make("R50-NL")).eval()
    assert [len(getattr(backbone, f"NL_{stage}")) for stage in STAGES] == [0, 2, 3, 0]
    images = torch.randn(1, 3, 64, 32)
    calls = []
    for stage in STAGES:
        for block in getattr(backbone, f"NL_{stage}"):
            block.register_forward_hook(lambda *_, stage=stage: calls.append(stage))
    with torch.no_grad():
        by_stage(backbone, images)
    assert calls == [2, 2, 3, 3, 3]


@pytest.mark.parametrize("name", BACKBONES)
def test_channels(name):
    with shapes.OnMeta():
        assert stage_channels(make(name)) == BACKBONES[name][-1]


@pytest.mark.parametrize("training", [False, True])
def test_reading_the_channels_changes_nothing(training):
    backbone = make("R18").train(training)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    assert stage_channels(backbone) == BASIC
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert all(module.training is training for module in backbone.modules())
    assert all(p.grad is None for p in backbone.parameters())


@pytest.mark.parametrize(
    "look",
    [stage_channels, output_channels, lambda backbone: last_map_rows(backbone, 64)],
    ids=["stages", "map", "rows"],
)
def test_a_look_gives_every_module_its_own_mode_back(look):
    """A batch norm that was frozen, in a trunk that trains, stays frozen."""
    backbone = make("R18").train()
    backbone.bn1.eval()
    before = [module.training for module in backbone.modules()]
    look(backbone)
    assert [module.training for module in backbone.modules()] == before and not backbone.bn1.training


def test_copies_take_along_stages_and_non_local_blocks():
    with shapes.OnMeta():
        backbone = make("R50-NL")
    copies = StageCopies(backbone, (3, 4))
    assert {name for name, _ in copies.named_children()} == {"layer3", "NL_3", "layer4", "NL_4"}
    assert copies.stages == (3, 4) and copies.NL_3_idx == backbone.NL_3_idx
    assert copies.NL_3_idx is not backbone.NL_3_idx


def test_copies_are_unshared_and_of_this_moment():
    backbone = make("R18").eval()
    copies, y = StageCopies(backbone, (4,)).eval(), torch.randn(2, 256, 4, 2)
    with torch.no_grad():
        before = run_stage(copies, 4, y)
        assert torch.equal(before, run_stage(backbone, 4, y))
        for parameter in backbone.parameters():
            parameter.zero_()
        assert torch.equal(run_stage(copies, 4, y), before)
        assert not run_stage(backbone, 4, y).any()


@BACKBONE_REGISTRY.register()
def build_backbone_with_stochastic_depth(cfg):
    """Reads numbers off a tensor, as many trunks do."""
    shares = [share.item() for share in torch.linspace(0, 0.1, 4)]
    return build_resnet_backbone(cfg) if len(shares) == 4 else None


@pytest.mark.parametrize("name", ["build_resnet_backbone", "build_backbone_with_stochastic_depth"])
def test_a_trunk_to_look_at_draws_no_random_numbers(name):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.PRETRAIN", True])
    before = torch.get_rng_state()
    trunk = trunk_of(cfg)
    assert torch.equal(torch.get_rng_state(), before)
    assert stage_channels(trunk) == BASIC
    assert next(trunk.parameters()).is_meta is (name == "build_resnet_backbone")
    assert cfg.MODEL.BACKBONE.PRETRAIN is True  # the config of the caller is left alone


def test_a_trunk_to_look_at_has_stages():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"])
    with pytest.raises(ValueError, match="the branches start from the stages of a ResNet, but OSNet has no"):
        trunk_of(cfg)


def test_what_is_no_resnet():
    with pytest.raises(ValueError, match="Linear has no conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4"):
        check_trunk(nn.Linear(1, 1))
