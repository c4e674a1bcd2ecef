"""CSV data sets that a config names, so that nobody writes Python for them."""

import json
import shutil

import numpy as np
import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from PIL import Image

from fastreid_ext.config import get_cfg
from fastreid_ext.data.published import DESCRIBED_AT, EXPECTED_TREES
from fastreid_ext.engine.checks.config import mistakes
from fastreid_ext.engine.csv_sets import register_csv_sets
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.test_sets import with_tests_that_are_there
from fastreid_ext.engine.training_subsets import training_sets
from fastreid_ext.errors import ConfigError

NAMES = ("Shop", "Shop_2", "shop", "Laden_ä")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Three folders with CSV files of noise; the names are free again afterwards."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    rng = np.random.default_rng(0)
    for folder in ("a", "b/c", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        rows = {"train": [(p, c) for p in "12345678" for c in "01"], "query": [("9", "0")], "gallery": [("9", "1")]}
        for split, labels in rows.items():
            lines = ["path,person,camera"]
            for person, camera in labels:
                name = f"{person}_{camera}.jpg"
                Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(tmp_path / folder / name)
                lines.append(f"{name},{folder[0]}{person},{camera}")
            (tmp_path / folder / f"{split}.csv").write_text("\n".join(lines))
    yield tmp_path
    for table in (DATASET_REGISTRY._obj_map, EXPECTED_TREES, DESCRIBED_AT):
        for name in NAMES:
            table.pop(name, None)


def merged(*pairs):
    cfg = get_cfg()
    merge_config(cfg, "", [*map(str, pairs)])
    return cfg


def test_several_sets_at_once(root):
    """Relative to the folder of all data sets, or absolute."""
    pairs = [["Shop", "a"], ["Shop_2", "b/c"], ["Laden_ä", str(root / "elsewhere")]]
    names = tuple(name for name, _ in pairs)
    cfg = merged("DATASETS.CSV", pairs, "DATASETS.NAMES", names)
    sets = training_sets(cfg)
    assert [{item[1] for item in data.train} for data in sets] == [
        {f"{prefix}_{first}{person}" for person in "12345678"}
        for prefix, first in (("shop", "a"), ("shop-2", "b"), ("laden-ä", "e"))
    ]


def test_a_config_that_we_did_not_merge(root):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.CSV", [["Shop", "a"]], "DATASETS.NAMES", ("Shop",)])
    assert len(training_sets(cfg)[0].train) == 16


def test_a_later_config_may_move_a_set(root):
    for folder, first in (("a", "a"), ("b/c", "b")):
        cfg = merged("DATASETS.CSV", [["Shop", folder]], "DATASETS.NAMES", ("Shop",))
        assert training_sets(cfg)[0].train[0][1] == f"shop_{first}1"


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ([["Market1501", "a"]], "DATASETS.CSV: a data set is already registered as 'Market1501'"),
        ([["market1501", "a"]], "registered as 'Market1501', and the persons of 'market1501' would be taken for its"),
        (
            [["Shop", "a"], ["shop", "b/c"]],
            "registered as 'Shop', and the persons of 'shop' would be",
        ),
        ([["Shop", "a"], ["Shop", "b/c"]], "DATASETS.CSV names Shop 2 times: each set has one folder"),
        ([["Sh/op", "a"]], "DATASETS.CSV has the name 'Sh/op': a name has letters, digits, _, - and dots"),
        ([["HeldOut", "a"]], "DATASETS.CSV has the name HeldOut, which is that of a subset of the training set"),
        ([["Shop", "x" * 300]], "the folder of Shop in DATASETS.CSV is a path of 300 characters"),
        ([["Shop", "https://x.org"]], "the folder of Shop in DATASETS.CSV is https://x.org, and nothing is downloaded"),
        ([["Shop"]], "DATASETS.CSV is .* and must be a list of .name, folder."),
        (["Shop", "a"], "DATASETS.CSV is .* and must be a list of .name, folder."),
        ([["Shop", ""]], "DATASETS.CSV is .* and must be a list of .name, folder."),
        ([["Shop", 3]], "DATASETS.CSV is .* and must be a list of .name, folder."),
    ],
)
def test_what_can_not_be(pairs, sentence):
    with pytest.raises(ConfigError, match=sentence):
        merged("DATASETS.CSV", pairs)
    cfg = get_cfg()
    cfg.DATASETS.CSV = pairs
    with pytest.raises(ConfigError):
        register_csv_sets(cfg)


def test_a_missing_folder_and_a_set_that_nothing_uses(root):
    cfg = merged("DATASETS.CSV", [["Shop", "nowhere"], ["Shop_2", "a"]], "DATASETS.NAMES", ("Shop",))
    said = [sentence for sentence in mistakes(cfg, 1) if "DATASETS.CSV" in sentence]
    assert len(said) == 2
    assert f"has the set Shop, but there is no folder {root}/nowhere: give its absolute path" in said[0]
    assert "has the set Shop_2, which neither DATASETS.NAMES nor DATASETS.TESTS uses" in said[1]


def test_an_optional_set_may_be_missing(root):
    """With the file of its occlusions, which may lie in its folder; one that is trained on may not be missing."""
    keys = ("DATASETS.CSV", [["Shop", "nowhere"], ["Shop_2", "a"]], "DATASETS.NAMES", ("Shop_2",))
    keys += ("TEST.REPORT.OCCLUSION_FILES", [["Shop", "nowhere/occlusion.csv"]], "DATASETS.TESTS", ("Shop_2",))
    cfg = merged(*keys, "DATASETS.TESTS_OPTIONAL", ("Shop",))
    assert not [sentence for sentence in mistakes(cfg, 1) if "Shop" in sentence]
    kept = with_tests_that_are_there(cfg)
    assert tuple(kept.DATASETS.TESTS) == ("Shop_2",) and kept.DATASETS.CSV == [["Shop_2", "a"]]
    assert kept.TEST.REPORT.OCCLUSION_FILES == []
    (root / "nowhere").mkdir()
    assert [s for s in mistakes(cfg, 1) if "'nowhere/occlusion.csv' for Shop, which is neither here nor in" in s]
    (root / "nowhere").rmdir()
    for more in (("DATASETS.NAMES", ("Shop",)), ("TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.DATASET", "Shop")):
        cfg.merge_from_list([*more])
        assert [s for s in mistakes(cfg, 1) if "has the set Shop, but there is no folder" in s]


def test_a_set_that_is_optional(root):
    """It is used, and its folder may be missing; not so if it is trained on, too."""
    keys = ("DATASETS.NAMES", ("Shop",), "DATASETS.TESTS_OPTIONAL", ("Shop_2",))
    for folder in ("b/c", "nowhere"):
        cfg = merged("DATASETS.CSV", [["Shop", "a"], ["Shop_2", folder]], *keys)
        assert not [sentence for sentence in mistakes(cfg, 1) if "DATASETS.CSV" in sentence]
    cfg = merged("DATASETS.CSV", [["Shop_2", "nowhere"]], "DATASETS.NAMES", ("Shop_2",), *keys[2:])
    assert any("there is no folder" in sentence for sentence in mistakes(cfg, 1))


def test_a_run_from_its_start_to_its_continuation(root, run_main, monkeypatch, fails):
    """Trained, tested and continued by name; another set to test on is free, another one to train on is not."""
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    keys = {"DATASETS__NAMES": "('Shop',)", "SOLVER__STEPS": "[]", "TEST__EVAL_PERIOD": 0}
    keys |= {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0}
    output = run_main(**keys, DATASETS__CSV="[['Shop', 'a']]", DATASETS__TESTS="('Shop',)")
    assert json.loads((output / "results.json").read_text())["results"]["Shop"]["Rank-1"] == 100
    keys["DATASETS__TESTS"] = "('Shop_2',)"
    shutil.copy(root / "a/1_0.jpg", root / "elsewhere/9_0.jpg")
    run_main("--resume", **keys, DATASETS__CSV="[['Shop', 'a'], ['Shop_2', 'elsewhere']]")
    assert "Shop_2" in json.loads((output / "results.json").read_text())["results"]
    log = (output / "log.txt").read_text()
    assert "1 of the 1 persons of Shop_2 are persons of the training set (1 by images: 1 of its 2" in log
    said = fails("--resume", **keys, DATASETS__CSV="[['Shop', 'b/c'], ['Shop_2', 'elsewhere']]")
    assert "holds a run of another config (DATASETS.CSV was [['Shop', 'a']] and is [['Shop', 'b/c']])" in said
