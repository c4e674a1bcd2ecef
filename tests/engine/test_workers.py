"""Loader workers end with the run that started them, and not when the garbage collector finds them."""

import gc
import multiprocessing
from pathlib import Path

import pytest

from fastreid_ext import get_cfg
from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.engine.trainer import Trainer


@pytest.fixture
def trainer(datasets, tmp_path, monkeypatch, forget_logs):
    monkeypatch.setenv("FASTREID_DATASETS", str(datasets))
    cfg = get_cfg()
    cfg.merge_from_file(str(Path(__file__).parent / "tiny.yml"))
    run = ["OUTPUT_DIR", str(tmp_path / "out"), "DATALOADER.NUM_WORKERS", 2, "TEST.EVAL_PERIOD", 1]
    cfg.merge_from_list([*run, "SOLVER.MAX_EPOCH", 2, "SOLVER.STEPS", []])
    return Trainer(cfg)


@pytest.fixture
def no_garbage_collection():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("stopped", [False, True])
def test_no_worker_outlives_its_run(stopped, trainer, no_garbage_collection, monkeypatch):
    seen = []
    update = TrainingStep._update

    def step(self):
        seen.append(len(multiprocessing.active_children()))
        if stopped and len(seen) > trainer.iters_per_epoch:  # after an evaluation, whose workers wait
            raise FloatingPointError("stopped")
        update(self)

    monkeypatch.setattr(TrainingStep, "_update", step)
    if stopped:
        with pytest.raises(FloatingPointError, match="stopped"):
            trainer.train()
    else:
        trainer.train()
    assert seen[0] == 2 and seen[-1] == 4  # of training, and of the test set
    assert not multiprocessing.active_children()
