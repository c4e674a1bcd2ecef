"""Where a run was made is in its checkpoints, and going on elsewhere is said."""

import logging
import shutil
from importlib import metadata

import pytest
import torch

from fastreid_ext.engine import environment as module
from fastreid_ext.engine.environment import environment, processor_name, warn_if_elsewhere

SHORT = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0, "SOLVER__STEPS": "[]"}


@pytest.fixture
def warned(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        yield caplog


def test_it_is_plain():
    found = environment("cpu")
    assert found["threads"] == torch.get_num_threads() and found["processes"] == 1 and found["device"] == "cpu"
    assert found["torch"] == torch.__version__.partition("+")[0] or found["torch"] == torch.__version__
    assert found["processor"] == processor_name() != "" and found["fastreid"] == "1.4.0"
    assert all(type(value) in (str, int) for value in found.values())


def test_a_relative_of_opencv_has_a_version_too(monkeypatch):
    """What decodes images counts for the bits of a run, and docs/install.md lets opencv-python do it."""
    installed = {"opencv-python": "5.0.0.93"}

    def version(name):
        if name in installed:
            return installed[name]
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "packages_distributions", dict)
    monkeypatch.setattr(module, "_version", module._version.__wrapped__)
    assert environment("cpu")["opencv-python-headless"] == "opencv-python 5.0.0.93"
    installed.clear()
    assert environment("cpu")["opencv-python-headless"] == "not installed under this name"


def test_the_same_place_is_not_warned_of(warned):
    for saved in (environment("cpu"), None, {}, [1], {"unknown": 1}):
        warn_if_elsewhere(saved, "cpu")
    assert warned.messages == []


def test_every_difference_is_in_one_warning(warned):
    warn_if_elsewhere(environment("cpu") | {"threads": 64, "processor": "Z80", "torch": ["x" * 999]}, "cpu")
    (message,) = warned.messages
    assert "threads 64 before and 1 now" in message and "processor Z80 before and " in message
    assert "need not be equal to the last bit" in message and len(message) < 600


@pytest.mark.slow
def test_checkpoints_hold_it_and_a_resumed_run_compares_it(run_main, tmp_path, monkeypatch):
    output = run_main(**SHORT)
    path = output / "model_latest.pth"
    saved = torch.load(path, weights_only=True)
    assert saved["environment"] == environment("cpu")
    shutil.copytree(output, tmp_path / "older")
    monkeypatch.setattr(module, "processor_name", lambda: "another")
    run_main("--resume", **SHORT)
    assert (output / "log.txt").read_text().count("and another now: from here on") == 1
    del saved["environment"]  # of an earlier version
    torch.save(saved, tmp_path / "older" / "model_latest.pth")
    run_main("--resume", OUTPUT_DIR=tmp_path / "older", **SHORT)
    assert "from here on" not in (tmp_path / "older" / "log.txt").read_text()
