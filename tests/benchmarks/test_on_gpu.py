"""The measurements for the day a GPU is at hand: a dry run of all of them, and what keeps them within their time."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
import types
import warnings
from pathlib import Path

import pytest
from on_gpu import run as on_gpu
from on_gpu import training
from on_gpu.call import NEEDS_CUDA, OUT_OF_TIME, Call
from on_gpu.steps import share_of_peak
from on_gpu.waits import waits

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "on_gpu.sh"


@pytest.fixture
def call(tmp_path):
    return Call("rows", "cpu", True, tmp_path, time.monotonic() + 60)


@pytest.fixture
def part():
    """``part(measure)``: the name of a part that is this function."""
    name = "on_gpu.made_up"
    yield lambda measure: sys.modules.__setitem__(name, types.SimpleNamespace(measure=measure)) or "made_up"
    sys.modules.pop(name, None)


@pytest.mark.slow
def test_no_line_stumbles_in_a_dry_run(synth_root, tmp_path):
    """Every part, of the script that a user calls; a row that failed, or that no time was left for, is in the JSON."""
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment |= {"FASTREID_DATASETS": str(synth_root), "SECONDS_AT_MOST": "3000"}
    done = subprocess.run(["bash", SCRIPT, "--dry-run"], env=environment, capture_output=True, text=True, check=False)
    log = tmp_path / "log.txt"
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    records = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert records.keys() == {*on_gpu.PARTS, "summary"}
    assert {part["ended"] for part in records["summary"]["results"].values()} == {"done"}
    found = {name: record["results"] for name, record in records.items()}
    text = json.dumps(found)
    assert all(word not in text for word in ('"failed": "', '"not_run', "NaN")), text
    waited = [row["waits"] for row in found["steps"].values() if "waits" in row]
    assert waited == [NEEDS_CUDA] * 6
    assert found["cuda_tests"] == {"counts": {"skipped": 4}, "failed": {}, "pytest_status": 0}  # of two files
    assert len([row for row in found["steps"].values() if "share_of_peak" in row]) == 6 + 2
    assert "graph_breaks" in found["compiled"]["Baseline, channels_last on, compiled"]
    assert found["nccl"]["DDP, DeepMiner"]["loss"] > 0
    assert found["training"]["Baseline"]["results"]["SynthReIDOccludedTiny"]["mAP"] > 0
    assert all(record["device"] == "cpu" for name, record in records.items() if name != "summary")


def test_a_row_that_fails_loses_no_other(call, capsys):
    call.row("first", lambda: 1)
    call.row("wrong", lambda: 1 / 0)
    call.row("long", lambda: 3, seconds=100.0)
    call.row("last", lambda: 4)
    wanted = {"first": 1, "wrong": {"failed": "ZeroDivisionError: division by zero"}, "long": OUT_OF_TIME, "last": 4}
    assert json.loads((call.output / "rows.json").read_text())["results"] == wanted
    assert "Traceback" in capsys.readouterr().err


def test_a_part_that_runs_out_of_time_is_stopped_with_all_that_it_started(part, tmp_path, monkeypatch):
    def measure(call):
        call.row("first", lambda: 1)
        child = subprocess.Popen(["sleep", "600"])
        (tmp_path / "child").write_text(str(child.pid))
        time.sleep(600)

    monkeypatch.setattr(on_gpu, "CLOSING", 0.5)
    ended = on_gpu.run_part(part(measure), "cpu", True, tmp_path, 4.0)
    assert ended["ended"] == "stopped: out of time" and ended["seconds"] < 30
    assert json.loads((tmp_path / "made_up.json").read_text())["results"] == {"first": 1}
    status = Path("/proc") / (tmp_path / "child").read_text() / "status"
    assert not status.exists() or "zombie" in status.read_text()


def test_ctrl_c_ends_the_part(part, tmp_path, monkeypatch):
    """The part has a session of its own, which the terminal's signal does not reach."""

    def interrupted(process, timeout=None):
        if timeout is not None:
            raise KeyboardInterrupt
        return join(process)

    fork = type(multiprocessing.get_context("fork").Process())
    join = fork.join
    monkeypatch.setattr(fork, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        on_gpu.run_part(part(lambda call: time.sleep(600)), "cpu", True, tmp_path, 60.0)
    assert not multiprocessing.active_children()


def test_a_part_that_fails_says_so(part, tmp_path):
    def measure(call):
        raise RuntimeError("no such device")

    assert "failed with status 1" in on_gpu.run_part(part(measure), "cpu", True, tmp_path, 60.0)["ended"]
    assert "RuntimeError: no such device" in (tmp_path / "log.txt").read_text()


def test_waits_are_counted_by_the_nearest_line_of_ours():
    from fastreid_ext.evaluation.expansion import expand  # any function of ours that calls what it is given

    class Features:
        def __getattr__(self, name):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
            raise AttributeError(name)

    with waits(on_gpu=False) as found:
        for _ in range(2):
            with pytest.raises((AttributeError, TypeError)):
                expand(Features(), 1, 1.0, 1, 1.0)
        warnings.warn("another thing", stacklevel=1)
    assert set(found.values()) == {2} and all(name.startswith("fastreid_ext/evaluation/") for name in found)


def test_a_share_of_the_peak():
    """3e12 operations in half a second, on a device that has 8e12 a second."""
    assert share_of_peak({"seconds": 0.5}, int(3e12), 8e12)["share_of_peak"] == pytest.approx(0.75)


@pytest.mark.parametrize(("seconds", "epochs"), [(-5.0, 0), (9.0, 0), (35.0, 3), (1e4, training.MOST_EPOCHS)])
def test_as_many_epochs_as_the_time_allows(seconds, epochs):
    assert training.epochs_in(seconds, 10.0) == epochs


def test_what_is_missing_is_named_by_its_package(monkeypatch, tmp_path):
    monkeypatch.setitem(on_gpu.NEEDED, "no_such_module", "its-package")
    monkeypatch.setattr("sys.argv", ["run.py", "--dry-run", "--output", str(tmp_path)])
    with pytest.raises(SystemExit, match="missing here: its-package. Collect them with .* its-package"):
        on_gpu.main()


def test_wheels_are_asked_for_the_other_machine(tmp_path):
    """A Python that writes down what it is called with, and leaves a wheel."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\nmkdir -p {tmp_path}/wheels; touch {tmp_path}/wheels/a.whl\n'
    )
    python.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(python)}
    call = ["bash", SCRIPT, "wheels", tmp_path / "wheels", "timm"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True)
    asked = (tmp_path / "asked").read_text()
    assert "a.whl" in done.stdout and "--python-version 3.12" in asked and "--no-deps" in asked
    assert asked.split()[-6:] == ["fastreid", "yacs", "termcolor", "faiss-cpu", "filelock", "timm"]
