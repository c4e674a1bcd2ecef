"""Rates and decays of every parameter, in as few groups as there are pairs of them."""

import copy

import pytest
import torch
from torch import nn

from fastreid_ext import get_cfg
from fastreid_ext.engine.optimizer import build_optimizer, parameter_groups

RATE, DECAY, NORM_DECAY, BIAS_DECAY = 0.1, 0.01, 0.002, 0.0003


class Model(nn.Module):
    """A backbone, two heads, a shared and a frozen parameter."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)})
        self.heads_too = nn.Linear(4, 2)
        self.norms = nn.ModuleList(
            [nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.InstanceNorm1d(4, affine=True), nn.SyncBatchNorm(4)]
        )
        self.scale = nn.Parameter(torch.ones(1))
        self.tied = nn.Linear(4, 2)
        self.tied.weight = self.heads_too.weight
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


def groups_of(model, **kwargs):
    settings = {"weight_decay": DECAY, "weight_decay_norm": NORM_DECAY, "weight_decay_bias": BIAS_DECAY, **kwargs}
    return parameter_groups(model, base_lr=RATE, **settings)


def rules(model, groups):
    """Name -> (rate, decay)."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def test_each_trainable_parameter_once(model):
    groups = groups_of(model)
    listed = [p for group in groups for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {p for p in model.parameters() if p.requires_grad}


def test_groups_are_merged(model):
    groups = groups_of(model, lr_factors={"heads": 2.0})
    pairs = [(group["lr"], group["weight_decay"]) for group in groups]
    assert len(pairs) == len(set(pairs)) == 5
    assert len(groups_of(model, weight_decay_norm=DECAY, weight_decay_bias=DECAY)) == 1


def test_decay_of_norms_and_biases(model):
    found = rules(model, groups_of(model, bias_lr_factor=3.0))
    assert found["backbone.0.weight"] == found["scale"] == (RATE, DECAY)
    assert found["backbone.0.bias"] == found["backbone.1.bias"] == (RATE * 3.0, BIAS_DECAY)
    for name in ("backbone.1.weight", *(f"norms.{i}.weight" for i in range(4))):
        assert found[name] == (RATE, NORM_DECAY), name


def test_longest_name_wins_and_ends_at_a_dot(model):
    found = rules(model, groups_of(model, lr_factors={"heads": 2.0, "heads.b": 5.0, "heads.b.bias": 7.0, "scale": 9.0}))
    rates = {name: rate / RATE for name, (rate, _) in found.items()}
    assert rates["heads.a.weight"] == rates["heads.a.bias"] == 2.0
    assert rates["heads.b.weight"] == 5.0 and rates["heads.b.bias"] == pytest.approx(7.0)
    assert rates["heads_too.weight"] == rates["backbone.0.weight"] == 1.0


def test_parameter_of_the_top_level(model):
    found = rules(model, groups_of(model, lr_factors={"scale": 9.0}, must_match={"scale": 9.0}))
    assert found["scale"][0] == pytest.approx(RATE * 9.0)


@pytest.mark.parametrize("name", ["haeds", "head", "frozen", "heads.c"])
def test_name_without_parameters(name, model):
    with pytest.raises(ValueError, match=rf"\['{name}'\].*'backbone'"):
        groups_of(model, lr_factors={name: 2.0}, must_match={name: 2.0})


def config(**solver):
    cfg = get_cfg()
    cfg.SOLVER.merge_from_list([item for pair in solver.items() for item in pair])
    return cfg


def test_host_and_module_factors_from_a_config(model):
    cfg = config(BASE_LR=RATE, HEADS_LR_FACTOR=4.0, LR_FACTORS=[["heads.b", 0.5], ["backbone", 0.1]])
    found = rules(model, build_optimizer(cfg, model).param_groups)
    assert found["heads.a.weight"][0] == pytest.approx(4.0 * RATE)
    assert found["heads.b.weight"][0] == pytest.approx(0.5 * RATE)
    assert found["backbone.0.weight"][0] == pytest.approx(0.1 * RATE)
    assert found["heads_too.weight"][0] == RATE


def test_heads_factor_needs_no_heads():
    build_optimizer(config(HEADS_LR_FACTOR=4.0), nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["Adamant", "Optimizer ", "lr_scheduler"])
def test_unknown_optimiser(name, model):
    with pytest.raises(ValueError, match="use Adam, AdamW or SGD"):
        build_optimizer(config(OPT=name), model)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_three_steps_are_torchs_own(name, model):
    reference = copy.deepcopy(model)
    # a rate and a decay for each parameter, written down by hand
    own = [
        {
            "params": [p],
            "lr": RATE * (2.0 if name_.startswith("heads.") else 1.0) * (3.0 if name_.endswith("bias") else 1.0),
            "weight_decay": BIAS_DECAY
            if name_.endswith("bias")
            else NORM_DECAY
            if name_.startswith("norms") or name_ == "backbone.1.weight"
            else DECAY,
        }
        for name_, p in reference.named_parameters()
        if p.requires_grad
    ]
    plain = getattr(torch.optim, name)(own, **({"momentum": 0.8, "nesterov": True} if name == "SGD" else {}))
    cfg = config(
        OPT=name,
        BASE_LR=RATE,
        WEIGHT_DECAY=DECAY,
        WEIGHT_DECAY_NORM=NORM_DECAY,
        WEIGHT_DECAY_BIAS=BIAS_DECAY,
        BIAS_LR_FACTOR=3.0,
        HEADS_LR_FACTOR=2.0,
        MOMENTUM=0.8,
        NESTEROV=True,
    )
    ours = build_optimizer(cfg, model)
    assert ours.param_groups[0].get("fused"), "the fused step is not used"
    for _ in range(3):
        for parameter, other in zip(model.parameters(), reference.parameters(), strict=True):
            parameter.grad = torch.randn_like(parameter)
            other.grad = parameter.grad.clone()
        ours.step()
        plain.step()
    for (key, parameter), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-5, atol=1e-6, msg=key)
    assert not torch.equal(model.scale, torch.ones(1))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_of_a_parameter_that_is_trained_later(model, nesterov):
    """One that was frozen so far, or that no loss reached; torch's fused step wants all momenta or none."""
    cfg = get_cfg()
    cfg.SOLVER.OPT, cfg.SOLVER.MOMENTUM, cfg.SOLVER.NESTEROV = "SGD", 0.9, nesterov
    plain = copy.deepcopy(model)
    plainly = torch.optim.SGD(parameter_groups_of(cfg, plain), momentum=0.9, nesterov=nesterov)
    optimizers = [build_optimizer(cfg, model), plainly]
    for trained in ("heads", "heads", "", ""):
        for each, optimizer in zip((model, plain), optimizers, strict=True):
            for name, parameter in each.named_parameters():
                parameter.grad = parameter.detach() + 1 if name.startswith(trained) else None
            optimizer.step()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_momentum_of_a_checkpoint_that_lacks_some(model):
    """As one from before all of them began at 0: a run that is resumed may still train what was frozen then."""
    cfg = get_cfg()
    cfg.SOLVER.OPT, cfg.SOLVER.MOMENTUM = "SGD", 0.9
    plain = torch.optim.SGD(parameter_groups_of(cfg, model), momentum=0.9)
    for name, parameter in model.named_parameters():
        parameter.grad = torch.ones_like(parameter) if name.startswith("heads") else None
    plain.step()
    resumed = copy.deepcopy(model)
    optimizer = build_optimizer(cfg, resumed)
    saved = copy.deepcopy(plain.state_dict())
    saved["param_groups"] = [group | {"fused": True} for group in saved["param_groups"]]
    optimizer.load_state_dict(saved)
    for each, steps in ((model, plain), (resumed, optimizer)):
        for parameter in each.parameters():
            parameter.grad = torch.ones_like(parameter)
        steps.step()
    for one, other in zip(resumed.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def parameter_groups_of(cfg, model):
    rates = {"base_lr": cfg.SOLVER.BASE_LR, "weight_decay": cfg.SOLVER.WEIGHT_DECAY}
    decays = {f"weight_decay_{kind}": cfg.SOLVER[f"WEIGHT_DECAY_{kind.upper()}"] for kind in ("norm", "bias")}
    return parameter_groups(model, **rates, **decays)
