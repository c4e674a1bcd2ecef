"""What SOLVER.CHECKPOINT_KEEP leaves of a run, and how a run with less than all of it is taken up again."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fastreid_ext.engine import epoch_checkpoints
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.epoch_checkpoints import EpochCheckpoints

ALL = ("best", "final", "periodic", "latest")
EPOCHS = 3
METRICS = (0.2, 0.5, 0.3)  # the second epoch is the best


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.setattr(epoch_checkpoints, "environment", lambda device: {})  # it asks git


class Run:
    """The checkpoints of a run whose steps change one weight."""

    def __init__(self, folder: Path, keep=ALL, epochs=EPOCHS):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        folder.mkdir(exist_ok=True)
        self.checkpointer = AtomicCheckpointer(self.model, str(folder), optimizer=self.optimizer)
        self.checkpointer.epochs = epochs
        metric = lambda: METRICS[self.hook.trainer.epoch]  # noqa: E731
        self.hook = EpochCheckpoints(
            self.checkpointer, keep, 1 if "periodic" in keep else None, metric, 3, "cpu", lambda: None, {}
        )
        self.hook.trainer = SimpleNamespace(epoch=0, max_epoch=epochs)
        self.start = 0

    def resume(self):
        checkpoint = self.checkpointer.resume_or_load("", resume=True)
        if checkpoint:
            self.hook.take_up(checkpoint)
            self.start = checkpoint["epoch"] + 1
        return self

    def train(self):
        for epoch in range(self.start, self.checkpointer.epochs):
            self.hook.trainer.epoch = epoch
            self.optimizer.zero_grad()
            self.model(torch.full((1, 3), epoch + 1.0)).pow(2).sum().backward()
            self.optimizer.step()
            self.hook.after_epoch()
            self.hook.record(epoch)
        self.hook.finish()
        return self


def left(folder: Path) -> dict[str, tuple[int, bool]]:
    """Name -> (epoch, with the optimiser's state) of a folder's checkpoints."""
    found = {path.stem: torch.load(path, weights_only=True) for path in folder.glob("*.pth")}
    return {name: (data["epoch"], "optimizer" in data) for name, data in found.items()}


def last(folder: Path) -> str:
    return (folder / "last_checkpoint").read_text()


def periodic(states: bool) -> dict:
    return {f"model_{epoch:04d}": (epoch, states) for epoch in range(EPOCHS - 1)}


BEST, FINAL, LATEST = {"model_best": (1, False)}, {"model_final": (2, False)}, {"model_latest": (2, True)}
LEFT = {
    ALL: (BEST | FINAL | LATEST | periodic(False), "model_latest.pth"),
    ("best", "final", "latest"): (BEST | FINAL | LATEST, "model_latest.pth"),
    ("latest",): (LATEST, "model_latest.pth"),
    ("final",): (FINAL, "model_final.pth"),
    ("best",): (BEST, "model_best.pth"),
    ("best", "periodic"): (BEST | periodic(False), "model_best.pth"),
    ("final", "optimizer"): ({"model_final": (2, True)}, "model_final.pth"),
    (*ALL, "optimizer"): (
        {"model_best": (1, True), "model_final": (2, True)} | LATEST | periodic(True),
        "model_latest.pth",
    ),
}


@pytest.mark.parametrize("keep", LEFT)
def test_what_is_left_and_resumed_from(keep, tmp_path):
    Run(tmp_path / "run", keep).train()
    files, name = LEFT[keep]
    assert left(tmp_path / "run") == files and last(tmp_path / "run") == name


class Killed(BaseException):
    """As the process dies: nothing handles it."""


def kill_at(monkeypatch, number: int) -> None:
    """Die at one of the moments at which the folder changes: a file is renamed, or removed."""
    import os

    count = iter(range(1000))

    def dying(inner):
        def call(*args, **kwargs):
            if next(count) == number:
                raise Killed
            return inner(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "replace", dying(os.replace))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))


@pytest.mark.parametrize("keep", [ALL, ("final",), ("final", "optimizer")])
def test_killed_at_every_change_of_the_folder(keep, tmp_path, monkeypatch, differences):
    Run(tmp_path / "whole", keep).train()
    for number in range(100):
        folder = tmp_path / f"killed{number}"
        with monkeypatch.context() as patch:
            kill_at(patch, number)
            try:
                Run(folder, keep).train()
            except Killed:
                killed = True
            else:
                killed = False
        run = Run(folder, keep).resume()
        if not killed:
            break
        epoch = run.start - 1
        if 0 <= epoch and run.hook._saved["metric"] == epoch_checkpoints.NO_METRIC:  # as EvaluateEpochs makes up for it
            run.hook.trainer.epoch = epoch
            run.hook.record(epoch)
        run.train()
        assert left(folder) == left(tmp_path / "whole") and last(folder) == last(tmp_path / "whole"), number
        for name in left(folder):
            assert differences(folder / f"{name}.pth", tmp_path / "whole" / f"{name}.pth") == [], (number, name)
    assert number > 6


def test_final_weights_are_taken_up_to_be_evaluated_and_no_further(tmp_path):
    folder = tmp_path / "run"
    trained = Run(folder, ("final",)).train()
    again = Run(folder, ("final",)).resume()
    assert again.start == EPOCHS and torch.equal(again.model.weight, trained.model.weight)
    with pytest.raises(Exception, match="can't be resumed: it has no optimizer: weights alone are loaded with"):
        Run(folder, ("final",), EPOCHS + 1).resume()


def test_the_best_weights_are_not_the_end_of_a_run(tmp_path):
    Run(tmp_path / "run", ("best",)).train()
    with pytest.raises(Exception, match="model_best.pth can't be resumed: it has no optimizer: weights alone"):
        Run(tmp_path / "run", ("best",)).resume()


def test_a_file_of_the_optimiser_goes_on(tmp_path, differences):
    Run(tmp_path / "whole").train()
    Run(tmp_path / "run", ("final", "optimizer"), EPOCHS - 1).train()
    Run(tmp_path / "run").resume().train()
    assert differences(tmp_path / "run" / "model_latest.pth", tmp_path / "whole" / "model_latest.pth") == []


def test_other_files_of_a_run_that_ended(tmp_path):
    """The last epoch's weights are written from what --resume reads, also over those of an earlier end."""
    folder = tmp_path / "run"
    Run(folder, ("final", "latest"), EPOCHS - 1).train()
    Run(folder, ("latest",)).resume().train()
    assert left(folder) == {"model_final": (1, False), "model_latest": (2, True)}
    Run(folder, ("best",)).resume().train()
    assert left(folder) == {"model_final": (1, False), "model_latest": (2, True)}  # there is no best one
    Run(folder, ("final",)).resume().train()
    assert left(folder) == {"model_final": (2, False)}


@pytest.mark.slow
def test_a_run_leaves_them(run_main, fails):
    short = {"SOLVER__MAX_EPOCH": 2, "SOLVER__STEPS": "[]"}
    output = run_main(SOLVER__CHECKPOINT_KEEP="('final',)", **short)
    assert left(output) == {"model_final": (1, False)}
    results = (output / "results.json").read_text()
    run_main("--resume", SOLVER__CHECKPOINT_KEEP="('final',)", **short)  # another start of a run that has ended
    assert (output / "results.json").read_text() == results and left(output) == {"model_final": (1, False)}
    assert "it has no optimizer" in fails("--resume", **short | {"SOLVER__MAX_EPOCH": 3})
