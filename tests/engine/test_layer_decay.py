"""Rates that fall from the last block to the stem, and what is not decayed, against tables written by hand."""

import pytest
import shapes
import torch
from fastreid.modeling.backbones import build_backbone
from token_networks import make
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.layer_rates import decay_kinds, layer_factors, layer_numbers
from fastreid_ext.modeling.trunk import StageCopies, put_behind

RATE, DECAY, NORM_DECAY, BIAS_DECAY = 0.1, 0.01, 0.002, 0.0003


class Model(nn.Module):
    """A trunk, copies of its last stages, and a head."""

    def __init__(self, trunk, stages=(3, 4)):
        super().__init__()
        self.backbone = trunk
        self.side = nn.ModuleDict({"ie2": StageCopies(trunk, stages)})
        self.heads = nn.Linear(4, 2)


def rules(model, **solver):
    """Name -> (rate, decay)."""
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY = RATE, DECAY
    cfg.SOLVER.WEIGHT_DECAY_NORM, cfg.SOLVER.WEIGHT_DECAY_BIAS = NORM_DECAY, BIAS_DECAY
    cfg.SOLVER.merge_from_list([item for pair in solver.items() for item in pair])
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = build_optimizer(cfg, model).param_groups
    return {names[p]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def of_resnet():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_narrow_resnet_backbone", "MODEL.BACKBONE.DEPTH", "18x"])
    cfg.merge_from_list(["MODEL.BACKBONE.NARROW.WIDTH", 8, "MODEL.BACKBONE.PRETRAIN", False])
    with shapes.WithoutDraws():
        return Model(build_backbone(cfg))


# Of four blocks and a decay of 1/2: layer 0 is the stem, and 1/2 ** (4 + 1 - layer) its factor.
BY_HAND = {
    "backbone.patch_embed.proj.weight": 1 / 32,
    "backbone.cls_token": 1 / 32,
    "backbone.pos_embed": 1 / 32,
    "backbone.blocks.0.attn.qkv.weight": 1 / 16,
    "backbone.blocks.1.mlp.fc1.weight": 1 / 8,
    "backbone.blocks.2.norm2.weight": 1 / 4,
    "backbone.blocks.3.attn.proj.bias": 1 / 2,
    "backbone.norm.weight": 1.0,
    "side.ie2.blocks.2.attn.qkv.weight": 1 / 4,
    "side.ie2.blocks.3.norm1.bias": 1 / 2,
    "side.ie2.norm.weight": 1.0,
    "heads.weight": 1.0,
}


def test_rates_of_a_vision_transformer():
    model = Model(make("ViT"))
    found = rules(model, LAYER_DECAY=0.5)
    assert {name: found[name][0] / RATE for name in BY_HAND} == pytest.approx(BY_HAND)
    assert len(found) == len(list(model.parameters()))
    without = rules(model)
    assert {rate for rate, _ in without.values()} == {RATE}
    factors = rules(model, LAYER_DECAY=0.5, LR_FACTORS=[["backbone", 0.1], ["heads", 3.0]])
    assert factors["backbone.blocks.1.mlp.fc1.weight"][0] == pytest.approx(RATE * 0.1 / 8)
    assert factors["heads.weight"][0] == pytest.approx(RATE * 3)


@pytest.mark.parametrize("family", ["DINOv2 with registers", "DINOv3", "EVA-02", "RoPE of each block"])
def test_every_parameter_of_a_transformer_has_a_layer(family):
    trunk = make(family)
    found = rules(Model(trunk), LAYER_DECAY=0.5)
    expected = {"blocks.0": 1 / 16, "blocks.1": 1 / 8, "blocks.2": 1 / 4, "blocks.3": 1 / 2, "norm": 1.0}
    for name, _ in trunk.named_parameters():
        factor = next((value for start, value in expected.items() if name.startswith(f"{start}.")), 1 / 32)
        assert found[f"backbone.{name}"][0] / RATE == pytest.approx(factor), name


def test_a_non_local_block_is_new_and_keeps_the_full_rate():
    trunk = make("ViT")
    put_behind(trunk, "blocks.0", nn.Conv2d(48, 48, 1))
    found = rules(Model(trunk, (1, 2)), LAYER_DECAY=0.5)
    for place in ("backbone", "side.ie2"):
        assert found[f"{place}.blocks.0.non_local.weight"][0] == RATE
        assert found[f"{place}.blocks.0.norm1.weight"][0] == pytest.approx(RATE / 16)


def test_rates_of_a_resnet():
    """Eight blocks: the same rule for any trunk with stages."""
    found = rules(of_resnet(), LAYER_DECAY=0.9)
    numbers = {
        "conv1": 0,
        "bn1": 0,
        "layer1.0": 1,
        "layer1.1": 2,
        "layer2.0": 3,
        "layer3.1": 6,
        "layer4.0": 7,
        "layer4.1": 8,
    }
    for name, layer in numbers.items():
        rates = [rate for key, (rate, _) in found.items() if key.startswith(f"backbone.{name}.")]
        assert rates and rates == pytest.approx([RATE * 0.9 ** (9 - layer)] * len(rates)), name
    assert found["heads.weight"][0] == RATE


def test_what_is_between_two_blocks_is_of_the_later_one():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"])
    cfg.MODEL.BACKBONE.PRETRAIN = False
    with shapes.OnMeta():
        found = layer_numbers(build_backbone(cfg))
    assert [found[name] for name in ("conv1", "conv2.0", "conv2.1", "conv2.2", "conv3.0")] == [0, 1, 2, 3, 3]
    assert (found["conv4.1"], found["conv5"]) == (6, 7)


def test_what_has_no_layers_is_refused_in_one_sentence():
    with pytest.raises(ConfigError, match="this Linear has none: set it to 1.0"):
        layer_factors(nn.Linear(2, 2), 0.5)
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="SOLVER.LAYER_DECAY .*Linear has no conv1") as error:
        layer_factors(model, 0.5)
    assert "\n" not in str(error.value)


def test_what_is_not_decayed():
    """timm's own list has no decay; layer scale and norms are as norms, and whatever is a bias is as biases."""
    found = {name: decay for name, (_, decay) in rules(Model(make("DINOv2 with registers"))).items()}
    for name in ("cls_token", "reg_token", "pos_embed"):
        assert found[f"backbone.{name}"] == 0, name
    for place in ("backbone", "side.ie2"):
        assert found[f"{place}.blocks.3.ls1.gamma"] == found[f"{place}.blocks.3.norm1.weight"] == NORM_DECAY
        assert found[f"{place}.blocks.3.attn.qkv.weight"] == DECAY
        assert found[f"{place}.blocks.3.attn.qkv.bias"] == found[f"{place}.norm.bias"] == BIAS_DECAY
    eva = {name: decay for name, (_, decay) in rules(Model(make("EVA-02"))).items()}
    assert eva["backbone.blocks.0.attn.q_bias"] == eva["side.ie2.blocks.2.attn.v_bias"] == BIAS_DECAY
    assert found["heads.weight"] == DECAY
    assert rules(Model(make("DINOv3")))["backbone.blocks.0.gamma_1"][1] == NORM_DECAY


def test_other_trunks_are_decayed_as_before():
    assert decay_kinds(of_resnet()) == {}
    assert rules(of_resnet())["backbone.layer1.0.conv1.weight"] == (RATE, DECAY)


def test_a_step_moves_the_layers_by_their_rates():
    model = nn.Module()
    model.backbone = make("ViT")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    cfg = get_cfg()
    cfg.SOLVER.merge_from_list(["OPT", "SGD", "BASE_LR", 1.0, "LAYER_DECAY", 0.5, "MOMENTUM", 0.0])
    cfg.SOLVER.merge_from_list(["WEIGHT_DECAY", 0.0, "WEIGHT_DECAY_NORM", 0.0, "WEIGHT_DECAY_BIAS", 0.0])
    optimizer = build_optimizer(cfg, model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for name, factor in {"cls_token": 1 / 32, "blocks.1.attn.qkv.weight": 1 / 8, "norm.bias": 1.0}.items():
        moved = before[f"backbone.{name}"] - dict(model.backbone.named_parameters())[name]
        assert torch.allclose(moved, torch.full_like(moved, factor), atol=1e-6), name
