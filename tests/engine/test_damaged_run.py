"""A run is continued from a checkpoint that has everything in its form, and from nothing else."""

import math
import shutil

import pytest
import torch

from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.run_state import faults_of

SHORT = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0, "SOLVER__STEPS": "[]"}


class Parts:
    """A model with the states of a run that has made a step."""

    def __init__(self, kind=torch.optim.Adam, **settings):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 2)
        self.optimizer = kind(self.model.parameters(), lr=0.1, **settings)
        self.lr_sched = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, [2, 4])
        self.states = {"optimizer": self.optimizer, "lr_sched": self.lr_sched}

    def stepped(self):
        self.model(torch.ones(1, 3)).sum().backward()
        self.optimizer.step()
        self.lr_sched.step()
        return self

    def checkpoint(self):
        states = {name: state.state_dict() for name, state in self.states.items()}
        counts = {"epoch": 1, "seed": 3, "metric": -1.0, "best_metric": 0.5}
        return {"model": self.model.state_dict(), **states, **counts}


DAMAGES = {
    "no optimizer": (lambda c: c.pop("optimizer"), "has no optimizer"),
    "no schedule": (lambda c: c.pop("lr_sched"), "has no lr_sched"),
    "no epoch": (lambda c: c.pop("epoch"), "has no epoch"),
    "epoch in words": (lambda c: c.update(epoch="one"), "its epoch is 'one'"),
    "negative epoch": (lambda c: c.update(epoch=-3), "its epoch is -3"),
    "true epoch": (lambda c: c.update(epoch=True), "its epoch is True"),
    "nan epoch": (lambda c: c.update(epoch=math.nan), "its epoch is nan"),
    "fractional epoch": (lambda c: c.update(epoch=1.5), "its epoch is 1.5"),
    "epoch in a tensor": (lambda c: c.update(epoch=torch.ones(2)), "its epoch is of type Tensor"),
    "seed in words": (lambda c: c.update(seed="3"), "its seed is '3'"),
    "negative seed": (lambda c: c.update(seed=-1), "its seed is -1"),
    "metric in words": (lambda c: c.update(metric="good"), "its metric is 'good'"),
    "nan metric": (lambda c: c.update(best_metric=math.nan), "its best_metric is nan"),
    "best in a list": (lambda c: c.update(best_metric=[1.0]), "its best_metric is of type list"),
    "optimizer of nothing": (lambda c: c.update(optimizer=3), "its optimizer is not the state of one"),
    "empty optimizer": (lambda c: c["optimizer"].update(state={}), "its optimizer has no state"),
    "half an optimizer": (lambda c: c["optimizer"]["state"][0].pop("exp_avg"), "damaged state (0)"),
    "another parameter": (lambda c: c["optimizer"]["state"].update({9: {}}), "damaged state (9)"),
    "another shape": (
        lambda c: c["optimizer"]["state"][0].update(exp_avg=torch.ones(5)),
        "damaged state (exp_avg of parameter 0)",
    ),
    "nan moments": (
        lambda c: c["optimizer"]["state"][1].update(exp_avg_sq=torch.full((2,), math.nan)),
        "damaged state (exp_avg_sq of parameter 1)",
    ),
    "a rate in words": (lambda c: c["optimizer"]["param_groups"][0].update(lr="fast"), "param_groups[0].lr is 'fast'"),
    "nan rate": (lambda c: c["optimizer"]["param_groups"][0].update(lr=math.nan), "param_groups[0].lr is nan"),
    "more groups": (lambda c: c["optimizer"]["param_groups"].append({}), "param_groups is of type list"),
    "groups of nothing": (lambda c: c["optimizer"].update(param_groups=None), "param_groups is None"),
    "schedule of nothing": (lambda c: c.update(lr_sched=[]), "its lr_sched is of another form"),
    "schedule before its start": (lambda c: c["lr_sched"].update(last_epoch=-2), "lr_sched.last_epoch is -2"),
    "schedule without a place": (lambda c: c["lr_sched"].pop("last_epoch"), "lr_sched.last_epoch is None"),
    "a method's name": (lambda c: c["lr_sched"].update(step=1), "lr_sched.step is unknown"),
    "rates of another length": (lambda c: c["lr_sched"].update(base_lrs=[0.1, 0.2]), "lr_sched.base_lrs"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_missing_or_of_another_form(damage, tmp_path):
    """The sentence says what, and nothing was loaded."""
    change, sentence = DAMAGES[damage]
    saved = Parts().stepped().checkpoint()
    change(saved)
    torch.save(saved, tmp_path / "model_latest.pth")
    (tmp_path / "last_checkpoint").write_text("model_latest.pth")
    fresh = Parts()
    before = fresh.model.weight.clone()
    with pytest.raises(Exception, match="model_latest.pth can't be resumed: ") as stopped:
        AtomicCheckpointer(fresh.model, str(tmp_path), **fresh.states).resume_or_load("", resume=True)
    assert type(stopped.value).__name__ == "CheckpointError" and sentence in str(stopped.value)
    assert torch.equal(fresh.model.weight, before) and not fresh.optimizer.state


def test_several_faults_are_one_sentence():
    saved = Parts().stepped().checkpoint() | {"epoch": -1, "seed": None}
    saved.pop("optimizer")
    assert len(faults_of(saved, Parts().states)) == 3


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (torch.optim.Adam, {}),
        (torch.optim.AdamW, {"fused": True}),
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.SGD, {}),
        (torch.optim.RMSprop, {}),
        (torch.optim.Adafactor, {}),  # a number for each row and column
    ],
)
def test_whole_ones_are_continued(kind, settings, tmp_path):
    """Also one of before this version, with neither seed nor metric, and with a key that only it knows."""
    saved = Parts(kind, **settings).stepped().checkpoint()
    saved["optimizer"]["param_groups"][0]["of_another_torch"] = None
    saved["lr_sched"]["verbose"] = False
    for key in ("seed", "metric", "best_metric"):
        del saved[key]
    torch.save(saved, tmp_path / "model_latest.pth")
    (tmp_path / "last_checkpoint").write_text("model_latest.pth\n")
    fresh = Parts(kind, **settings)
    found = AtomicCheckpointer(fresh.model, str(tmp_path), **fresh.states).resume_or_load("", resume=True)
    assert found["epoch"] == 1 and fresh.lr_sched.last_epoch == 1


def test_weights_that_are_missing_are_not_drawn_anew(tmp_path):
    parts = Parts().stepped()
    saved = parts.checkpoint()
    del saved["model"]["bias"]
    torch.save(saved, tmp_path / "a.pth")
    (tmp_path / "last_checkpoint").write_text("a.pth")
    with pytest.raises(Exception, match=r"can't be resumed: 1 weights are not in it .* \['bias'\]"):
        AtomicCheckpointer(parts.model, str(tmp_path), **parts.states).resume_or_load("", resume=True)


@pytest.mark.parametrize("name", ["../a.pth", "/tmp/a.pth", "", ".", "..", "sub/a.pth", "a\0.pth"])
def test_last_checkpoint_names_a_file_of_its_folder(name, tmp_path):
    run = tmp_path / "run"
    (run / "sub").mkdir(parents=True)
    for folder in (tmp_path, run / "sub"):
        torch.save(Parts().stepped().checkpoint(), folder / "a.pth")
    (run / "last_checkpoint").write_text(name)
    parts = Parts()
    with pytest.raises(Exception, match="last_checkpoint names .* which is not a file of that folder"):
        AtomicCheckpointer(parts.model, str(run), **parts.states).resume_or_load("", resume=True)


# ---- whole runs -----------------------------------------------------------------------------------------------------

CONFIGS = {
    "torn": (lambda text: text[: len(text) // 2] + "\n: [", "is damaged"),
    "empty": (lambda text: "", "is not the config of a run"),
    "a list": (lambda text: "[1, 2]", "is not the config of a run"),
    "of something else": (lambda text: "a: 1", "is not the config of a run"),
    "binary": (lambda text: b"\xff\x00\x01", "is not in UTF-8"),
    "a date that can't be": (lambda text: text + "X: 2001-13-45\n", "is damaged"),
    "too deep": (lambda text: "[" * 600, "is damaged"),
    "a bomb": (
        lambda text: (
            "a0: &a0 {x: 1}\n"
            + "".join(f"a{n}: &a{n} {{{', '.join(f'k{k}: *a{n - 1}' for k in range(9))}}}\n" for n in range(1, 12))
        ),
        "is damaged (more than 10000 keys)",
    ),
    "a bomb of lists": (
        lambda text: (
            text.replace("SEED: 0", "SEED: 0")
            + "L0: &l0 [1]\n"
            + "".join(f"L{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 12))
            + "SOLVER: {BASE_LR: *l11}\n"
        ),
        "SOLVER.BASE_LR was [[[",
    ),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    return tmp_path_factory.mktemp("begun") / "out"


@pytest.fixture
def output(begun, run_main, tmp_path):
    """A copy of a finished run's folder."""
    if not begun.exists():
        run_main(OUTPUT_DIR=begun, **SHORT)
    return shutil.copytree(begun, tmp_path / "out")


@pytest.mark.parametrize("damage", CONFIGS)
def test_a_damaged_config(damage, output, tmp_path, capsys, monkeypatch):
    from fastreid_ext.config import get_cfg
    from fastreid_ext.engine.checks.resume import check_same_run
    from fastreid_ext.errors import UserError

    change, sentence = CONFIGS[damage]
    path = output / "config.yaml"
    text = change(path.read_text())
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(output)
    with pytest.raises(UserError) as stopped:
        check_same_run(cfg)
    assert sentence in str(stopped.value) and len(str(stopped.value)) < 20_000


def test_a_checkpoint_without_its_optimizer_is_refused(output, fails):
    path = output / "model_latest.pth"
    saved = torch.load(path, weights_only=True)
    del saved["optimizer"]
    torch.save(saved, path)
    assert f"{path} can't be resumed: it has no optimizer" in fails("--resume", **SHORT)
