"""An epoch is saved before it is evaluated, and a resumed run makes up for an evaluation that it lacks."""

import json

import pytest
import torch

from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.errors import EvaluationError

pytestmark = pytest.mark.slow  # whole runs

SHORT = {"SOLVER__MAX_EPOCH": 2, "SOLVER__STEPS": "[]"}
NAMES = ("model_best", "model_latest", "model_final", "model_0000")
OPTIONS = {**SHORT, "SOLVER__CHECKPOINT_PERIOD": 1}


def results_of(output):
    return json.loads((output / "results.json").read_text())


@pytest.fixture(scope="module")
def straight(datasets, tmp_path_factory):
    """OUTPUT_DIR of the same run, which nothing stopped."""
    return tmp_path_factory.mktemp("straight") / "out"


@pytest.fixture
def uninterrupted(straight, run_main):
    """``uninterrupted()``: that folder; the first call makes it."""

    def run():
        if not straight.exists():
            run_main(OUTPUT_DIR=straight, **OPTIONS)
        return straight

    return run


def counted_epochs(monkeypatch):
    """Which epochs are trained from now on."""
    from fastreid_ext.engine.seeding import SeedEpochs

    seen, before = [], SeedEpochs.before_epoch

    def before_epoch(self):
        seen.append(self.trainer.epoch)
        before(self)

    monkeypatch.setattr(SeedEpochs, "before_epoch", before_epoch)
    return seen


def stop_test(monkeypatch, number, error):
    """Let the evaluation ``number`` of a run fail."""
    test, count = Trainer.test.__func__, iter(range(99))

    def failing(cls, *args):
        if next(count) == number:
            raise error
        return test(cls, *args)

    monkeypatch.setattr(Trainer, "test", classmethod(failing))


def assert_same(output, expected, differences):
    for name in NAMES:
        assert differences(output / f"{name}.pth", expected / f"{name}.pth") == [], name
    assert results_of(output) == results_of(expected)
    assert {path.name for path in output.glob("*.pth")} == {f"{name}.pth" for name in NAMES}


@pytest.mark.parametrize("number", [0, 1])
def test_a_fault_in_an_evaluation_loses_no_epoch(number, run_main, fails, monkeypatch, uninterrupted, differences):
    """The resumed run evaluates that epoch, trains none again, and ends like a run that nothing stopped."""
    with monkeypatch.context() as patch:
        stop_test(patch, number, EvaluationError("a truncated image"))
        assert fails(**OPTIONS) == "fastreid-ext train: a truncated image"
    epochs = counted_epochs(monkeypatch)
    output = run_main("--resume", **OPTIONS)
    assert epochs == list(range(number + 1, 2))
    assert_same(output, uninterrupted(), differences)
    records = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert [record["iteration"] for record in records if "mAP" in record] == [3, 7]


def test_one_epoch_alone_leaves_its_checkpoint(run_main, fails, monkeypatch, tmp_path):
    once = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0, "SOLVER__STEPS": "[]"}
    with monkeypatch.context() as patch:
        stop_test(patch, 0, EvaluationError("a truncated image"))
        fails(**once)
    final = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)
    assert (final["epoch"], final["metric"], final["best_metric"]) == (0, -1.0, -1.0)
    assert (tmp_path / "out" / "last_checkpoint").read_text() == "model_latest.pth"
    epochs = counted_epochs(monkeypatch)
    output = run_main("--resume", **once)
    found = torch.load(output / "model_best.pth", weights_only=True)
    assert epochs == [] and found["metric"] == results_of(output)["results"]["SynthReIDTiny"]["metric"] > 0


# Of a run of two epochs: model_best before model_latest has the metric; then model_final and model_latest without it,
# and model_final before model_latest has it.
@pytest.mark.parametrize("number", [2, 5, 6, 8])
def test_a_kill_between_any_two_checkpoints(number, run_main, monkeypatch, uninterrupted, differences):
    save, count = AtomicCheckpointer.save, iter(range(99))

    def killed(self, *args, **kwargs):
        save(self, *args, **kwargs)
        if next(count) == number:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointer, "save", killed)
        with pytest.raises(SystemExit, match="130"):
            run_main(**OPTIONS)
    assert_same(run_main("--resume", **OPTIONS), uninterrupted(), differences)


def test_an_epoch_that_is_not_asked_for_is_not_made_up_for(run_main, monkeypatch):
    save = AtomicCheckpointer.save

    def killed(self, *args, **kwargs):
        save(self, *args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AtomicCheckpointer, "save", killed)
        with pytest.raises(SystemExit, match="130"):
            run_main(TEST__EVAL_PERIOD=0, **SHORT)
    output = run_main("--resume", TEST__EVAL_PERIOD=0, **SHORT)
    assert (output / "log.txt").read_text().count("Evaluation results for") == 1


def test_a_folder_that_is_taken_away_is_not_written_again(run_main, fails, monkeypatch, tmp_path):
    test = Trainer.test.__func__

    def taken(cls, cfg, *args):
        (tmp_path / "out" / "running.json").write_text('{"process": 1, "host": "other"}')
        return test(cls, cfg, *args)

    monkeypatch.setattr(Trainer, "test", classmethod(taken))
    assert "is no longer this run's" in fails(**SHORT)
    assert torch.load(tmp_path / "out" / "model_latest.pth", weights_only=True)["metric"] == -1.0


def test_layers_that_are_frozen_stay_so_after_an_evaluation(market, market_keys, tmp_path):
    """A resumed run freezes them again, so one that goes on must not have thawed their batch norms."""
    from pathlib import Path

    from fastreid_ext.config import get_cfg

    market()
    cfg = get_cfg()
    cfg.merge_from_file(str(Path(__file__).with_name("tiny.yml")))
    keys = {key.replace("__", "."): value for key, value in market_keys.items()}
    cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path / "out"), *(item for pair in keys.items() for item in pair)])
    trainer = Trainer(cfg)
    trainer.model.backbone.eval()  # the heads train on, so an evaluation that sets all modules alike is seen
    modes = {name: module.training for name, module in trainer.model.named_modules()}
    assert modes["heads"] and not modes["backbone"]
    trainer._evaluate()
    assert {name: module.training for name, module in trainer.model.named_modules()} == modes
