"""What a table's runs are estimated to take, and why there is no estimate."""

import os
import tempfile

import pytest

from fastreid_ext.cli import main
from fastreid_ext.reproduce import estimate
from fastreid_ext.reproduce.estimate import Cost, estimates, measured, side_by_side
from fastreid_ext.reproduce.table_runs import Run

RUN = Run("DeepMiner/ablation/table1_ie3.yml", (), "ablation/table1_ie3")
ON_GPU = Cost(0.25, 200, 120, 9 * 2**30, "NVIDIA X", True)


@pytest.fixture
def forked(monkeypatch):
    """Steps are timed in a fork of this process, which costs no imports."""
    monkeypatch.setattr(estimate, "START", "fork")


def test_in_words():
    assert ON_GPU.hours == pytest.approx(0.25 * 200 * 120 / 3600)
    expected = "about 1.7 hours: 120 epochs of 200 steps of 0.25 s on NVIDIA X; 9.0 GiB of GPU memory"
    assert ON_GPU.sentence() == expected
    on_cpu = Cost(2.0, 18, 24, 2**29, "cpu", False).sentence()
    assert on_cpu.startswith("about 14 minutes: 24 epochs of 18 steps of 2.00 s on cpu; 0.5 GiB of memory of the proc")
    assert "peak RSS" in on_cpu
    unknown = Cost(0.1, 4, 1, 0, "cpu", False).sentence()  # where the system does not tell
    assert unknown == "less than a minute: 1 epoch of 4 steps of 0.10 s on cpu"


def test_runs_side_by_side_end_with_the_last_one():
    assert side_by_side([1.0, 2.0, 3.0], 1) == 6.0
    assert side_by_side([1.0, 2.0, 3.0], 2) == 4.0  # the third starts where the first ended
    assert side_by_side([1.0], 4) == 1.0


def test_the_sum_counts_seeds_and_places_and_says_what_it_lacks(monkeypatch):
    costs = {"a": ON_GPU, "b": "its steps ended with status 1", "c": ON_GPU}
    monkeypatch.setattr(estimate, "measured", lambda run, *settings: costs[run.folder])
    runs = {Run("x.yml", (), folder): seeds for folder, seeds in zip("abc", (3, 3, 1), strict=True)}
    lines = list(estimates(runs, [], {}, places=2, num_gpus=2))
    assert lines[0].startswith("- estimate for a for each of 3 seeds: about 1.7 hours")
    assert lines[1] == "- no estimate for b: its steps ended with status 1"
    assert lines[2].startswith("- estimate for c: ")
    assert lines[3].startswith(
        "estimate of all: about 3.3 hours with 2 runs side by side, without 1 run that has no estimate (evaluation"
    )
    assert lines[3].endswith("and what several processes exchange and what runs on one device take from each other)")
    apart = list(estimates(runs, [], {"CUDA_VISIBLE_DEVICES": "0"}, places=2))
    assert apart[3].endswith("a run that goes on counts in full)")
    assert len(list(estimates({Run("x.yml", (), "b"): 1}, [], {}, places=1))) == 1


def test_why_there_is_none(forked, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cheap = ["MODEL.DEVICE", "cpu"]
    assert "Market1501 is missing" in measured(RUN, cheap, {})
    assert "SOLVER.IMS_PER_BATCH" in measured(RUN, [*cheap, "SOLVER.IMS_PER_BATCH", "6"], {})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(estimate, "_cost", lambda *call: tempfile.mkdtemp(dir=call[-1]) and os._exit(3))
    assert measured(RUN, cheap, {}) == "its steps ended with status 3"
    assert not list(tmp_path.iterdir())  # nothing of the killed process is left


def test_a_plan_without_data_says_why_it_has_no_estimate(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fastreid_ext.reproduce.paper.estimates", lambda *call: pytest.fail("steps were timed"))
    assert main(["reproduce", "DeepMiner", "table 3", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "table2_ie23.yml, 120 epochs: seed 0 is to be trained" in printed and "- missing: data set" in printed
    assert printed.endswith(
        "no estimate: steps are timed with the data, and what the plan calls missing is not there\n"
    )
    assert main(["reproduce", "DeepMiner", "table 3", "--dry-run", "--size", "synthreid"]) == 0
    assert capsys.readouterr().out.endswith(
        "no estimate: steps are timed with the data, and the first run makes SynthReID and SynthReIDOccluded\n"
    )
    assert not list(tmp_path.iterdir())  # a dry run makes nothing
