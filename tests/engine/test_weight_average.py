"""The moving average of the weights: its numbers, and a run that evaluates, saves and resumes it."""

import json

import pytest
import torch
from torch import nn

from fastreid_ext.engine import hooks
from fastreid_ext.engine.checkpoint import AtomicCheckpointer, CheckpointError
from fastreid_ext.engine.weight_average import WeightAverage

SHORT = {"SOLVER__MAX_EPOCH": 2, "SOLVER__STEPS": "[]"}
EMA = {"SOLVER__EMA__ENABLED": True, "SOLVER__EMA__DECAY": 0.5, **SHORT}


class Small(nn.Module):
    """A layer, a batch norm, a weight that two names share, and one that is frozen."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.again = self.layer
        self.frozen = nn.Parameter(torch.full((2,), 0.1), requires_grad=False)

    def forward(self, x):
        return self.again(self.norm(self.layer(x)))


def trained(decay, steps):
    """A model, its average, and its weights before the first step and after each."""
    model = Small()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.02)
    average = WeightAverage(model, optimizer, decay)
    history = [{name: p.detach().clone() for name, p in model.named_parameters()}]
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).pow(2).sum().backward()
        optimizer.step()
        history.append({name: p.detach().clone() for name, p in model.named_parameters()})
    return model, average, history


@pytest.mark.parametrize("decay", [0.3, 0.99])  # the first is reached by the warm-up, at t = 3; the other is not
def test_the_average_is_that_of_the_formula(decay):
    model, average, history = trained(decay, steps=8)
    assert average.steps == 8
    found = average.averaged(model)
    for name in history[0]:
        expected = history[0][name].double()
        for t, weights in enumerate(history[1:]):
            d = min(decay, (1 + t) / (10 + t))
            expected = d * expected + (1 - d) * weights[name].double()
        assert torch.allclose(found[name].double(), expected, atol=1e-6), name
    assert not torch.allclose(found["layer.weight"], model.layer.weight)
    assert torch.equal(found["frozen"], history[0]["frozen"])  # to the bit
    assert torch.equal(found["again.weight"], found["layer.weight"])


def test_a_model_gets_its_own_weights_back():
    model, average, history = trained(0.9, steps=3)
    saved, buffers = average.averaged(model), {name: b.clone() for name, b in model.named_buffers()}
    with pytest.raises(KeyError), average.applied():
        assert all(torch.equal(value, saved[key]) for key, value in model.state_dict().items())
        raise KeyError
    assert all(torch.equal(p, history[-1][name]) for name, p in model.named_parameters())
    assert all(torch.equal(b, buffers[name]) and torch.equal(b, saved[name]) for name, b in model.named_buffers())


def test_before_the_first_step_there_are_the_weights_alone():
    model, average, _ = trained(0.9, steps=0)
    nn.init.ones_(model.layer.weight)  # as MODEL.WEIGHTS that are loaded late
    with average.applied():
        assert torch.equal(model.layer.weight, torch.ones(3, 3))
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in average.averaged(model).items())


def test_half_precision_is_averaged_in_float32():
    layer = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(layer.weight)
    optimizer = torch.optim.SGD(layer.parameters(), lr=2**-6)
    average = WeightAverage(layer, optimizer, 0.9)
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step()
    with average.applied():  # 1 - 0.9 / 64, which bfloat16 rounds
        assert layer.weight.dtype is torch.bfloat16
    assert abs(average._average["weight"].item() - (1 - 0.9 / 64)) < 1e-6


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(run_main, stopped, differences, tmp_path):
    stopped(run_main, **EMA)
    output = run_main("--resume", **EMA)
    straight = run_main(OUTPUT_DIR=tmp_path / "straight", **EMA)
    for name in ("model_latest.pth", "model_final.pth", "model_best.pth"):
        assert differences(straight / name, output / name) == [], name

    latest, final = (torch.load(output / f"model_{name}.pth", weights_only=True) for name in ("latest", "final"))
    assert "average" not in final and latest["average"]["steps"] > 0
    own = latest["average"]["weights"]
    assert all(torch.equal(latest["model"][key], final["model"][key]) for key in final["model"])
    assert all(final["model"][key].dtype is torch.float32 for key in own)
    assert sum(torch.equal(final["model"][key], own[key]) for key in own) < len(own) / 2
    results = json.loads((output / "results.json").read_text())["results"]
    run_main("--eval-only", MODEL__WEIGHTS=output / "model_final.pth", OUTPUT_DIR=tmp_path / "again", **EMA)
    assert json.loads((tmp_path / "again" / "results.json").read_text())["results"] == results  # what was evaluated

    without = run_main(OUTPUT_DIR=tmp_path / "without", **SHORT)  # the average changes nothing of the training
    off = torch.load(without / "model_latest.pth", weights_only=True)
    assert "average" not in off and all(torch.equal(off["model"][key], own[key]) for key in own)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda state: state.pop("average"), "it has no average"),
        (lambda state: state["average"].pop("weights"), "its average is of another model"),
        (lambda state: state["average"]["weights"].pop("bias"), "its average is of another model"),
        (lambda state: state["average"].update(steps=-1), "its average has no number of steps"),
        (lambda state: state["average"]["weights"]["bias"].fill_(float("nan")), "1 damaged weights, such as"),
        (lambda state: state["average"]["weights"].update(bias=torch.zeros(5)), "1 damaged weights, such as"),
    ],
)
def test_a_damaged_average_is_a_sentence(damage, sentence, tmp_path):
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    average = WeightAverage(layer, optimizer, 0.9)
    checkpointer = AtomicCheckpointer(layer, str(tmp_path), optimizer=optimizer, average=average)
    checkpointer.average = average
    checkpointer.save("model_latest", epoch=0)
    path = tmp_path / "model_latest.pth"
    state = torch.load(path, weights_only=True)
    damage(state)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=sentence):
        checkpointer.resume_or_load("", resume=True)


def test_precise_batch_norms_see_the_averaged_weights(monkeypatch):
    model, average, history = trained(0.9, steps=2)
    seen = []
    update = lambda hook: seen.append(model.layer.weight.detach().clone())  # noqa: E731
    monkeypatch.setattr(hooks.hooks.PreciseBN, "update_stats", update)
    hooks.PreciseBN(model, None, 1, average).update_stats()
    assert torch.equal(seen[0], average.averaged(model)["layer.weight"])
    assert torch.equal(model.layer.weight, history[-1]["layer.weight"])
