"""report.json: cost, commit and environment of a run."""

import json
import subprocess

import pytest
import torch
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine import run_record
from fastreid_ext.engine.model_cost import model_cost
from fastreid_ext.engine.run_record import commit, write_run_record


class Small(nn.Module):
    """A convolution and a layer of the test, and a classifier that only training reads."""

    training_only = ("classifier",)

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4, 50)
        self.norm.eval()

    def forward(self, images):
        assert not self.training
        return self.norm(self.convolution(images)).mean(dim=(2, 3))


@pytest.fixture
def cfg(tmp_path):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "INPUT.SIZE_TEST", [8, 6], "OUTPUT_DIR", str(tmp_path)])
    return cfg


def test_cost_by_hand(cfg):
    """A 3 x 3 convolution of 3 to 4 channels at 8 x 6 positions."""
    model = Small().train()
    model.norm.eval()
    found = model_cost(cfg, model)
    assert found["multiply_adds"] == 3 * 3 * 3 * 4 * 8 * 6 and found["input"] == [8, 6] and found["feature_dim"] == 4
    assert found["parameters_of_test"] == 3 * 3 * 3 * 4 + 8 and found["parameters"] == found["parameters_of_test"] + 250
    assert model.training and model.classifier.training and not model.norm.training


def test_cropped_images_are_of_that_size(cfg):
    cfg.merge_from_list(["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [4]])
    assert model_cost(cfg, Small())["input"] == [4, 4]


def test_images_of_any_size_have_no_count(cfg):
    cfg.INPUT.SIZE_TEST = [0, 0]
    assert "multiply_adds" not in model_cost(cfg, Small())


def test_the_record(cfg, tmp_path):
    write_run_record(cfg, Small(), 7)
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["format"] == run_record.FORMAT and found["seed"] == 7 and found["eval_only"] is False
    assert found["environment"]["torch"].startswith(torch.__version__.split("+")[0])
    assert found["model"]["parameters"] > 0 and "INPUT:" in found["config"]
    assert len((tmp_path / "report.json").read_bytes()) < 100_000


def test_an_evaluation_keeps_what_training_recorded(cfg, tmp_path):
    cfg.MODEL.WEIGHTS = str(tmp_path / "model_best.pth")
    write_run_record(cfg, Small(), 7, eval_only=True)
    assert json.loads((tmp_path / "report.json").read_text())["eval_only"] is True
    write_run_record(cfg, Small(), 8)
    write_run_record(cfg, Small(), 9, eval_only=True)
    assert json.loads((tmp_path / "report.json").read_text())["seed"] == 8
    cfg.MODEL.WEIGHTS = str(tmp_path / "other" / "model_best.pth")  # another run's
    write_run_record(cfg, Small(), 10, eval_only=True)
    assert json.loads((tmp_path / "report.json").read_text())["seed"] == 10
    (tmp_path / "report.json").write_text("{")
    cfg.MODEL.WEIGHTS = str(tmp_path / "model_best.pth")
    write_run_record(cfg, Small(), 11, eval_only=True)
    assert json.loads((tmp_path / "report.json").read_text())["seed"] == 11


def test_a_model_that_can_not_be_counted_stops_no_run(cfg, tmp_path, caplog):
    class Odd(Small):
        def forward(self, images):
            raise RuntimeError("it wants labels")

    write_run_record(cfg, Odd(), 7)
    assert json.loads((tmp_path / "report.json").read_text())["model"] == {}
    assert "it wants labels" in caplog.text and "Traceback" in caplog.text


def test_commit(monkeypatch, tmp_path):
    package = tmp_path / "fastreid_ext" / "__init__.py"
    package.parent.mkdir()
    package.write_text("")
    monkeypatch.setattr(run_record.fastreid_ext, "__file__", str(package))
    assert commit() == ""  # no checkout

    def git(*words):
        settings = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        return subprocess.run(["git", "-C", tmp_path, *settings, *words], check=True, capture_output=True, text=True)

    git("init", "-q")
    assert commit() == ""  # nothing in it yet
    git("add", ".")
    git("commit", "-qm", "first")
    assert commit() == git("rev-parse", "--short=12", "HEAD").stdout.strip()
    package.write_text("1")
    assert commit().endswith("-dirty")
    monkeypatch.setenv("PATH", str(tmp_path))  # no git
    assert commit() == ""
