"""Runs that a command starts, in the process of the test; and runs that are finished without a training."""

import json

import pytest
import torch
from fastreid.modeling import build_model
from small_figures import OPTS

from fastreid_ext.cli import main
from fastreid_ext.config import get_cfg
from fastreid_ext.engine import repeat
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import config_file_of
from fastreid_ext.reproduce import table_runs


@pytest.fixture
def runs_in_this_process(monkeypatch, forget_logs):
    """The list of their calls."""
    calls = []

    def run(arguments):
        calls.append(arguments)
        return main(list(arguments))

    monkeypatch.setattr(repeat, "run_command", run)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield calls
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(synth_tiny, monkeypatch):
    """The small size is the smallest one."""
    monkeypatch.setattr(table_runs, "SYNTHREID", "SynthReIDTiny")


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def finished(output):
    """``finished(run)``: leave in the run's folder what a training leaves, with random weights; returns the model."""

    def make(run, results=None, seed=0, weights=True, opts=()):
        folder = output / "runs" / run.folder / f"seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        found = {"results": {"SynthReIDTiny": results or {"mAP": 1.0, "Rank-1": 2.0}}}
        (folder / "results.json").write_text(json.dumps(found))
        if weights and not (folder / "model_final.pth").is_file():
            cfg = get_cfg()
            merge_config(
                cfg, config_file_of(run.config), [*run.overrides, *OPTS, *opts, "MODEL.HEADS.NUM_CLASSES", "9"]
            )
            torch.manual_seed(len(run.folder))
            torch.save({"model": build_model(cfg).state_dict()}, folder / "model_final.pth")

    return make
