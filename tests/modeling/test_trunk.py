"""Every trunk, stage by stage: the same numbers as its own forward, exactly."""

import copy

import pytest
import shapes
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.backbones.resnet import build_resnet_backbone
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.modeling.anatomy import LAST_STRIDES, NETWORKS, Anatomy
from fastreid_ext.modeling.trunk import (
    STAGES,
    StageCopies,
    block_channels,
    last_map_rows,
    last_module,
    output_channels,
    pool_stem,
    run_stage,
    run_stem,
    stage_channels,
    stage_shapes,
    trunk_of,
)

BASIC, BOTTLENECK = (64, 128, 256, 512), (256, 512, 1024, 2048)
# name -> (builder, DEPTH, switched on, channels, what gives the last map)
BACKBONES = {
    "R18": ("resnet", "18x", (), BASIC, "layer4"),
    "R34-IBN": ("resnet", "34x", ("WITH_IBN",), BASIC, "layer4"),
    "Narrow": ("narrow_resnet", "10x", (), (32, 64, 128, 256), "layer4"),
    "R50": ("resnet", "50x", (), BOTTLENECK, "layer4"),
    "R50-NL": ("resnet", "50x", ("WITH_NL",), BOTTLENECK, "layer4"),
    "R50-SE": ("resnet", "50x", ("WITH_SE",), BOTTLENECK, "layer4"),
    "R152": ("deep_resnet", "152x", (), BOTTLENECK, "layer4"),
    "R101-NL": ("resnet", "101x", ("WITH_NL",), BOTTLENECK, "layer4"),
    "ResNeXt50-NL": ("resnext", "50x", ("WITH_NL",), BOTTLENECK, "layer4"),
    "ResNeSt50": ("resnest", "50x", (), BOTTLENECK, "layer4"),
    "Res2Net26": ("res2net", "26x", (), BOTTLENECK, "layer4"),
    "OSNet": ("osnet", "x0_25", (), (64, 96, 128, 128), "conv5"),
    "OSNet-IN": ("osnet", "x0_5", ("WITH_IBN",), (128, 192, 256, 256), "conv5"),
    "RegNetX": ("regnet", "200x", (), (24, 56, 152, 368), "s4.b7"),
    "RegNetY": ("regnet", "400y", (), (48, 104, 208, 440), "s4.b6"),
    "EfficientNet": ("effnet", "b0", (), (24, 40, 112, 1280), "head"),
    "MobileNetV2": ("mobilenetv2", "0.5x", (), (16, 16, 48, 1280), "conv"),
    "MobileNetV3-S": ("mobilenetv3", "Small", (), (16, 24, 48, 1024), "conv"),
    "MobileNetV3-L": ("mobilenetv3", "Large", (), (24, 40, 112, 1280), "conv"),
    "ShuffleNetV2": ("shufflenetv2", "0.5x", (), (24, 48, 96, 1024), "conv_last"),
    "RepVGG": ("repvgg", "A0", (), (48, 96, 192, 1280), "stage4"),
    "RepVGG-g2": ("repvgg", "B1g2", (), (128, 256, 512, 2048), "stage4"),
}
LARGER = ("R34-IBN", "R50-NL", "R50-SE", "ResNeXt50-NL", "ResNeSt50", "Res2Net26", "RegNetY", "RepVGG")
SMALL = (
    "R18",
    "Narrow",
    "OSNet",
    "OSNet-IN",
    "RegNetX",
    "EfficientNet",
    "MobileNetV2",
    "MobileNetV3-S",
    "ShuffleNetV2",
)
TRIED = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGER)]


def make(name, **keys):
    builder, depth, on, *_ = BACKBONES[name]
    cfg = get_cfg()
    overrides = {"NAME": f"build_{builder}_backbone", "DEPTH": depth, "PRETRAIN": False, "LAST_STRIDE": 1}
    overrides |= dict.fromkeys(on, True) | keys
    cfg.merge_from_list([item for k, v in overrides.items() for item in (f"MODEL.BACKBONE.{k}", v)])
    return build_backbone(cfg)


def shape_of(name, **keys):
    with shapes.OnMeta():
        return make(name, **keys)


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
@pytest.mark.parametrize("name", TRIED)
def test_stages_are_the_backbones_own_forward(name, training):
    backbone = wake_non_local(make(name)).train(training)
    twin, images = copy.deepcopy(backbone), torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        ours, theirs = by_stage(backbone, images), twin(images)
        assert torch.equal(ours, theirs) and ours.any()
        assert torch.equal(by_stage(twin, images), backbone(images))  # also after the host's forward edited its lists
    for (key, mine), other in zip(backbone.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(mine, other), key  # batch norms saw the same


@pytest.mark.parametrize("training", [False, True])
def test_another_order_of_the_modules_gives_other_numbers(training):
    """The equality above is one of numbers, not of zeros: without a stage's last module the map is another one."""
    backbone, images = make("OSNet").train(training), torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        backbone.anatomy = Anatomy("conv1 maxpool", ("conv2[:]", "conv3[:]", "conv4[:1]", "conv4[1:]"))
        assert not torch.equal(by_stage(backbone, images), backbone(images))


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
def test_shapes(name):
    """Halved from stage to stage, as in a ResNet; the last stage by MODEL.BACKBONE.LAST_STRIDE or as it always is."""
    builder, _, _, channels, last = BACKBONES[name]
    with shapes.OnMeta():
        trunk = make(name)
        found = stage_shapes(trunk)
    fixed = LAST_STRIDES.get(f"build_{builder}_backbone", 1)
    assert tuple(found[stage].channels for stage in STAGES) == channels
    assert [found[stage].reduction for stage in STAGES] == [4, 8, 16, 16 * fixed]
    assert last_module(trunk) == last


@pytest.mark.parametrize("name", ["R18", "RepVGG", *SMALL[1:]])
@pytest.mark.parametrize("last_stride", [1, 2])
def test_the_last_stride(name, last_stride):
    """Where a builder reads no LAST_STRIDE, the table says which one it has."""
    fixed = LAST_STRIDES.get(f"build_{BACKBONES[name][0]}_backbone", last_stride)
    with shapes.OnMeta():
        trunk = make(name, LAST_STRIDE=last_stride)
        assert last_map_rows(trunk, 256) == 16 // fixed
        assert output_channels(trunk) == BACKBONES[name][3][-1]


def test_the_table_of_networks_is_whole():
    assert {f"build_{name}_backbone" for name in NETWORKS} <= set(BACKBONE_REGISTRY._obj_map)
    assert {row[0] for row in BACKBONES.values()} == set(NETWORKS) and set(LAST_STRIDES) <= {
        f"build_{name}_backbone" for name in NETWORKS
    }


def test_channels_behind_every_block():
    """They change within a stage of a MobileNet, and behind its last block."""
    with shapes.OnMeta():
        found, of_resnet = (block_channels(make(name)) for name in ("MobileNetV2", "R50-NL"))
    assert [found[f"features.{i}"] for i in range(7, 14)] == [32, 32, 32, 32, 48, 48, 48]
    assert (found["features.17"], found["conv"]) == (160, 1280)
    assert of_resnet["NL_3.2"] == 1024


@pytest.mark.parametrize("training", [False, True])
def test_reading_the_channels_changes_nothing(training):
    backbone = make("R18").train(training)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    assert tuple(stage_channels(backbone).values()) == BASIC
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
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("name", [*SMALL, "R50-NL", "RepVGG"])
def test_copies_keep_their_names(name):
    """Whoever loads a checkpoint or gives a part its learning rate finds them by the backbone's names."""
    backbone = shape_of(name)
    copies = StageCopies(backbone, (3, 4))
    own = backbone.state_dict()
    state = copies.state_dict()
    assert list(copies._names) == [3, 4] and state
    assert {key: value.shape for key, value in state.items()} == {key: own[key].shape for key in state}
    rest = set(own) - set(state) - {key for key in own if key.startswith(("NL_1", "NL_2"))}
    stages = {stage: len(StageCopies(backbone, [stage]).state_dict()) for stage in STAGES}
    assert len(state) == stages[3] + stages[4] and rest
    kept = {id(p) for p in backbone.parameters()}
    assert not any(id(p) in kept for p in copies.parameters())


def test_copies_take_along_non_local_blocks():
    copies = StageCopies(shape_of("R50-NL"), (3, 4))
    assert {name for name, _ in copies.named_children()} == {"layer3", "NL_3", "layer4"}
    assert copies._names[3][-4:] == ["layer3.4", "NL_3.1", "layer3.5", "NL_3.2"]


@pytest.mark.parametrize("name", ["R18", "OSNet", "MobileNetV3-S"])
def test_copies_are_unshared_and_of_this_moment(name):
    backbone = make(name).eval()
    copies, y = StageCopies(backbone, (4,)).eval(), torch.randn(2, stage_channels(backbone)[3], 4, 2)
    with torch.no_grad():
        before = run_stage(copies, 4, y)
        assert torch.equal(before, run_stage(backbone, 4, y))
        for parameter in backbone.parameters():
            parameter.zero_()
        assert torch.equal(run_stage(copies, 4, y), before) and before.any()
        assert not run_stage(backbone, 4, y).any()


def test_copies_from_a_block_on():
    backbone = make("R18").eval()
    copies = StageCopies(backbone, (3, 4), first_block=1).eval()
    assert copies._names == {3: ["layer3.1"], 4: ["layer4.0", "layer4.1"]}
    assert {key.rpartition(".")[0] for key in copies.state_dict()} < {
        key.rpartition(".")[0] for key in backbone.state_dict() if not key.startswith("layer3.0")
    }
    y = torch.randn(1, 128, 8, 4)
    with torch.no_grad():
        inner = backbone.layer3[0](y)
        assert torch.equal(run_stage(copies, 3, inner), run_stage(backbone, 3, y))
    with pytest.raises(ValueError, match="stage 3 has 2 blocks, and none at 2"):
        StageCopies(backbone, (3, 4), first_block=2)


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
    assert tuple(stage_channels(trunk).values()) == BASIC
    assert next(trunk.parameters()).is_meta is (name == "build_resnet_backbone")
    assert cfg.MODEL.BACKBONE.PRETRAIN is True  # the config of the caller is left alone


@pytest.mark.parametrize("name", ["R18", "ResNeXt50-NL", "OSNet", "ShuffleNetV2"])
def test_another_pooling_of_the_stem(name):
    trunk = shape_of(name)
    pools = [module for module in trunk.modules() if isinstance(module, nn.MaxPool2d)]
    other = nn.MaxPool2d(5)
    if name == "ShuffleNetV2":  # its pooling is a stage of its own
        with pytest.raises(ValueError, match="the stem of ShuffleNetV2 has no max pooling"):
            pool_stem(trunk, other)
        return
    pool_stem(trunk, other)
    assert [module for module in trunk.modules() if isinstance(module, nn.MaxPool2d)] == [other] and len(pools) == 1


def test_a_transformer_is_looked_at_in_its_own_size():
    """It takes images of one size."""
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.BACKBONE.DEPTH", "small"])
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "INPUT.SIZE_TRAIN", [48, 32]])
    with shapes.WithoutDraws():
        assert output_channels(build_backbone(cfg)) == 768


def test_a_regnet_does_not_depend_on_the_one_before_it():
    """FastReID merges each one's yaml into the config of the process, and a RegNetX would have a RegNetY's parts."""
    before = set(shape_of("RegNetX").state_dict())
    shape_of("RegNetY")
    assert set(shape_of("RegNetX").state_dict()) == before
