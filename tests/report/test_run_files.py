"""What is read of a run's folder, whoever wrote it."""

import json
import os

import pytest

from fastreid_ext.errors import ConfigError, FileError
from fastreid_ext.report import run_files
from fastreid_ext.report.run_files import named, read_run


def test_a_whole_run(make_run, photos):
    run = read_run(make_run("tiny"))
    assert run.missing == [] and run.seed == 1
    assert set(run.results["People"]) >= {"Rank-1", "mAP"} and run.config["SOLVER.MAX_EPOCH"] == "5"
    assert [line["iteration"] for line in run.history] == [3, 7, 11, 15, 19]
    assert [row["group"] for row in run.groups["People"]][-1] == "all"
    assert run.record["model"]["multiply_adds"] > 0 and run.record["environment"]["torch"]
    found = run.details["People"]
    assert found["queries"] == 6 and len(found["hardest"]) == 6 and found["roc"]["thresholds"]
    assert all(os.path.dirname(image["path"]) == str(photos) for image in found["hardest"][0]["list"])


def test_test_sets_have_the_order_of_the_results(make_run):
    run = read_run(make_run("tiny", test_sets=("Zebra", "Ape")))
    assert list(run.details) == list(run.groups) == list(run.results) == ["Zebra", "Ape"]


def test_an_older_run_says_what_to_do(make_run):
    folder = make_run("old run", bare=True)
    run = read_run(folder)
    assert run.results and run.history and not run.details and not run.record
    said = " ".join(run.missing)
    assert "Curves and rank lists were not recorded" in said and "Cost, environment and commit" in said
    weights = f"'{folder}/model_best.pth'"
    assert f"train --eval-only --config-file '{folder}/config.yaml' MODEL.WEIGHTS {weights} OUTPUT_DIR" in said


def test_a_run_that_goes_on(make_run):
    folder = make_run("tiny", bare=True)
    (folder / "results.json").unlink()
    run = read_run(folder)
    assert run.history and "the run has not ended" in run.missing[0]


def test_a_run_of_fastreids_own_trainer(make_run):
    """It writes no results; what is to be evaluated is the file that is there."""
    folder = make_run("tiny", bare=True)
    (folder / "results.json").unlink()
    (folder / "model_final.pth").touch()
    missing = read_run(folder).missing
    assert "or FastReID's own trainer made it" in missing[0]
    assert f"MODEL.WEIGHTS {folder}/model_final.pth OUTPUT_DIR" in missing[-1]
    (folder / "model_best.pth").touch()
    assert f"MODEL.WEIGHTS {folder}/model_best.pth OUTPUT_DIR" in read_run(folder).missing[-1]


def test_an_evaluation_alone_has_the_config_of_its_record(make_run):
    folder = make_run("tiny")
    for name in ("config.yaml", "metrics.json"):
        (folder / name).unlink()
    record = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps({**record, "eval_only": True}))
    run = read_run(folder)
    assert run.config["SOLVER.MAX_EPOCH"] == "5" and run.record["eval_only"]
    assert run.missing == ["There are no losses (metrics.json): nothing was trained into this folder."]


def test_no_run(tmp_path):
    with pytest.raises(FileError, match="is no folder: name the OUTPUT_DIR"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(FileError, match="has none of the files of a run"):
        read_run(tmp_path)


FILES = ["results.json", "metrics.json", "config.yaml", "report.json", "report_People.json", "details_People.json"]
ODD = [
    b"", b"[]", b"7", b'"a"', b"{}", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a": ' * 5_000, b"{" + b"[" * 50,
    b"a: &a [*a]", b"x: &x [1, 1, 1, 1]\ny: &y [*x, *x, *x, *x]\nz: [*y, *y, *y, *y]",
    b'{"format": "fastreid-ext details 1", "cmc": {"ranks": "x", "rates": [1e999, null]}, "hardest": [7, {"list": 3}]}',
    b'{"format": "fastreid-ext run 1", "model": [], "config": 9, "command": "rm", "environment": {"a": {"b": []}}}',
    b'{"results": {"People": {"mAP": "<b>", "Rank-1": NaN}}, "seed": {"a": 1}}',
    b'{"groups": [{"group": ["x"], "mAP": "7", "queries": 1e400, "identities": -1}, 7]}',
    b'{"iteration": 1e300, "lr": Infinity}\n{"iteration": "x"}\n{"iteration": ' + b"9" * 5000 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_can_not_be_read_is_said_or_left_out(make_run, name):
    """Every file with every content: no traceback, no number that is none, and all else is still there."""
    from fastreid_ext.report.page import content_of

    folder = make_run("tiny")
    (folder / "config.yaml").write_text("SOLVER: {MAX_EPOCH: 5}")  # is read sooner
    whole = read_run(folder)
    for content in ODD:
        (folder / name).write_bytes(content)
        run = read_run(folder)
        assert run.missing or run != whole
        assert run.history or name == "metrics.json" or run.results == whole.results
        json.dumps([run.results, run.history, run.groups, run.details, dict(run.record)], allow_nan=False)
        content_of([run], "", 3, 0)


def test_no_file_is_waited_for(make_run):
    folder = make_run("tiny")
    for name in FILES:
        (folder / name).unlink()
        os.mkfifo(folder / name)
    with pytest.raises(FileError, match="none of the files"):
        read_run(folder)


def test_large_files_are_left_out(make_run, monkeypatch):
    folder = make_run("tiny")
    monkeypatch.setattr(run_files, "LARGEST", 1 << 20)
    with open(folder / "details_People.json", "ab") as file:
        file.truncate(2 << 20)
    run = read_run(folder)
    assert not run.details and "has 2 MB, and no run writes so much" in " ".join(run.missing)


def test_half_a_line_and_a_resumed_epoch(make_run):
    folder = make_run("tiny")
    with open(folder / "metrics.json", "a") as file:
        file.write('{"iteration": 7, "total_loss": 5.0}\n{"iteration": 23, "total')
    history = read_run(folder).history
    assert [line["iteration"] for line in history] == [3, 7, 11, 15, 19] and history[1] == {
        "iteration": 7,
        "total_loss": 5.0,
    }


def test_long_histories_keep_their_end(make_run):
    folder = make_run("tiny")
    lines = "".join(json.dumps({"iteration": n, "lr": 1.0}) + "\n" for n in range(12_345))
    (folder / "metrics.json").write_text(lines)
    history = read_run(folder).history
    assert len(history) <= run_files.HISTORY_POINTS and history[-1]["iteration"] == 12_344


def test_names(make_run):
    runs = [read_run(make_run(name)) for name in ("tiny/seed1", "tiny/seed2", "base", "b/x", "c/x")]
    assert named(runs[:3]) == ["tiny/seed1", "tiny/seed2", "base"]
    assert named(runs[3:]) == ["b/x", "c/x"]
    with pytest.raises(ConfigError, match="one run is named twice"):
        named([runs[0], runs[0]])


def test_letters_that_html_changes(make_run):
    """The page's script would look for another name than the one that the browser read, and stop."""
    folder = make_run("tiny")
    (folder / "metrics.json").write_text(json.dumps({"iteration": 1, "loss_\0\r\x1b": 1.0}) + "\n")
    assert list(read_run(folder).history[0]) == ["iteration", "loss_\ufffd\ufffd\ufffd"]


def test_one_folder_under_two_names(make_run, tmp_path):
    folder = make_run("tiny")
    (tmp_path / "link").symlink_to(folder)
    for other in (tmp_path / "link", folder / ".." / "tiny"):
        with pytest.raises(ConfigError, match="one run is named twice"):
            named([read_run(folder), read_run(other)])


def test_a_damaged_history_is_said(make_run):
    folder = make_run("tiny")
    (folder / "metrics.json").write_bytes(bytes(range(256)))
    run = read_run(folder)
    assert not run.history and "metrics.json has no line of a training" in " ".join(run.missing)
