"""Groups of queries by files of occlusion labels (TEST.REPORT.OCCLUSION_FILES)."""

import logging
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext.config import get_cfg
from fastreid_ext.data.datasets.files import log_once
from fastreid_ext.engine import loaders
from fastreid_ext.engine.checks.evaluation import evaluation_mistakes
from fastreid_ext.engine.occlusion import occlusion_groups
from fastreid_ext.errors import ConfigError

NAME = "SynthReIDTiny"


@pytest.fixture
def cfg(synth_tiny):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TESTS", (NAME,), "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"])
    return cfg


@pytest.fixture
def write(tmp_path, cfg):
    """Write a file of occlusions and name it in the config; returns the groups of the set's queries."""

    def make(rows):
        file = tmp_path / "occlusion.csv"
        file.write_text("path,occlusion\n" + "".join(f"{path},{share}\n" for path, share in rows))
        cfg.TEST.REPORT.OCCLUSION_FILES = [[NAME, str(file)]]
        dataset = loaders.eval_loader(cfg, NAME)[0].dataset
        return {group.label: np.flatnonzero(group.members).tolist() for group in dataset.groups}

    return make


@pytest.fixture
def queries(cfg):
    loader, count = loaders.eval_loader(cfg, NAME)
    return [Path(item[0]) for item in loader.dataset.img_items[:count]]


def test_a_file_stands_for_the_sets_own_labels(write, queries):
    """The set itself says that none of its queries is occluded."""
    rows = [(f"query/{path.name}", 1 if number == 3 else 0) for number, path in enumerate(queries)]
    assert write(rows) == {"not occluded": [n for n in range(len(queries)) if n != 3], "occluded": [3]}


def test_queries_without_a_row_are_unknown(write, queries, caplog, monkeypatch):
    log_once.cache_clear()
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="fastreid_ext"):
        groups = write([(queries[0], 1), (queries[1], 0)])
    assert groups == {"not occluded": [1], "occluded": [0], "occlusion unknown": list(range(2, len(queries)))}
    said = f"{len(queries) - 2} of {len(queries)} queries of {NAME} have no occlusion in"
    assert any(said in record.message and str(queries[2]) in record.message for record in caplog.records)


def test_a_file_that_knows_no_query(write):
    with pytest.raises(ConfigError, match="has a row for none of the 16 queries, such as"):
        write([("other.jpg", 1)])


def test_a_report_that_is_off_reads_no_file(cfg):
    cfg.TEST.REPORT.OCCLUSION_FILES, cfg.TEST.REPORT.ENABLED = [[NAME, "nowhere.csv"]], False
    assert occlusion_groups(cfg, ["a.jpg"], {NAME: None}) == []


def test_mistakes(cfg, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    (tmp_path / "there.csv").touch()
    cfg.TEST.REPORT.OCCLUSION_FILES = [[NAME, "there.csv"]]
    assert list(evaluation_mistakes(cfg)) == []
    cfg.TEST.REPORT.OCCLUSION_FILES = [["MSMT17", "there.csv"], [NAME, "gone.csv"]]
    other, gone = evaluation_mistakes(cfg)
    assert "names 'MSMT17', which is neither in DATASETS.NAMES nor in DATASETS.TESTS" in other
    assert f"names 'gone.csv' for {NAME}, which is neither here nor in {tmp_path}" in gone
    monkeypatch.setenv("HOME", str(tmp_path))
    cfg.TEST.REPORT.OCCLUSION_FILES = [[NAME, "~/there.csv"]]
    assert list(evaluation_mistakes(cfg)) == []
    cfg.TEST.REPORT.OCCLUSION_FILES = [[NAME, "y" * 5000]]
    assert "that is a path of 5000 characters" in next(evaluation_mistakes(cfg))


class Labelled:
    """A CSV set as far as groups are made of it; its own file labels ``known`` alone."""

    def __init__(self, file, known):
        self.occlusion_file, self.known = file, known

    def occlusion_of(self, path):
        return 1.0 if path == self.known else None


@pytest.mark.parametrize(
    ("there", "known", "said"), [(True, "z", True), (True, "a", False), (False, "z", False)], ids=str
)
def test_a_sets_own_file_that_knows_no_query(cfg, tmp_path, caplog, monkeypatch, there, known, said):
    """As after its images moved: without a word, the table by occlusion would be gone."""
    log_once.cache_clear()
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="fastreid_ext"):
        occlusion_groups(cfg, ["a", "b"], {"Shop": Labelled(tmp_path / "occlusion.csv" if there else None, known)})
    sentence = "occlusion.csv has a row for none of the 2 queries of Shop, such as a, so there is no table by occlusion"
    assert (sentence in caplog.text) == said
