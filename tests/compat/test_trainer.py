"""Runs that evaluate only at the end, that are resumed when done, and the best weights across a resume."""

import pytest
import torch
from fastreid.engine import DefaultTrainer
from fastreid.engine.hooks import EvalHook


class Scripted(DefaultTrainer):
    """Evaluates to numbers that the test chose."""

    metrics: list[float] = []

    @classmethod
    def test(cls, cfg, model):
        return {"metric": cls.metrics.pop(0)}

    def run_step(self):
        self.optimizer.step()  # schedulers warn without one; nothing is learnt here


@pytest.fixture
def run(market, host_cfg, r18):
    def start(metrics, resume=False, **settings):
        Scripted.metrics = list(metrics)
        overrides = {**r18, "SOLVER.AMP.ENABLED": False}
        overrides.update({key.replace("__", "."): value for key, value in settings.items()})
        trainer = Scripted(host_cfg(overrides=overrides))
        trainer.resume_or_load(resume=resume)
        return trainer, trainer.train()

    return start


def test_eval_period_zero_evaluates_once_at_the_end(run):
    _, results = run([0.7], TEST__EVAL_PERIOD=0, SOLVER__MAX_EPOCH=2)
    assert results == {"metric": 0.7} and Scripted.metrics == []


@pytest.mark.slow
def test_an_eval_period_that_does_not_divide_evaluates_at_the_end_too(run):
    _, results = run([0.1, 0.2], TEST__EVAL_PERIOD=2, SOLVER__MAX_EPOCH=3)
    assert results == {"metric": 0.2} and Scripted.metrics == []


def test_an_error_before_the_first_epoch_is_not_hidden():
    class Trainer:
        max_epoch = 1

    hook = EvalHook(1, lambda: pytest.fail("evaluates"))
    hook.trainer = Trainer()  # has no epoch yet
    hook.after_train()


def test_resuming_a_finished_run_evaluates_it(run):
    run([0.5])
    trainer, results = run([0.5], resume=True)
    assert trainer.start_epoch == trainer.max_epoch == 1
    assert results == {"metric": 0.5}


@pytest.mark.slow
def test_the_best_weights_survive_a_resume(run, tmp_path):
    best = tmp_path / "out" / "model_best.pth"
    run([0.9])
    run([0.1], resume=True, SOLVER__MAX_EPOCH=2)
    assert torch.load(best, weights_only=True)["metric"] == 0.9
    run([0.95], resume=True, SOLVER__MAX_EPOCH=3)
    saved = torch.load(best, weights_only=True)
    assert saved["metric"] == 0.95 and saved["epoch"] == 2


def test_a_run_that_is_all_warm_up_trains(run):
    _, results = run([0.3], SOLVER__SCHED="CosineAnnealingLR", SOLVER__WARMUP_ITERS=4)
    assert results == {"metric": 0.3}
