"""FastReID's MGN, which papers compare with, under our trainer; tests/projects has the other models."""

import pytest

from fastreid_ext.reproduce import estimate
from fastreid_ext.reproduce.estimate import Cost, measured
from fastreid_ext.reproduce.table_runs import Run

TINY = {
    "INPUT.SIZE_TRAIN": "[96, 32]",  # the last map has six rows, which MGN cuts into three stripes
    "INPUT.SIZE_TEST": "[96, 32]",
    "MODEL.DEVICE": "cpu",
    "SOLVER.AMP.ENABLED": "False",
    "SOLVER.WARMUP_EPOCHS": "0",
    "SOLVER.WARMUP_ITERS": "0",
    "SOLVER.IMS_PER_BATCH": "8",
    "DATALOADER.NUM_INSTANCE": "4",
    "DATALOADER.NUM_WORKERS": "0",
    "DATASETS.NAMES": "('SynthReIDTiny',)",
    "DATASETS.TESTS": "('SynthReIDTiny',)",
}


@pytest.mark.slow
def test_a_step_of_mgn(monkeypatch, synth_tiny):
    """Nothing that its config sets is unread, what is to be frozen is there, and the loss is finite."""
    monkeypatch.setattr(estimate, "START", "fork")
    monkeypatch.setattr(estimate, "WARM_UP", 0)
    monkeypatch.setattr(estimate, "TIMED", 1)
    overrides = tuple(word for pair in TINY.items() for word in pair)
    cost = measured(Run("Baseline/Market1501_MGN.yml", overrides, "MGN"), [], {})
    assert isinstance(cost, Cost), cost
    assert cost.iters_per_epoch == 9 and cost.step_seconds > 0
