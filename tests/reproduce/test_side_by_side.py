"""Runs of a table side by side: where they run, what they leave, and what remains of the others if one fails."""

import json
import subprocess
import sys
import time

import pytest
import torch

from fastreid_ext.cli import main
from fastreid_ext.errors import ConfigError
from fastreid_ext.reproduce import side_by_side, table_runs
from fastreid_ext.reproduce.side_by_side import CONSOLE, Place, Training, places_of, train_all

# Stands in for `fastreid-ext train`, without its imports: behind it stand the folder, the seed and how it ends.
TRAINS = """
import json, os, pathlib, sys, time
output, seed, end = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
print("on", os.environ.get("CUDA_VISIBLE_DEVICES"), "with", sys.argv[4], flush=True)
(output / "last_checkpoint").write_text("model_latest.pth")
if end == "waits":  # until another run begins
    deadline = time.monotonic() + 30
    while len(list(output.parents[1].glob("*/seed*/last_checkpoint"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
if end == "fails":
    print("SOLVER.BASE_LR is too large: lower it")
    sys.exit(1)
if end == "hangs":
    time.sleep(60)
values = {"Rank-1": 50.0 + seed, "mAP": 30.0 + seed}
(output / "results.json").write_text(json.dumps({"results": {"SynthReID": values}, "began": time.time()}))
"""


class Processes:
    """Started runs: their arguments, and how those whose folder has a name in ``ends`` end."""

    def __init__(self):
        self.calls, self.started, self.ends = [], [], {}

    def start(self, arguments, environment=None, output=None):
        folder = arguments[arguments.index("OUTPUT_DIR") + 1]
        seed = arguments[arguments.index("SEED") + 1]
        end = next((end for name, end in self.ends.items() if name in folder), "")
        self.calls.append(arguments)
        command = [sys.executable, "-S", "-c", TRAINS, folder, seed, end, " ".join(arguments[:5])]
        self.started.append(subprocess.Popen(command, env=environment or {}, stdout=output, stderr=output))
        return self.started[-1]


@pytest.fixture
def processes(monkeypatch):
    processes = Processes()
    monkeypatch.setattr(side_by_side, "start_command", processes.start)
    monkeypatch.setattr(side_by_side, "POLL_SECONDS", 0.02)
    yield processes
    for process in processes.started:
        process.kill()
        process.wait()


def trainings(folder, names=("a", "b", "c"), **settings):
    return [Training("demo/tiny.yml", 0, folder / name, (), **settings) for name in names]


def test_each_place_has_one_run_at_a_time(processes, tmp_path):
    places = [Place(f"GPU {gpu}", (("CUDA_VISIBLE_DEVICES", str(gpu)),)) for gpu in (4, 6)]
    processes.ends = {"/a/": "waits", "/b/": "waits"}
    lines, runs = [], trainings(tmp_path)
    results, failed = train_all(runs, places, lines.append)
    assert results == dict.fromkeys(runs, {"SynthReID": {"Rank-1": 50.0, "mAP": 30.0}}) and not failed
    printed = [(one.output / CONSOLE).read_text() for one in runs]
    assert [text.split()[1] for text in printed[:2]] == ["4", "6"] and printed[2].split()[1] in ("4", "6")
    assert lines[:2] == [f"{tmp_path / 'a/seed0'} is trained on GPU 4", f"{tmp_path / 'b/seed0'} is trained on GPU 6"]
    began = [json.loads((one.output / "results.json").read_text())["began"] for one in runs]
    assert began[2] > min(began[:2])  # a place was free by then
    assert train_all(runs, places) == (results, {}) and len(processes.started) == 3  # nothing is trained again


def test_a_run_that_fails_leaves_the_others_and_is_resumed(processes, tmp_path):
    runs = trainings(tmp_path)
    processes.ends = {"/b/": "fails"}
    results, failed = train_all(runs, places_of(jobs=2))
    assert list(results) == [runs[0], runs[2]]
    output = tmp_path / "b" / "seed0"
    assert failed == {
        runs[1]: f"the run in {output} ended with status 1 (see its {CONSOLE}); run this command again to continue"
        " from there: SOLVER.BASE_LR is too large: lower it"
    }
    processes.ends = {}
    results, failed = train_all(runs, places_of(jobs=2))
    assert list(results) == runs and not failed
    assert len(processes.calls) == 4 and processes.calls[3][:2] == ["train", "--resume"]


def test_whatever_stops_the_waiting_ends_all_runs(processes, tmp_path):
    processes.ends = {"": "hangs"}
    lines = []

    def say(line):
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train_all(trainings(tmp_path), places_of(jobs=2), say)
    assert [process.poll() for process in processes.started] == [-15, -15] and time.monotonic() - start < 20


def test_runs_of_several_processes_meet_at_a_port_of_their_own(processes, tmp_path):
    train_all(trainings(tmp_path, num_gpus=2), places_of(jobs=2))
    assert all(call[:5] == ["train", "--dist-url", "auto", "--num-gpus", "2"] for call in processes.calls)


def test_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert places_of([0, 3]) == [Place("GPU 0", (("CUDA_VISIBLE_DEVICES", "0"),)),
                                 Place("GPU 3", (("CUDA_VISIBLE_DEVICES", "3"),))]  # fmt: skip
    assert places_of([0, 1, 2, 3], num_gpus=2)[1] == Place("GPUs 2 and 3", (("CUDA_VISIBLE_DEVICES", "2,3"),))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7, GPU-a ,2,1")  # the numbers are of what this process sees
    assert places_of([1])[0].environment == (("CUDA_VISIBLE_DEVICES", "GPU-a"),)
    for gpus, message in (
        ([4], "--gpus has 4, and this process sees 4 GPUs"),
        ([1, 1], "--gpus is 1 1: name each GPU once"),
        ([0, 1, 2], r"a multiple of --num-gpus \(2\)"),
    ):
        with pytest.raises(ConfigError, match=message):
            places_of(gpus, num_gpus=2)
    with pytest.raises(ConfigError, match="leave one of them out"):
        places_of([0], jobs=2)
    with pytest.raises(ConfigError, match="--jobs is 0"):
        places_of(jobs=0)
    for number in (0, -1):
        with pytest.raises(ConfigError, match=f"--num-gpus is {number} and must be 1 or more"):
            places_of([0, 3], num_gpus=number)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--gpus has 0, and there is no CUDA device here: name others, or use --jobs"):
        places_of([0])
    assert places_of() == [Place("job 1")]


def test_a_table_with_a_row_that_failed(processes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table_runs, "SYNTHREID", "SynthReID")
    output = tmp_path / "tables"
    call = ["reproduce", "DeepMiner", "table 4", "--size", "synthreid", "--seeds", "0", "3", "--jobs", "3"]
    call += ["--no-estimate", "--output", str(output)]
    processes.ends = {"table4_cham/": "fails", "table4_sam/seed3": "fails"}
    assert main(call) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and "3 runs have no results, see above: run this command again" in printed.err
    text = (output / "table4_synthreid.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert rows["CHAM alone"].count("missing") == 2 and "31.5 ± 2.1 (n = 2)" in rows["SAM and CHAM (the final model)"]
    assert "30.0 (n = 1)" in rows["SAM alone"]  # of the seed that is done
    assert "mAP on Market1501: the paper's order does not hold (1 of 3 pairs of rows; 1 of 4 rows are missing)" in text
    assert text.count("SOLVER.BASE_LR is too large") == 3
    numbers = json.loads((output / "table4_synthreid.json").read_text())
    assert [row["ours"] is None for row in numbers["rows"]] == [False, False, True, False, False]
    assert len(numbers["lacks"]) == 3 and "<td>missing</td>" in (output / "table4_synthreid.html").read_text()
    processes.ends = {}
    assert main(call) == 0 and "missing" not in (output / "table4_synthreid.md").read_text()
    assert len(processes.calls) == 13  # ten runs, and three again
