"""The command line, and what a run leaves in its folder."""

import fcntl
import json
import os
import pty
import re
import struct
import termios
import threading
from pathlib import Path

import pytest
import torch
import warm
import yaml
from PIL import Image

BOTH = "('SynthReIDTiny','SynthReIDOccludedTiny')"


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(command_line, tmp_path_factory):
    """A run through a terminal: (OUTPUT_DIR, what stdout got, what the terminal of stderr got)."""
    output = tmp_path_factory.mktemp("run") / "out"
    overrides = {"DATASETS.TESTS": BOTH, "TEST.RANK_LIST.ENABLED": True, "TEST.RANK_LIST.QUERIES": 3}
    overrides |= {"TEST.RANK_LIST.TOPK": 5, "SOLVER.MAX_EPOCH": 2, "SOLVER.STEPS": "[]"}
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))  # 40 lines of 160 columns
    out, command = output.with_name("stdout"), command_line.command(output, overrides=overrides)
    process = warm.WarmProcess(command, {**command_line.env, "TERM": "xterm"}, out, Path(os.ttyname(inner)))
    seen = []

    def watch():
        try:
            while part := os.read(terminal, 65536):
                seen.append(part)
        except OSError:  # how a terminal says that nobody writes to it any more
            pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait(timeout=300)
    os.close(inner)
    watcher.join()
    os.close(terminal)
    shown = b"".join(seen).decode()
    assert status == 0, out.read_text() + shown
    return output, out.read_text(), shown


def test_files_of_a_run(run):
    output = run[0]
    names = {path.name for path in output.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.json", "results.json", "last_checkpoint", "model_final.pth"} <= names
    assert len([name for name in names if name.startswith("events.out.tfevents")]) == 1
    assert not [name for name in names if name.startswith(".") or name.endswith(".tmp")]


def test_results(run):
    record = json.loads((run[0] / "results.json").read_text())
    assert set(record["results"]) == {"SynthReIDTiny", "SynthReIDOccludedTiny"}
    for metrics in record["results"].values():
        assert set(metrics) == {"Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric"}
        assert all(0.0 <= value <= 100.0 for value in metrics.values()) and metrics["mAP"] > 0.0
        assert metrics["metric"] == pytest.approx((metrics["Rank-1"] + metrics["mAP"]) / 2)
    assert record["seed"] == 0 and record["device"] == "cpu" and record["versions"]["torch"] == torch.__version__


def test_metrics_of_every_epoch(run):
    records = lines(run[0] / "metrics.json")
    assert [record["iteration"] for record in records] == [3, 7]
    results = json.loads((run[0] / "results.json").read_text())["results"]
    for record in records:
        assert {"total_loss", "lr", "time", "data_time", "accuracy/global", "loss_center_local"} <= set(record)
        assert {"SynthReIDTiny/mAP", "SynthReIDOccludedTiny/metric"} <= set(record)
    assert records[-1]["SynthReIDTiny/mAP"] == results["SynthReIDTiny"]["mAP"]


def test_tensorboard_has_the_same(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run[0]))
    events.Reload()
    record = lines(run[0] / "metrics.json")[-1]
    for name in ("total_loss", "SynthReIDTiny/mAP"):
        last = events.Scalars(name)[-1]
        assert last.value == pytest.approx(record[name], rel=1e-5), name
        assert last.step == record["iteration"]


def test_rank_lists_are_drawn(run):
    for name in ("SynthReIDTiny", "SynthReIDOccludedTiny"):
        with Image.open(run[0] / f"rank_list_{name}.png") as picture:
            assert picture.format == "PNG" and picture.size[0] > 5 * 64 and picture.size[1] > 3 * 128


def test_a_bar_on_a_terminal(run):
    _, stdout, terminal = run
    assert re.search(r"epoch 2/2: 100%\|█+\| 128/128 \[.*images/s.*loss \d+\.\d{3}\]", terminal), terminal[-2000:]
    assert terminal.count("\r") > 3
    assert "Traceback" not in stdout + terminal
    assert "images/s" not in stdout


def test_plain_lines_elsewhere(run_main, capfd, plain):
    run_main(SOLVER__MAX_EPOCH=2, SOLVER__STEPS="[]", TEST__EVAL_PERIOD=0)
    printed = capfd.readouterr()
    progress = [line for line in plain(printed.out).splitlines() if "images/s" in line]
    last = progress[-1].split("]: ", 1)[1]
    line = r"epoch 2/2: 128/128 images \(100%\), [\d.]+ images/s, 00:00 left, loss \d+\.\d{3}"
    assert re.fullmatch(line, last.strip()), last
    assert len(progress) <= 3  # at most a line every half minute
    assert "\r" not in printed.out + printed.err and "|█" not in printed.out + printed.err


def test_evaluation_repeats_the_runs_metrics(run, run_main, tmp_path):
    output = run[0]
    again = run_main("--eval-only", MODEL__WEIGHTS=output / "model_final.pth", DATASETS__TESTS=BOTH)
    expected = json.loads((output / "results.json").read_text())["results"]
    assert json.loads((again / "results.json").read_text())["results"] == expected
    assert not (again / "config.yaml").exists() and not list(again.glob("*.pth"))
    # one test set, as the first of two
    alone = run_main("--eval-only", OUTPUT_DIR=tmp_path / "alone", MODEL__WEIGHTS=output / "model_final.pth")
    results = json.loads((alone / "results.json").read_text())["results"]
    assert results == {"SynthReIDTiny": expected["SynthReIDTiny"]}


def test_config_of_a_run_can_be_run(run, run_main, differences, tmp_path):
    """config.yaml is the whole config: from it alone comes the same model."""
    again = run_main(config=run[0] / "config.yaml", OUTPUT_DIR=tmp_path / "again")
    assert differences(run[0] / "model_final.pth", again / "model_final.pth") == []


def test_shipped_name_and_overrides(run_main):
    overrides = {"MODEL__BACKBONE__NAME": "build_tiny_resnet_backbone", "MODEL__BACKBONE__PRETRAIN": False}
    overrides |= {"INPUT__SIZE_TRAIN": "[64,32]", "INPUT__SIZE_TEST": "[64,32]", "MODEL__DEVICE": "cpu"}
    overrides |= {"DATASETS__NAMES": "('SynthReIDTiny',)", "DATASETS__TESTS": "('SynthReIDTiny',)"}
    overrides |= {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0, "SOLVER__IMS_PER_BATCH": 24, "SEED": 3}
    output = run_main(config="DeepMiner/Market1501_R50.yml", DATALOADER__NUM_WORKERS=0, **overrides)
    written = yaml.safe_load((output / "config.yaml").read_text())
    assert written["SOLVER"]["IMS_PER_BATCH"] == 24 and written["SOLVER"]["WEIGHT_DECAY"] == 0.0005
    assert lines(output / "metrics.json")[-1]["iteration"] == 2


def test_command_of_the_package(run, datasets, tmp_path, monkeypatch, forget_logs, capsys):
    from fastreid_ext.cli import main

    monkeypatch.setenv("FASTREID_DATASETS", str(datasets))
    config = Path(__file__).parent / "tiny.yml"
    pairs = ["OUTPUT_DIR", str(tmp_path / "out"), "MODEL.WEIGHTS", str(run[0] / "model_final.pth")]
    assert main(["train", "--config-file", str(config), "--eval-only", *pairs]) == 0
    assert (tmp_path / "out" / "results.json").is_file()

    capsys.readouterr()
    assert main(["train", "--config-file", "nowhere.yml"]) == 1
    assert capsys.readouterr().err.startswith("fastreid-ext train: there is no config file nowhere.yml")
    for arguments in (["--help"], ["train", "--help"], ["synth", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for word in ("synth", "train", "--config-file", "--eval-only", "--resume", "--num-gpus", "--size"):
        assert word in printed


def test_script_of_the_project(exit_of):
    script = str(Path(__file__).parents[2] / "projects" / "DeepMiner" / "train_net.py")
    words = [script, "--config-file", "x.yml"]
    status, printed = exit_of(
        f"import runpy, sys\nsys.argv = {words}\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    assert status == 1
    assert printed.splitlines()[-1].startswith("fastreid-ext train: there is no config file x.yml")
