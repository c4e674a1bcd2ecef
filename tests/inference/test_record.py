"""What a file of a model says of itself, and that another's words are not taken for it."""

import json
from dataclasses import replace

import pytest
import yaml

from fastreid_ext.inference.record import ModelRecord, RecordError, record_of
from fastreid_ext.model_zoo import get_config


@pytest.fixture(scope="module")
def record():
    import torch

    cfg = get_config("demo/tiny.yml")
    cfg.defrost()
    cfg.MODEL.WEIGHTS, cfg.MODEL.BACKBONE.PRETRAIN_PATH = "/home/me/best.pth", "/home/me/trunk.pth"
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.SIZE = True, [48]
    return record_of(cfg, torch.nn.Linear(3, 5), 5, pixels="imagenet", normalised=True)


def test_it_is_read_as_it_was_written(record):
    assert ModelRecord.from_text(record.text(), "a file") == record
    assert record.size == (64, 32) and record.crop == (48, 48) and record.pixels == "imagenet"


def test_it_names_no_path_of_a_machine(record):
    assert "/home/me" not in record.text()
    config = yaml.safe_load(record.config)
    assert set(config) == {"MODEL", "INPUT", "TEST"} and config["MODEL"]["META_ARCHITECTURE"] == record.architecture


def test_features_of_two_files_of_one_model_can_be_compared(record):
    other = replace(record, pixels="raw", normalised=False, dtype="float16")
    assert other.identity == record.identity and replace(record, flip=True).identity != record.identity


@pytest.mark.parametrize("size", [[], [256], [384, 128]])
def test_sizes(record, size):
    data = {**json.loads(record.text()), "size": size}
    assert ModelRecord.from_text(json.dumps(data), "a file").size == tuple(size)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("dim", value) for value in (0, -1, 1.5, True, "512", None)),
        *(("size", value) for value in ([0, 0], [1, 2, 3], "64", 64, [1e9, 2], [1 << 40, 1], None)),
        *(("crop", value) for value in ([5], [-1, 4], {})),
        *(("mean", value) for value in ([1, 2], ["a", "b", "c"], [float("nan")] * 3, [True, 1, 1])),
        *(("std", value) for value in ([0, 1, 1], [-1, 1, 1], [float("inf"), 1, 1])),
        *((name, 1) for name in ("normalised", "flip", "architecture", "config", "config_sha256", "same_person")),
        *(("pixels", value) for value in ("RAW", ["raw"], None)),
        *(("metric", value) for value in ("l2", ["cosine"])),
        ("dtype", "int8"),
        ("versions", []),
    ],
)
def test_values_that_cannot_be(record, key, value):
    data = {**json.loads(record.text()), key: value}
    with pytest.raises(RecordError, match=f"a file says of its model {key} "):
        ModelRecord.from_text(json.dumps(data), "a file")


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '{"format": 3}', '{"format": "other 1"}', "[" * 100_000])
def test_another_text(text):
    with pytest.raises(RecordError, match="a file"):
        ModelRecord.from_text(text, "a file")


def test_what_is_absent_is_named(record):
    data = json.loads(record.text())
    del data["mean"], data["dim"]
    with pytest.raises(RecordError, match="a file does not say dim, mean of its model"):
        ModelRecord.from_text(json.dumps(data), "a file")
