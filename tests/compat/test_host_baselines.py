"""The host's own base configs train, evaluate and resume on a CPU with its own DefaultTrainer."""

import pytest
import torch
from fastreid.engine import DefaultTrainer

R18 = {"MODEL.BACKBONE.DEPTH": "18x", "MODEL.BACKBONE.FEAT_DIM": 512}
SGD = {"SOLVER.OPT": "SGD", "SOLVER.BASE_LR": 0.02, "SOLVER.MOMENTUM": 0.0}
IBN = {"MODEL.BACKBONE.WITH_IBN": True}

# Non-local blocks exist from depth 50 on, and MGN is written for its channels; three stripes need six rows.
BASELINES = {
    "bagtricks": ("Base-bagtricks", R18),
    "bagtricks-ibn": ("Base-bagtricks", {**R18, **IBN}),
    "sbs-ibn": ("Base-SBS", IBN),
    # Plain SGD has no state, which for MGN's 69 M weights would be half a gigabyte in each checkpoint.
    "agw-ibn": ("Base-AGW", {**IBN, **SGD}),
    "mgn-ibn": ("Base-MGN", {**IBN, **SGD, "INPUT.SIZE_TRAIN": [96, 32], "INPUT.SIZE_TEST": [96, 32]}),
}
FAST = "bagtricks"
GO_ON = ("Base-bagtricks", "Base-SBS")  # with Adam, frozen layers or neither; another trunk is no other second epoch


def unmoved(before: dict, model: torch.nn.Module) -> list[str]:
    """The trainable parameters that have a gradient and yet are what they were."""
    return [
        name
        for name, value in model.named_parameters()
        if value.grad is not None and value.grad.any() and torch.equal(before[name], value)
    ]


@pytest.mark.parametrize(
    "baseline",
    [pytest.param(name, marks=() if name == FAST else pytest.mark.slow) for name in BASELINES],
)
def test_trains_evaluates_and_resumes(baseline, market, host_cfg):
    name, overrides = BASELINES[baseline]
    torch.manual_seed(0)

    trainer = DefaultTrainer(host_cfg(name, overrides))
    trainer.resume_or_load(resume=False)
    before = {key: value.detach().clone() for key, value in trainer.model.named_parameters()}
    results = trainer.train()

    assert trainer.iter == trainer.max_iter == 4
    assert set(results) >= {"Rank-1", "Rank-10", "mAP", "mINP"}
    assert unmoved(before, trainer.model) == []
    moved = [key for key, value in trainer.model.named_parameters() if not torch.equal(before[key], value)]
    assert len(moved) > 0.8 * len(before)

    resumed = DefaultTrainer(host_cfg(name, {**overrides, "SOLVER.MAX_EPOCH": 2}))
    resumed.resume_or_load(resume=True)
    assert resumed.start_epoch == 1
    for key, value in trainer.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    if name in GO_ON:
        assert set(resumed.train()) >= {"Rank-1", "mAP"}
