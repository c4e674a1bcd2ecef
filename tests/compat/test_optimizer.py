"""Optimisers change parameters, freezing stops at whole names, and schedules of short runs are defined."""

import copy
import warnings

import pytest
import torch
from fastreid.solver import build_lr_scheduler, build_optimizer
from fastreid.utils.params import ContiguousParams


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.b1 = torch.nn.Linear(4, 4)
        self.b1_head = torch.nn.BatchNorm1d(4)
        self.heads = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.heads(self.b1_head(self.b1(x)))


OPTIMIZERS = {
    "sgd": {"SOLVER.OPT": "SGD"},
    "adam": {"SOLVER.OPT": "Adam"},
    "adamw": {"SOLVER.OPT": "AdamW"},
    "clip": {
        "SOLVER.OPT": "Adam",
        "SOLVER.CLIP_GRADIENTS.ENABLED": True,
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "value",
    },
    "freeze": {"SOLVER.OPT": "SGD", "MODEL.FREEZE_LAYERS": ["b1"], "SOLVER.FREEZE_ITERS": 2},
    "freeze-clip": {
        "SOLVER.OPT": "Adam",
        "MODEL.FREEZE_LAYERS": ["b1"],
        "SOLVER.FREEZE_ITERS": 2,
        "SOLVER.CLIP_GRADIENTS.ENABLED": True,
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "value",
    },
}


def steps(cfg, model, count, contiguous):
    optimizer, params = build_optimizer(cfg, model, contiguous)
    torch.manual_seed(1)
    for _ in range(count):
        loss = model(torch.randn(8, 4)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if contiguous:
            params.assert_buffer_is_valid()
    return params


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parameters_change_as_without_the_flat_buffer(name, host_cfg):
    cfg = host_cfg(overrides={"SOLVER.FREEZE_ITERS": 0, **OPTIMIZERS[name]})
    torch.manual_seed(0)
    start = Net()
    flat, plain = copy.deepcopy(start), copy.deepcopy(start)
    assert isinstance(steps(cfg, flat, 4, contiguous=True), ContiguousParams)
    steps(cfg, plain, 4, contiguous=False)
    for (key, before), a, b in zip(start.named_parameters(), flat.parameters(), plain.parameters(), strict=True):
        assert not torch.equal(before, a), key
        torch.testing.assert_close(a, b, msg=key)


def test_freezing_stops_at_whole_names(host_cfg):
    """Base-MGN freezes b1: the host's pattern took b1_head with it."""
    cfg = host_cfg(overrides=OPTIMIZERS["freeze"])
    model = Net()
    before = copy.deepcopy(model.state_dict())
    steps(cfg, model, 1, contiguous=True)
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    assert moved == {"b1_head.weight", "b1_head.bias", "heads.weight", "heads.bias"}


def run_schedule(cfg, iters_per_epoch):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    schedule = build_lr_scheduler(cfg, optimizer, iters_per_epoch)["lr_sched"]
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimiser takes no step here
        for _ in range(2):
            schedule.step()
            rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize("max_epoch", [1, 2, 3])
def test_max_epoch_within_the_warm_up(max_epoch, host_cfg, caplog):
    cfg = host_cfg(
        overrides={
            "SOLVER.SCHED": "CosineAnnealingLR",
            "SOLVER.MAX_EPOCH": max_epoch,
            "SOLVER.WARMUP_ITERS": 8,  # of 4 an epoch: 2 epochs
        }
    )
    rates = run_schedule(cfg, iters_per_epoch=4)
    assert all(0 <= rate <= 1 for rate in rates)
    assert ("never annealed" in caplog.text) == (max_epoch <= 2)
    assert max_epoch == cfg.SOLVER.MAX_EPOCH


def test_a_training_set_smaller_than_a_batch(host_cfg):
    with pytest.raises(ValueError, match=r"smaller than one batch \(SOLVER.IMS_PER_BATCH 8\)"):
        run_schedule(host_cfg(), iters_per_epoch=0)
