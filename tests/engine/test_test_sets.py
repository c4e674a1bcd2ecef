"""Optional test sets are tested where they are there; COMBINEALL never trains on what is tested."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
from data_set_trees import BODY_TREES, MARKET, write, write_all_different
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import DataSetError
from fastreid_ext.data.datasets.csv_dataset import CSVDataset
from fastreid_ext.data.datasets.files import log_once
from fastreid_ext.engine import loaders, test_sets
from fastreid_ext.engine.checks.config import check_config
from fastreid_ext.engine.training_subsets import evaluated_sets, training_sets
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config, list_config_files

OPTIONAL = ("OccludedREID", "PartialREID", "PartialILIDS")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    return tmp_path


@pytest.fixture
def logged(caplog, monkeypatch):
    log_once.cache_clear()
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    with caplog.at_level(logging.INFO, logger="fastreid_ext"):
        yield caplog
    log_once.cache_clear()


def config(tests, optional=(), **more):
    cfg = get_cfg()
    pairs = {"TESTS": tests, "TESTS_OPTIONAL": optional, **more}
    cfg.merge_from_list([item for key, value in pairs.items() for item in (f"DATASETS.{key}", value)])
    return cfg


def test_what_is_there_is_tested_and_what_is_skipped_is_said(root, logged):
    cfg = config(("Market1501",), OPTIONAL)
    assert test_sets.tested_sets(cfg) == ("Market1501",)
    sentence = "OccludedREID, PartialREID, PartialILIDS of DATASETS.TESTS_OPTIONAL are not there below"
    assert sentence in logged.text and "so the test is on Market1501 alone" in logged.text
    write(root, BODY_TREES["PartialREID"])
    assert evaluated_sets(cfg) == ("Market1501", "PartialREID")
    write(root, [*BODY_TREES["OccludedREID"], *BODY_TREES["PartialILIDS"]])
    assert evaluated_sets(cfg) == ("Market1501", *OPTIONAL)


def test_a_set_of_both_lists_is_optional(root):
    cfg = config(("OccludedREID", "Market1501"), ("OccludedREID",))
    assert test_sets.tested_sets(cfg) == ("Market1501",)
    write(root, BODY_TREES["OccludedREID"])
    assert test_sets.tested_sets(cfg) == ("OccludedREID", "Market1501")


def test_without_any_test_set(root):
    for tests in ((), ("OccludedREID",)):
        with pytest.raises(
            DataSetError, match="no test set is there below .*OccludedREID, PartialREID; add one of them"
        ):
            test_sets.tested_sets(config(tests, ("OccludedREID", "PartialREID")))
    write(root, BODY_TREES["PartialREID"])
    assert test_sets.first_test_set(config((), OPTIONAL), "none") == "PartialREID"
    with pytest.raises(ConfigError, match="^none$"):
        test_sets.first_test_set(config(()), "none")


def test_a_set_that_is_half_there_is_still_an_error(root):
    write(root, ["Occluded_REID/occluded_body_images/001/001_01.tif"])
    cfg = config(("Market1501",), OPTIONAL)
    assert test_sets.tested_sets(cfg) == ("Market1501", "OccludedREID")
    with pytest.raises(DataSetError, match="Occluded_REID has no whole_body_images"):
        loaders.eval_loader(cfg, "OccludedREID")


def test_a_class_of_fastreids_project_that_has_the_name(root, monkeypatch):
    class OccludedREID(ImageDataset):
        """It doesn't say where it lies."""

    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "OccludedREID", OccludedREID)
    cfg = config(("Market1501",), ("OccludedREID", "SynthReIDTiny"))
    assert test_sets.tested_sets(cfg) == ("Market1501", "SynthReIDTiny")  # the last one is made when it is needed
    (root / "OccludedREID").mkdir()
    assert test_sets.tested_sets(cfg) == ("Market1501", "OccludedREID", "SynthReIDTiny")


def test_a_run_keeps_its_test_sets_when_another_appears(root):
    cfg = config(("Market1501",), OPTIONAL)
    cfg.freeze()
    kept = test_sets.with_tests_that_are_there(cfg)
    write(root, BODY_TREES["OccludedREID"])
    assert evaluated_sets(kept) == ("Market1501",) and kept.is_frozen()
    assert evaluated_sets(cfg) == ("Market1501", "OccludedREID")


@pytest.mark.parametrize(
    ("optional", "sentence"),
    [
        (("OcludedREID",), r"no data set is registered as 'OcludedREID' \(DATASETS.TESTS_OPTIONAL\)"),
        (("PartialREID", "PartialREID"), "DATASETS.TESTS_OPTIONAL names PartialREID 2 times"),
        (("HeldOut",), "no data set is registered as 'HeldOut'"),
    ],
)
def test_wrong_names_are_found_at_the_start(optional, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_config(config(("Market1501",), optional), 1)


def test_the_shipped_configs_on_market_start_without_the_others(root):
    write(root, MARKET)
    files = [file for file in list_config_files() if file.startswith("OccludedReID/") and "Market1501_" in file]
    assert {Path(file).stem for file in files} > {"Market1501_R50", "Market1501_cbe", "Market1501_OSNet"}
    for file in files:
        cfg = get_config(file)
        assert evaluated_sets(cfg) == ("Market1501",) and tuple(cfg.DATASETS.TESTS_OPTIONAL) == OPTIONAL


def test_a_run_and_its_evaluation_skip_what_is_not_there(run_main):
    keys = {"DATASETS__TESTS": "('SynthReIDTiny',)", "DATASETS__TESTS_OPTIONAL": "('OccludedREID',)"}
    output = run_main(**keys, SOLVER__MAX_EPOCH=1, SOLVER__STEPS="[]", SOLVER__WARMUP_EPOCHS=0)
    log = (output / "log.txt").read_text()
    assert "OccludedREID of DATASETS.TESTS_OPTIONAL is not there" in log
    assert set(json.loads((output / "results.json").read_text())["results"]) == {"SynthReIDTiny"}


# ---- COMBINEALL -----------------------------------------------------------------------------------------------------


def test_combineall_leaves_out_a_set_that_is_tested(root, logged):
    write_all_different(root, MARKET)
    write_all_different(root, BODY_TREES["PDukeMTMC"])
    cfg = config(("Market1501",), NAMES=("Market1501", "PDukeMTMC"), COMBINEALL=True)
    market, duke = training_sets(cfg)
    assert not any("_test_" in item[1] for item in market.train) and len(market.train) == 4
    assert sum("_test_" in item[1] for item in duke.train) == 2
    sentence = "COMBINEALL doesn't add the 7 query and gallery images of Market1501 to its training images: 7 of them"
    assert sentence in logged.text and "PDukeMTMC to its" not in logged.text


def test_combineall_with_optional_tests(root):
    write_all_different(root, MARKET)
    write_all_different(root, BODY_TREES["OccludedREID"])
    cfg = config(("OccludedREID",), ("Market1501",), NAMES=("Market1501",), COMBINEALL=True)
    assert len(training_sets(cfg)[0].train) == 4
    assert len(training_sets(config(("OccludedREID",), NAMES=("Market1501",), COMBINEALL=True))[0].train) == 4 + 6


def test_combineall_knows_the_gallery_that_two_sets_share(datasets, monkeypatch, logged):
    monkeypatch.setenv("FASTREID_DATASETS", str(datasets))
    cfg = config(("SynthReIDOccludedTiny",), NAMES=("SynthReIDTiny",), COMBINEALL=True)
    assert not any("_test_" in item[1] for item in training_sets(cfg)[0].train)
    assert "images of SynthReIDTiny to its training images" in logged.text


@pytest.mark.parametrize("way", [os.symlink, os.link, shutil.copy])
def test_combineall_knows_a_gallery_by_another_name(root, logged, monkeypatch, way):
    """A set of one's own may link or copy the images of another."""
    write_all_different(root, MARKET)
    (root / "own").mkdir()
    rows = {"query": "", "gallery": ""}
    for split, folder in (("query", "query"), ("gallery", "bounding_box_test")):
        for path in sorted((root / "Market-1501-v15.09.15" / folder).iterdir()):
            way(path, root / "own" / path.name)
            rows[split] += f"{path.name},{path.name.split('_')[0]},{split}\n"
        (root / f"own/{split}.csv").write_text(f"path,person,camera\n{rows[split]}")
    kind = type("Own", (CSVDataset,), {"folder": "own", "dataset_name": "own"})
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "Own", kind)
    cfg = config(("Own",), NAMES=("Market1501",), COMBINEALL=True)
    assert not any("_test_" in item[1] for item in training_sets(cfg)[0].train)
    assert "images of Market1501 to its training images" in logged.text
