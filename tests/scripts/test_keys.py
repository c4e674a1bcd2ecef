"""The config keys of ours in FastReID's get_cfg: beside the keys of a fork, never in their place."""

import logging
import types
from pathlib import Path

import fastreid.config
import fastreid.engine.defaults
import pytest
from fastreid.config import CfgNode

from fastreid_ext.compat import patch
from fastreid_ext.config import get_cfg
from fastreid_ext.scripts import keys


@pytest.fixture
def added():
    """FastReID with our keys, as a script has it."""
    count = len(patch._undo)
    keys.add_to_host()
    yield
    while len(patch._undo) > count:
        patch._undo.pop()()


@pytest.fixture
def fork():
    """Defaults of FastReID and of a fork that has two of our names for other things."""
    cfg = fastreid.config.get_cfg()
    cfg.SEED = "a number of the fork's"
    cfg.SOLVER.EMA = 0.5
    cfg.MODEL.OF_THE_FORK = 1
    return cfg


def test_the_host_has_none_of_them_without_a_script():
    assert "DEEPMINER" not in fastreid.config.get_cfg().MODEL


def test_what_a_script_gets(added):
    cfg = fastreid.config.get_cfg()
    assert set(get_cfg().MODEL) <= set(cfg.MODEL) and cfg.MODEL.DEEPMINER == get_cfg().MODEL.DEEPMINER
    assert cfg.MODEL.DEVICE == get_cfg().MODEL.DEVICE  # the CPU where there is no GPU
    assert fastreid.config.config.get_cfg is fastreid.config.get_cfg


def test_a_fork_keeps_what_it_has(fork):
    keys.add_missing(fork, get_cfg())
    assert (fork.SEED, fork.SOLVER.EMA, fork.MODEL.OF_THE_FORK) == ("a number of the fork's", 0.5, 1)
    assert fork.SOLVER.LAYER_DECAY == 1.0 and fork.MODEL.DEEPMINER.IE_BLOCKS


def test_a_config_without_ours_is_as_it_was(fork):
    before = fork.clone()
    before.MODEL.OF_THE_FORK = 2
    after = before.clone()
    keys.add_missing(after, get_cfg())
    assert keys.set_keys(after, fork, get_cfg()) == []
    assert keys.without(after, fork, get_cfg()) == before


@pytest.fixture
def run_of(added, tmp_path, forget_logs):
    """``run_of(KEY=value)``: FastReID's setup of a run of such a config; returns its config.yaml and the log."""

    def run(**pairs):
        cfg = fastreid.config.get_cfg()
        settings = {"OUTPUT_DIR": str(tmp_path), **{key.replace("__", "."): value for key, value in pairs.items()}}
        cfg.merge_from_list([item for pair in settings.items() for item in pair])
        fastreid.engine.defaults.default_setup(cfg, types.SimpleNamespace(eval_only=True))
        for handler in logging.getLogger("fastreid").handlers:
            handler.flush()
        tree = CfgNode.load_cfg((tmp_path / "config.yaml").read_text())
        return tree, Path(tmp_path, "log.txt").read_text()

    return run


def test_plain_fastreid_reads_the_config_of_a_run_without_ours(run_of):
    tree, log = run_of(MODEL__BACKBONE__DEPTH="18x")
    assert tree.MODEL.BACKBONE.DEPTH == "18x"
    assert "DEEPMINER" not in tree.MODEL and "SEED" not in tree and "NARROW" not in tree.MODEL.BACKBONE
    assert "does not know" not in log


def test_a_key_that_only_our_trainer_reads(run_of):
    tree, log = run_of(SOLVER__WARMUP_EPOCHS=2, MODEL__DEEPMINER__LOCAL_STRIPES=2, MODEL__CHANNELS_LAST=True)
    assert tree.SOLVER.WARMUP_EPOCHS == 2 and tree.MODEL.DEEPMINER.LOCAL_STRIPES == 2
    said = "FastReID's trainer does not know MODEL.CHANNELS_LAST, SOLVER.WARMUP_EPOCHS: they have no effect"
    assert said in log
