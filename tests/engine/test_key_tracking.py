"""Which config keys a run reads."""

import copy

import pytest

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.key_tracking import check_all_read, leaves, track, unread_keys
from fastreid_ext.errors import ConfigError


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 0.5
    cfg.MODEL.DEEPMINER.CHAM.REDUCTION = 4
    return cfg


def test_reads_are_noted(cfg):
    tracked, log = track(cfg)
    assert not log
    assert tracked.SOLVER.BASE_LR == 0.5 and tracked["MODEL"]["DEEPMINER"].CHAM.REDUCTION == 4
    assert {"SOLVER.BASE_LR", "MODEL.DEEPMINER.CHAM.REDUCTION"} < log
    assert "SOLVER.STEPS" not in log


def test_the_original_is_not_watched(cfg):
    tracked, log = track(cfg)
    assert cfg.SOLVER.BASE_LR == 0.5
    assert not log
    tracked.SOLVER.BASE_LR = 1.0
    assert cfg.SOLVER.BASE_LR == 0.5


def test_the_copy_holds_the_same(cfg):
    tracked, log = track(cfg)
    assert dict(leaves(tracked)) == dict(leaves(cfg))
    assert tracked.dump() == cfg.dump()


def test_a_set_key_that_nobody_reads_is_found(cfg):
    tracked, log = track(cfg)
    _ = tracked.SOLVER.BASE_LR
    assert unread_keys(tracked, get_cfg(), log) == ["MODEL.DEEPMINER.CHAM.REDUCTION"]
    assert unread_keys(tracked, get_cfg(), log, nodes=("SOLVER", "MODEL.HEADS")) == []
    _ = tracked.MODEL.DEEPMINER.CHAM.REDUCTION
    assert unread_keys(tracked, get_cfg(), log) == []


def test_a_read_of_the_node_is_no_read_of_its_keys(cfg):
    tracked, log = track(cfg)
    _ = tracked.MODEL.DEEPMINER.CHAM
    assert "MODEL.DEEPMINER.CHAM.REDUCTION" in unread_keys(tracked, get_cfg(), log)


def test_looking_for_unread_keys_reads_none(cfg):
    tracked, log = track(cfg)
    unread_keys(tracked, get_cfg(), log)
    dict(leaves(tracked))
    assert not log


def test_keys_at_their_default_need_no_reader():
    tracked, log = track(get_cfg())
    assert unread_keys(tracked, get_cfg(), log) == []


@pytest.mark.parametrize("key", ["OUTPUT_DIR", "SEED", "TEST.EVAL_PERIOD", "TEST.RANK_LIST.TOPK", "DATASETS.TESTS"])
def test_keys_that_are_read_later_are_not_missed(key):
    cfg = get_cfg()
    value = {"OUTPUT_DIR": "elsewhere", "DATASETS.TESTS": ("DukeMTMC",)}.get(key, 3)
    cfg.merge_from_list([key, value])
    assert dict(leaves(cfg))[key] != dict(leaves(get_cfg()))[key]
    tracked, log = track(cfg)
    assert unread_keys(tracked, get_cfg(), log) == []


@pytest.mark.parametrize("clone", [lambda cfg: cfg.clone(), copy.deepcopy], ids=["clone", "deepcopy"])
def test_clones_share_the_log(cfg, clone):
    tracked, log = track(cfg)
    other = clone(tracked)
    _ = other.SOLVER.BASE_LR
    assert "SOLVER.BASE_LR" in log
    assert unread_keys(other, get_cfg(), log) == ["MODEL.DEEPMINER.CHAM.REDUCTION"]
    other.SOLVER.BASE_LR = 7.0
    assert tracked.SOLVER.BASE_LR == 0.5


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_stays_frozen(cfg, frozen):
    if frozen:
        cfg.freeze()
    tracked, _ = track(cfg)
    assert tracked.is_frozen() is frozen and tracked.SOLVER.is_frozen() is frozen
    tracked.defrost()
    tracked.SOLVER.BASE_LR = 1.0


def test_the_complaint_names_the_keys(cfg):
    tracked, log = track(cfg)
    with pytest.raises(
        ConfigError, match="MODEL.DEEPMINER.CHAM.REDUCTION.* no effect here: no part reads .*META_ARCHITECTURE Baseline"
    ):
        check_all_read(tracked, get_cfg(), log)
    check_all_read(tracked, get_cfg(), log | {"SOLVER.BASE_LR", "MODEL.DEEPMINER.CHAM.REDUCTION"})
