"""What ``repeat`` finds in its folder: of another seed, config or version, or numbers that no evaluation gives."""

import json

import pytest

from fastreid_ext.cli import main
from fastreid_ext.config import get_cfg
from fastreid_ext.engine import repeat


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """``call("SOLVER.MAX_EPOCH", "1")``: what the command says, which trains nothing here, of seeds 0 and 1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(repeat, "run_command", lambda arguments: pytest.fail("trained"))
    (tmp_path / "A.yml").write_text("SOLVER: {}\n")

    def run(*opts):
        arguments = ["repeat", "--configs", "A.yml", "--output", "out", "--seeds", "1", "0"]
        return main([*arguments, "--opts", *opts]), capsys.readouterr().err

    return run


@pytest.fixture
def left(tmp_path):
    """``left(seed=0, **metrics)``: the results of seed 0, and its folder."""
    folder = tmp_path / "out" / "A" / "seed0"
    folder.mkdir(parents=True)

    def write(seed=0, **metrics):
        results = {"SynthReIDTiny": {"Rank-1": 50.0, "mAP": 40.0, **metrics}}
        (folder / "results.json").write_text(json.dumps({"results": results, "seed": seed}))
        return folder

    return write


def settings_of(cfg, folder):
    cfg.SEED, cfg.OUTPUT_DIR = 0, str(folder)
    return {key: repr(value) for key, value in repeat.leaves(cfg)}


@pytest.mark.parametrize(("metric", "value"), [("Rank-1", 1e9), ("mAP", -1), ("mAP", 101), ("metric", 1e308)])
def test_numbers_that_no_evaluation_gives(call, left, metric, value):
    left(**{metric: value})
    status, said = call()
    assert status == 1 and "seed0/results.json is damaged: delete it, or choose another --output" in said


@pytest.mark.parametrize("seed", [1, -1, None, "0", [0]])
def test_results_of_another_seed(call, left, seed):
    left(seed)
    status, said = call()
    assert status == 1 and f"seed0/results.json is of seed {seed!r}, not 0: delete it" in said


def test_a_run_of_train_with_another_config(call, left, monkeypatch):
    cfg = get_cfg()
    cfg.SOLVER.MAX_EPOCH = 7
    settings_of(cfg, folder := left())
    cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.CHANNELS_LAST = 12, False  # what the run filled in
    (folder / "config.yaml").write_text(cfg.dump())
    status, said = call("SOLVER.MAX_EPOCH", "8")
    assert status == 1 and "holds a run of other settings (SOLVER.MAX_EPOCH was 7 and is 8): choose" in said
    with pytest.raises(pytest.fail.Exception, match="trained"):  # the other seed is what is missing
        call("SOLVER.MAX_EPOCH", "7")


def test_settings_from_before_a_key(call, left):
    settings = settings_of(get_cfg(), folder := left())
    del settings["SOLVER.ACCUMULATION"], settings["MODEL.CHANNELS_LAST"]
    (folder / "repeat.json").write_text(json.dumps(settings))
    status, said = call("SOLVER.ACCUMULATION", "2")
    assert status == 1 and "(SOLVER.ACCUMULATION was 1 and is 2)" in said
    status, said = call("MODEL.CHANNELS_LAST", "True")
    assert status == 1 and "(MODEL.CHANNELS_LAST was False and is True)" in said


def test_settings_from_before_a_project(call, left):
    folder = left()
    settings = {key: value for key, value in settings_of(get_cfg(), folder).items() if "MGRE" not in key}
    (folder / "repeat.json").write_text(json.dumps(settings))
    with pytest.raises(pytest.fail.Exception, match="trained"):
        call()


@pytest.mark.parametrize("before", ["False", "True", "None"])
def test_a_layout_that_the_run_settles_is_no_other_setting(call, left, before):
    settings = settings_of(get_cfg(), folder := left()) | {"MODEL.CHANNELS_LAST": before}
    (folder / "repeat.json").write_text(json.dumps(settings))
    with pytest.raises(pytest.fail.Exception, match="trained"):
        call()
