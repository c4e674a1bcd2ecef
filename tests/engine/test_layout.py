"""MODEL.CHANNELS_LAST None: a long training tries both layouts, and keeps what it found."""

import random
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine import layout
from fastreid_ext.engine.layout import LONG, settled_layout, trial
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.run import run
from fastreid_ext.engine.trained import config_file_of
from fastreid_ext.errors import ConfigError
from tests.small_training import RUN

SMALL = ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]", "MODEL.DEVICE", "cpu"]
MANY = LONG // (64 * 32) + 1


def make(tmp_path, *opts):
    cfg = get_cfg()
    own = ["MODEL.CHANNELS_LAST", "None", "OUTPUT_DIR", str(tmp_path)]
    merge_config(cfg, config_file_of("zoo/wide.yml"), [*SMALL, *own, *opts])
    return cfg


@pytest.fixture
def found(monkeypatch):
    """What the trial finds, which a test may change; it counts its calls."""
    answer, calls = {False: 1.0, True: 0.5}, []
    monkeypatch.setattr(layout, "trial", lambda cfg, batch: calls.append(batch) or answer)
    return answer, calls


@pytest.mark.parametrize("chosen", [False, True])
def test_what_the_user_chose_is_not_tried(tmp_path, found, chosen):
    assert settled_layout(make(tmp_path, "MODEL.CHANNELS_LAST", chosen), MANY) is chosen
    assert not found[1]


def test_a_short_training_is_not_tried(tmp_path, found):
    assert settled_layout(make(tmp_path), MANY - 2) is False
    assert not found[1]


def test_a_long_training_takes_what_is_faster_by_more_than_noise(tmp_path, found, caplog):
    cfg = make(tmp_path, "SOLVER.IMS_PER_BATCH", 32, "SOLVER.ACCUMULATION", 2)
    with caplog.at_level("INFO", layout.__name__):
        assert settled_layout(cfg, MANY) is True
    assert found[1] == [16] and "is 2.00 times as fast here, so they are innermost" in caplog.text
    found[0][True] = 0.96
    assert settled_layout(cfg, MANY) is False


def test_a_run_that_goes_on_keeps_what_it_began_with(tmp_path, found):
    (tmp_path / "config.yaml").write_text("MODEL: {CHANNELS_LAST: false}")
    assert settled_layout(make(tmp_path), MANY) is True  # no checkpoint: it begins
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    assert settled_layout(make(tmp_path), MANY) is False
    (tmp_path / "config.yaml").write_text("MODEL: {}")  # from before the key
    assert settled_layout(make(tmp_path), MANY) is False
    for text in ("MODEL", "MODEL: 1", "{", "MODEL: {CHANNELS_LAST: null}"):
        (tmp_path / "config.yaml").write_text(text)
        assert settled_layout(make(tmp_path), MANY) is True


def test_a_trunk_that_cannot_be_built_is_left_to_the_model(tmp_path):
    assert settled_layout(make(tmp_path, "MODEL.BACKBONE.DEPTH", "11x"), MANY) is False


def test_the_trial_times_both_and_leaves_random_states(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "SECONDS", 0.0)
    torch.manual_seed(3)
    build = layout.build_backbone
    monkeypatch.setattr(layout, "build_backbone", lambda cfg: (np.random.rand(), random.random(), build(cfg))[-1])
    before, others = torch.random.get_rng_state(), (np.random.get_state()[1].tolist(), random.getstate())
    seconds = trial(make(tmp_path, "MODEL.BACKBONE.NARROW.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64), 2)
    assert seconds.keys() == {False, True} and all(0 < one < 60 for one in seconds.values())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert others == (np.random.get_state()[1].tolist(), random.getstate())


def test_the_trial_waits_for_no_other_process(tmp_path, monkeypatch):
    """One process tries; a synchronised batch norm would wait for the others, which wait for its answer."""
    monkeypatch.setattr(layout, "SECONDS", 0.0)
    monkeypatch.setattr(nn.SyncBatchNorm, "forward", lambda self, x: pytest.fail("waits"))
    small = ["MODEL.BACKBONE.NARROW.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64, "MODEL.BACKBONE.WITH_IBN", False]
    assert trial(make(tmp_path, *small, "MODEL.BACKBONE.NORM", "syncBN"), 2).keys() == {False, True}


def test_windows_counts_a_processs_time_too_coarsely(monkeypatch):
    """In ticks of 16 ms, so that a fastest step may have taken none."""
    assert layout._clock("cpu") is time.process_time and layout._clock("cuda") is time.perf_counter
    monkeypatch.setattr(sys, "platform", "win32")
    assert layout._clock("cpu") is time.perf_counter


@pytest.mark.parametrize("value", ["auto", "1", "0"])
def test_other_values_are_refused(tmp_path, value):
    with pytest.raises(ConfigError, match=r"MODEL.CHANNELS_LAST is .* must be True, False, or None"):
        make(tmp_path, "MODEL.CHANNELS_LAST", value)


def test_a_training_writes_what_it_found_and_resumes_with_it(tmp_path, found, monkeypatch):
    monkeypatch.setattr(layout, "LONG", 0)
    settings = {**RUN, "MODEL.CHANNELS_LAST": None, "OUTPUT_DIR": tmp_path}
    settings["SOLVER.CHECKPOINT_KEEP"] = "('final', 'optimizer')"
    settings |= {"MODEL.BACKBONE.NARROW.WIDTH": 8, "MODEL.BACKBONE.FEAT_DIM": 64, "SOLVER.SCHED": "MultiStepLR"}
    opts = [*SMALL, *(str(item) for pair in settings.items() for item in pair)]
    run("zoo/wide.yml", opts)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["MODEL"]["CHANNELS_LAST"] is True
    (weights,) = tmp_path.glob("model_*.pth")
    state = torch.load(weights, weights_only=True)["model"]
    assert state["backbone.layer2.0.conv2.weight"].is_contiguous(memory_format=torch.channels_last)
    found[0][True] = 2.0
    run("zoo/wide.yml", [*opts, "SOLVER.MAX_EPOCH", "2"], resume=True)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["MODEL"]["CHANNELS_LAST"] is True
    assert len(found[1]) == 1
    with pytest.raises(ConfigError, match="MODEL.CHANNELS_LAST was True and is False"):
        run("zoo/wide.yml", [*opts, "SOLVER.MAX_EPOCH", "2", "MODEL.CHANNELS_LAST", "False"], resume=True)
