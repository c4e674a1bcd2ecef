"""The table of ranges: complete, true for what we ship, and against what can't work."""

import math

import pytest
from fastreid.layers import get_norm

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.model_ranges import NORMS
from fastreid_ext.engine.checks.ranges import FREE, RANGES, out_of_range
from fastreid_ext.engine.checks.rules import number, one_of, rising, share, whole
from fastreid_ext.engine.key_tracking import leaves

WRONG = {
    "SOLVER.WARMUP_EPOCHS": [-5],
    "SOLVER.STEPS": [[40, 30], [0, 3], [-1], [3, 3], [1.5]],
    "SOLVER.LR_FACTORS": [[["heads", -1.0]], [["heads", 1.0], ["heads", 2.0]], ["heads"], [["heads"]], [[1, 2.0]]],
    "SOLVER.BASE_LR": [0.0, -1.0, math.nan, math.inf],
    "SOLVER.GAMMA": [0.0, 2.0],
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": [0.0, math.nan],
    "MODEL.PIXEL_STD": [
        [1.0, 0.0, 1.0],
        [-1.0, 1.0, 1.0],
        [1.0, 1.0],
        [math.nan, 1.0, 1.0],
        [1e-46, 1.0, 1.0],
        [1.0, 1.0, 1e-40],
    ],
    "MODEL.PIXEL_MEAN": [[1.0], [1.0, 2.0, "3"]],
    "MODEL.BACKBONE.LAST_STRIDE": [0, 3],
    "MODEL.BACKBONE.NORM": ["bn", "", "LN"],
    "MODEL.HEADS.POOL_LAYER": ["gempool"],
    "MODEL.LOSSES.HARD_TRIPLET.MARGIN": [-0.3],
    "MODEL.LOSSES.CENTER.SCALE": [-1.0],
    "MODEL.LOSSES.SUPCON.TEMPERATURE": [0.0, -0.1],
    "MODEL.BACKBONE.NARROW.WIDTH": [0, 4, 12, 128, 32.0],
    "MODEL.LOSSES.CE.EPSILON": [-2.0, 1.0],
    "MODEL.MGRE.LOCATION.MIN_JOINTS": [0, 18, 100],
    "MODEL.MGRE.LOCATION.MARGIN": [-0.1, 2.0],
    "MODEL.MGRE.FE.BLOCKS": [-2, 99],
    "INPUT.FLIP.PROB": [-0.1, 1.5],
    "INPUT.SIZE_TRAIN": [[0, 32], [], [256], 256, [256, 128, 3], [256.0, 128]],
    "INPUT.PADDING.MODE": ["wrap"],
    "TEST.RERANK.K1": [0],
    "TEST.RERANK.K2": [0, -1],
    "TEST.RERANK.LAMBDA": [5.0, -0.1],
    "TEST.AQE.QE_TIME": [-1, 0],
    "TEST.AQE.QE_K": [0],
    "TEST.FLIP.ENABLED": [1, "yes"],
    "TEST.REPORT.OCCLUSION_EDGES": [[0.5, 0.2], [1.0]],
    "TEST.REPORT.OCCLUSION_FILES": [["a"], [["a", "b", "c"]], [["a", 1]], [["a", "b"], ["a", "c"]]],
    "DATASETS.HOLD_OUT": [1, -1],
    "SEED": [-2, 2**40],
}


def put(cfg, key, value):
    *path, last = key.split(".")
    for part in path:
        cfg = cfg[part]
    cfg[last] = value


def test_every_key_is_in_the_table_or_free():
    keys = {key for key, _ in leaves(get_cfg())}
    assert keys - RANGES.keys() - FREE == set(), "a new key: add its range to RANGES"
    assert RANGES.keys() - keys == set() and FREE - keys == set() and FREE & RANGES.keys() == set()


def test_the_defaults_are_in_range():
    assert list(out_of_range(get_cfg())) == []


@pytest.mark.parametrize("key", WRONG)
def test_values_that_can_not_work(key):
    for value in WRONG[key]:
        cfg = get_cfg()
        put(cfg, key, value)
        if key == "INPUT.SIZE_TRAIN" and value == [256]:  # FastReID's number of the shorter side
            assert list(out_of_range(cfg)) == []
            continue
        ((found, sentence),) = out_of_range(cfg)
        assert found == key and sentence.startswith(f"{key} is {value!r} and must be "), sentence
        assert "\n" not in sentence and len(sentence) < 400


def wild(default):
    """Values of a key's type that no key could have."""
    if isinstance(default, bool):
        return [2, "maybe", None]
    if default is None:  # what it stands for is settled later
        return [2, "maybe", []]
    if isinstance(default, int | float):
        return [-(10**13), 10**13, math.nan, "1", None]
    if isinstance(default, str):
        return ["no such name\0", 1, None]
    return [[-(10**13)] * max(1, len(default)), [math.nan] * max(1, len(default)), "1", None, [None]]


@pytest.mark.parametrize("key", sorted(RANGES))
def test_no_key_takes_everything(key):
    default = dict(leaves(get_cfg()))[key]
    for value in wild(default):
        if key != "SOLVER.CLIP_GRADIENTS.NORM_TYPE" or value != 10**13:  # the norm of any degree
            assert not RANGES[key].holds(value), value


def test_a_name_of_another_case_gets_the_right_one():
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.HEADS.POOL_LAYER, cfg.MODEL.BACKBONE.NORM = "baseline", "globalmaxpool", "bn"
    cfg.SOLVER.OPT, cfg.INPUT.BATCH_AUGMENT.NAME = "adam", ["randomerasing"]
    said = dict(out_of_range(cfg))
    for key, name in {
        "MODEL.META_ARCHITECTURE": "Baseline",
        "MODEL.HEADS.POOL_LAYER": "GlobalMaxPool",
        "MODEL.BACKBONE.NORM": "BN",
        "SOLVER.OPT": "Adam",
        "INPUT.BATCH_AUGMENT.NAME": "RandomErasing",
    }.items():
        assert f"did you mean {name}" in said[key]


def test_the_norms_are_those_of_fastreid():
    for name in NORMS:
        assert get_norm(name, 32) is not None


def test_ends_of_a_range():
    assert number(0, 1).holds(0) and number(0, 1).holds(1) and not number(above=0).holds(0)
    assert not number(below=1).holds(1) and not number().holds(True) and not number().holds("1")
    assert not whole().holds(1.0) and whole(1, 3).holds(3) and not whole(1, 3).holds(4)
    assert share(above=0).holds(1) and not share(above=0).holds(0) and not share(below=1).holds(1)
    assert number(0, 1).says == "a finite number from 0 to 1" and whole(1).says == "a whole number, 1 or more"
    assert share(above=0, below=1).says == "a finite number, above 0 and below 1"
    assert rising([1, 2]) and rising([]) and not rising([2, 1]) and not rising([1, 1])
    assert one_of(lambda: ["a"]).holds("a")
