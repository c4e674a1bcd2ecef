"""The command ``repeat``: what it trains, what it does not train again, what it gathers."""

import json
import statistics
from pathlib import Path

import pytest
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.engine import repeat
from fastreid_ext.engine.repeat import RepeatError, names_of


class FakeTrainer:
    """Stands in for the processes: writes results.json, and ends as it is told."""

    def __init__(self):
        self.calls = []
        self.ends = {}  # number of a call -> "fails", "silent" (status 0 and no results) or "killed"

    def run(self, arguments):
        assert arguments[0] == "train"
        options = list(arguments[1:])
        output = Path(options[options.index("OUTPUT_DIR") + 1])
        config, seed = options[options.index("--config-file") + 1], int(options[options.index("SEED") + 1])
        end = self.ends.get(len(self.calls))
        self.calls.append(options)
        if end == "fails":
            return 1
        if end == "silent":
            return 0
        if end == "killed":
            (output / "last_checkpoint").write_text("model_latest.pth")
            return -9
        value = 50.0 + 10 * len(Path(config).stem) + seed
        results = {"SynthReIDTiny": {"Rank-1": value, "mAP": value - 20}}
        (output / "results.json").write_text(json.dumps({"results": results, "seed": seed}))
        return 0


@pytest.fixture
def trainer(monkeypatch):
    fake = FakeTrainer()
    monkeypatch.setattr(repeat, "run_command", fake.run)
    return fake


@pytest.fixture
def call(tmp_path, monkeypatch):
    """``call("A.yml", "B.yml", seeds=(0, 1), opts=())``: the exit status of the command.

    Configs are files of the folder that it is called in, made if they are neither there nor shipped.
    """
    monkeypatch.chdir(tmp_path)

    def run(*configs, seeds=(0, 1), opts=(), more=()):
        for config in set(configs) - {"demo/msreid.yml"}:
            Path(config).parent.mkdir(exist_ok=True)
            Path(config).touch()
            Path(config).write_text(Path(config).read_text() or "SOLVER: {}\n")
        arguments = ["repeat", "--configs", *configs, "--output", str(tmp_path / "out"), *more]
        arguments += ["--seeds", *map(str, seeds)] if seeds else []
        return main([*arguments, *(["--opts", *opts] if opts else [])])

    return run


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configs", "names"),
    [
        (["MSReID/ablation/ALM.yml", "MSReID/ablation/none.yml"], ["ALM", "none"]),
        (
            ["MSReID/Market1501_R50.yml", "DeepMiner/Market1501_R50.yml"],
            ["MSReID-Market1501_R50", "DeepMiner-Market1501_R50"],
        ),
        (["a/b/c.yml", "a/d/c.yml", "x.yml"], ["b-c", "d-c", "x"]),
        (["c.yml", "b/c.yml"], ["c", "b-c"]),
        (["one.yaml"], ["one"]),
    ],
)
def test_names(configs, names):
    assert names_of(configs) == dict(zip(names, configs, strict=True))


def test_one_config_twice(call, trainer, capsys):
    with pytest.raises(RepeatError, match="--configs names one config twice: a/c.yml b/c.yml a/c.yml"):
        names_of(["a/c.yml", "b/c.yml", "a/c.yml"])
    assert call("a.yml", "a.yml") == 1 and not trainer.calls
    assert capsys.readouterr().err == "fastreid-ext repeat: --configs names one config twice: a.yml a.yml\n"


# ---- what is run ----------------------------------------------------------------------------------------------------


def test_every_seed_of_every_config_is_trained(call, trainer, tmp_path):
    assert call("X/A.yml", "X/BB.yml", seeds=(3, 5), opts=("SOLVER.MAX_EPOCH", "1"), more=("--num-gpus", "2")) == 0
    assert trainer.calls == [
        ["--num-gpus", "2", "--config-file", f"X/{name}.yml", "SEED", str(seed)]
        + ["OUTPUT_DIR", str(tmp_path / "out" / name / f"seed{seed}"), "SOLVER.MAX_EPOCH", "1"]
        for name in ("A", "BB")
        for seed in (3, 5)
    ]


def test_three_seeds_by_default(call, trainer):
    assert call("A.yml", seeds=()) == 0
    assert [options[options.index("SEED") + 1] for options in trainer.calls] == ["0", "1", "2"]


def test_what_is_gathered(call, trainer, tmp_path, capsys):
    assert call("A.yml", "BB.yml") == 0
    out = tmp_path / "out"
    assert json.loads((out / "summary.json").read_text()) == {
        name: {
            "SynthReIDTiny": {
                "Rank-1": {"by_seed": {"0": v, "1": v + 1}, "mean": v + 0.5, "spread": 0.5**0.5, "best": v + 1},
                "mAP": {"by_seed": {"0": v - 20, "1": v - 19}, "mean": v - 19.5, "spread": 0.5**0.5, "best": v - 19},
            }
        }
        for name, v in (("A", 60.0), ("BB", 70.0))
    }
    table = (out / "summary.md").read_text()
    assert "| A        | SynthReIDTiny |       2 | 60.5 ± 0.7 (best 61.0) | 40.5 ± 0.7 (best 41.0) |" in table
    assert table.strip() in capsys.readouterr().out
    with Image.open(out / "boxplot.png") as picture:
        assert picture.format == "PNG" and picture.size[0] > picture.size[1] > 200


def test_finished_runs_are_not_run_again(call, trainer, tmp_path):
    assert call("A.yml") == 0
    before = (tmp_path / "out" / "summary.json").read_text()
    trainer.calls.clear()
    assert call("A.yml") == 0 and not trainer.calls
    assert (tmp_path / "out" / "summary.json").read_text() == before
    assert call("A.yml", seeds=(0, 1, 2)) == 0 and len(trainer.calls) == 1  # a third seed later
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text())["A"]["SynthReIDTiny"]["mAP"]["by_seed"]) == 3


def test_an_interrupted_run_is_resumed(call, trainer, tmp_path, capsys):
    trainer.ends[1] = "killed"
    assert call("A.yml") == 1
    sentence = capsys.readouterr().err
    assert "seed1 ended with status -9" in sentence and "to continue" in sentence and sentence.count("\n") == 1
    assert call("A.yml") == 0
    first, killed, again = trainer.calls
    assert again == ["--resume", *killed] and "--resume" not in first


@pytest.mark.parametrize("end", ["fails", "silent"])
def test_a_run_that_fails(call, trainer, tmp_path, capsys, end):
    trainer.ends[0] = end
    assert call("A.yml") == 1 and len(trainer.calls) == 1
    sentence = capsys.readouterr().err
    assert sentence.startswith(f"fastreid-ext repeat: the run in {tmp_path / 'out' / 'A' / 'seed0'} ended with status")
    assert not (tmp_path / "out" / "summary.json").exists()


def test_what_is_done_is_kept_when_a_later_config_fails(call, trainer, tmp_path):
    trainer.ends[2] = "fails"
    assert call("A.yml", "BB.yml") == 1
    assert list(json.loads((tmp_path / "out" / "summary.json").read_text())) == ["A"]


@pytest.mark.parametrize("end", [None, "killed"])
def test_a_folder_of_other_settings_is_refused(call, trainer, capsys, end):
    trainer.ends[1] = end
    call("A.yml", opts=("SOLVER.MAX_EPOCH", "1"))
    trainer.calls.clear()
    capsys.readouterr()
    assert call("A.yml", opts=("SOLVER.MAX_EPOCH", "2")) == 1 and not trainer.calls
    sentence = capsys.readouterr().err
    assert "holds a run of other settings (SOLVER.MAX_EPOCH was 1 and is 2): choose another --output" in sentence


def test_where_images_are_kept_is_no_other_setting(call, trainer):
    assert call("A.yml", seeds=(0,)) == 0
    assert call("A.yml", seeds=(0, 1), opts=("DATALOADER.CACHE_DIR", "kept")) == 0 and len(trainer.calls) == 2


def test_a_folder_of_another_version_is_refused(call, trainer, capsys, tmp_path):
    assert call("A.yml", seeds=(0,)) == 0
    (tmp_path / "out" / "A" / "seed0" / "repeat.json").write_text('["--config-file", "A.yml"]')
    assert call("A.yml", seeds=(0,)) == 1 and len(trainer.calls) == 1
    assert "repeat.json is of another version of this command: choose another --output" in capsys.readouterr().err


def test_a_file_that_was_edited_is_other_settings(call, trainer, capsys, tmp_path):
    """Also one that it is based on: its seeds would be averaged with those of what it was."""
    (tmp_path / "base.yml").write_text("SOLVER:\n  MAX_EPOCH: 5\n")
    (tmp_path / "A.yml").write_text("_BASE_: base.yml\n")
    assert call("A.yml", seeds=(0,)) == 0
    (tmp_path / "base.yml").write_text("SOLVER:\n  MAX_EPOCH: 9\n")
    assert call("A.yml") == 1 and len(trainer.calls) == 1
    assert "seed0 holds a run of other settings (SOLVER.MAX_EPOCH was 5 and is 9)" in capsys.readouterr().err


@pytest.mark.parametrize("slip", ["missing.yml", "bad.yml"])
def test_a_slip_in_the_last_config_is_found_before_the_first_trains(call, trainer, capsys, tmp_path, slip):
    (tmp_path / "bad.yml").write_text("SOLVER:\n  MAX_EPOHC: 5\n")
    assert main(["repeat", "--configs", "demo/msreid.yml", slip, "--output", "out"]) == 1 and not trainer.calls
    assert capsys.readouterr().err.startswith("fastreid-ext repeat: ")


@pytest.mark.parametrize("results", [{}, {"SynthReIDTiny": {"Rank-1": 5.0}}])
def test_results_without_a_test(call, trainer, capsys, tmp_path, results):
    folder = tmp_path / "out" / "A" / "seed0"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"results": results}))
    assert call("A.yml") == 1 and not trainer.calls
    assert "was not tested on a test set with Rank-1 and mAP" in capsys.readouterr().err


def test_an_output_that_cant_be_made(call, trainer, capsys, tmp_path):
    (tmp_path / "out").write_text("a file")
    assert call("A.yml") == 1 and not trainer.calls
    assert capsys.readouterr().err.startswith("fastreid-ext repeat: ")


def test_a_slip_in_the_settings_can_be_mended(call, trainer):
    """The run never began: there is nothing in its folder that other settings could be mixed up with."""
    trainer.ends[0] = "fails"
    assert call("A.yml", opts=("SOLVER.MAX_EPOCH", "100000")) == 1
    assert call("A.yml", opts=("SOLVER.MAX_EPOCH", "1")) == 0


@pytest.mark.parametrize("key", ["SEED", "OUTPUT_DIR"])
def test_keys_that_the_command_sets(call, trainer, capsys, key):
    assert call("A.yml", opts=("SOLVER.MAX_EPOCH", "1", key, "5")) == 1 and not trainer.calls
    assert f"--opts has {key}, which --seeds and --output set" in capsys.readouterr().err


# ---- the real thing -------------------------------------------------------------------------------------------------

TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.MSREID.DIM": 16,
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    # Smaller ones end in maps of one place, of which torch 2.15's bfloat16 convolutions on a CPU with AMX make NaN.
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "DATASETS.NAMES": "('SynthReIDTiny',)",
    "DATASETS.TESTS": "('SynthReIDTiny',)",
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.OPT": "SGD",
    "SOLVER.MOMENTUM": 0.0,
    "SOLVER.IMS_PER_BATCH": 32,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.MAX_EPOCH": 1,
    "TEST.RANK_LIST.ENABLED": False,
}


@pytest.mark.slow
def test_end_to_end(run_main, call, tmp_path, monkeypatch):
    """Two seeds of a shipped config; called again after one run lost its end, it mends that one.

    The first run is in a process as users have it; the others are in this one, which saves them starting it.
    """
    in_a_process, commands = repeat.run_command, []

    def run(arguments):
        commands.append(arguments)
        return in_a_process(arguments) if len(commands) == 1 else main(arguments)

    monkeypatch.setattr(repeat, "run_command", run)
    pairs = [str(item) for pair in TINY.items() for item in pair]
    assert call("demo/msreid.yml", opts=pairs) == 0
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())["msreid"]["SynthReIDTiny"]
    folders = [out / "msreid" / f"seed{seed}" for seed in (0, 1)]
    records = [json.loads((folder / "results.json").read_text()) for folder in folders]
    assert [record["seed"] for record in records] == [0, 1]
    values = [record["results"]["SynthReIDTiny"]["mAP"] for record in records]
    assert values[0] != values[1]  # the seed reaches the run
    assert summary["mAP"]["mean"] == pytest.approx(statistics.mean(values), rel=1e-12)
    assert summary["mAP"]["spread"] == pytest.approx(statistics.stdev(values), rel=1e-12)
    assert summary["mAP"]["best"] == max(values) and (out / "boxplot.png").is_file()

    written = [(folder / "model_final.pth").stat().st_mtime_ns for folder in folders]
    (folders[1] / "results.json").unlink()  # killed between the last checkpoint and the results
    assert call("demo/msreid.yml", opts=pairs) == 0
    assert len(commands) == 3 and "--resume" in commands[2] and str(folders[1]) in commands[2]
    assert json.loads((out / "summary.json").read_text())["msreid"]["SynthReIDTiny"] == summary
    assert [(folder / "model_final.pth").stat().st_mtime_ns for folder in folders] == written
