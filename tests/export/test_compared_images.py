"""The images that a model and its export are compared on: of a test set, or drawn where there is none."""

import pytest

from fastreid_ext.data.catalog import DataSetError
from fastreid_ext.export.compared_images import images_to_compare


def test_drawn_images_where_there_is_no_test_set(trained, tmp_path, monkeypatch):
    cfg, _ = trained
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    cfg.DATASETS.TESTS = ("Market1501",)
    with images_to_compare(cfg, 9) as compared:
        assert compared.source == "drawn images of SynthReIDTiny, because Market1501 is not here"
        assert compared.queries == 3 and len(compared.images.fetch(compared.chosen.tolist())) == 9
    assert list(tmp_path.iterdir()) == []
    cfg.DATASETS.NAMES, cfg.DATASETS.TESTS, cfg.DATASETS.HOLD_OUT = ("Market1501",), ("HeldOut", "Market1501"), 2
    with images_to_compare(cfg, 9) as compared:
        assert compared.source.endswith("because HeldOut and Market1501 are not here")


def test_the_first_test_set_that_is_here(trained):
    cfg, _ = trained
    cfg.DATASETS.TESTS, cfg.DATASETS.TESTS_OPTIONAL = ("Market1501",), ("SynthReIDTiny",)
    with images_to_compare(cfg, 6) as compared:
        assert compared.source == "images of SynthReIDTiny"


def test_a_test_set_that_is_unknown_or_not_whole(fails, trained, tmp_path, monkeypatch):
    for keys in ({"TESTS": "('Markt1501',)"}, {"TESTS": "('SynthReIDTiny','Markt1501')"}):
        sentence = fails("--format", "onnx", **{f"DATASETS__{key}": value for key, value in keys.items()})
        assert "no data set is registered as 'Markt1501'" in sentence
    cfg, _ = trained
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    (tmp_path / "Market-1501-v15.09.15").mkdir()
    cfg.DATASETS.TESTS = ("Market1501",)
    with pytest.raises(DataSetError, match="Market1501 is missing or only half unpacked"), images_to_compare(cfg, 9):
        pass


def test_every_query_has_a_right_answer(trained):
    cfg, _ = trained
    for count in (2, 3, 10, 10_000):
        with images_to_compare(cfg, count) as compared:
            pids, camids = compared.labels(1), compared.labels(2)
            for pid, camid in zip(pids[0], camids[0], strict=True):
                assert ((pids[1] == pid) & (camids[1] != camid)).any()
            assert len(set(compared.chosen.tolist())) == len(compared.chosen) <= max(count, 2)
