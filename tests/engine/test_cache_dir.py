"""DATALOADER.CACHE_DIR through the command line: a run is the same to the bit, and its images are decoded once."""

import errno
import json
from pathlib import Path

import pytest

from fastreid_ext import files
from fastreid_ext.data.pixels import decoding

TINY = {"SOLVER__MAX_EPOCH": 2, "SOLVER__WARMUP_EPOCHS": 0, "DATASETS__HOLD_OUT": 2}


@pytest.fixture
def decoded(monkeypatch):
    """The image files that are decoded from now on, in this process."""
    paths, read_rgb = [], decoding.read_rgb
    monkeypatch.setattr(decoding, "read_rgb", lambda path, fast: paths.append(path) or read_rgb(path, fast))
    return paths


def results(output):
    return json.loads((output / "results.json").read_text())["results"]


@pytest.mark.slow
def test_a_run_is_the_same_and_decodes_each_image_once(run_main, decoded, differences, tmp_path):
    plain = run_main(**TINY, OUTPUT_DIR=tmp_path / "plain")
    often = list(decoded)
    decoded.clear()
    kept = {"DATALOADER__CACHE_DIR": tmp_path / "kept", **TINY}
    output = run_main(**kept, OUTPUT_DIR=tmp_path / "out")
    assert len(decoded) == len(set(decoded)) and set(decoded) == set(often) and len(often) > 2 * len(decoded)
    assert len(list((tmp_path / "kept" / "64x32").rglob("*.rgb"))) == len(decoded)
    assert results(output) == results(plain)
    assert not differences(*(folder / "model_latest.pth" for folder in (output, plain)))

    decoded.clear()
    again = run_main("--eval-only", **kept, OUTPUT_DIR=tmp_path / "again", MODEL__WEIGHTS=output / "model_final.pth")
    assert results(again) == results(output) and not decoded
    # The folder changes no result, so that a run may be continued without it.
    run_main("--resume", **TINY | {"SOLVER__MAX_EPOCH": 3}, OUTPUT_DIR=output)
    assert decoded


def test_a_disk_that_is_full_later_stops_no_run(run_main, monkeypatch, tmp_path):
    """Also at the first evaluation, whose loaders are built then."""

    def full(path, mode):
        if path.suffix == ".tmp" and "kept" in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        return open(path, mode)

    monkeypatch.setattr(files, "open", full, raising=False)
    output = run_main(DATALOADER__CACHE_DIR=tmp_path / "kept", DATASETS__VALIDATION=3, **TINY)
    assert set(results(output)) == {"SynthReIDTiny", "HeldOut", "Validation"}
    assert not list((tmp_path / "kept").rglob("*.rgb"))
    assert "so images are resized each time: [Errno 28] No space left on device" in (output / "log.txt").read_text()


def test_every_test_set_is_kept(run_main, decoded, tmp_path):
    run = {"DATALOADER__CACHE_DIR": tmp_path / "kept", **TINY, "DATASETS__VALIDATION": 3}
    output = run_main(**run)
    decoded.clear()
    run_main("--eval-only", **run | {"OUTPUT_DIR": tmp_path / "again"}, MODEL__WEIGHTS=output / "model_final.pth")
    assert not decoded


def test_a_folder_that_cannot_be_written(fails, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = fails(DATALOADER__CACHE_DIR=tmp_path / "file" / "below")
    assert sentence.startswith(f"fastreid-ext train: DATALOADER.CACHE_DIR '{tmp_path}/file/below' can't be written: ")


def test_images_of_the_slow_way_are_not_kept(fails, tmp_path):
    sentence = fails(DATALOADER__CACHE_DIR=tmp_path / "kept", DATALOADER__FAST_PIXELS=False)
    assert "keeps images of the fast way alone: set DATALOADER.FAST_PIXELS True" in sentence


@pytest.mark.parametrize("key", ["SIZE_TRAIN", "SIZE_TEST"])
def test_images_of_any_shape_are_not_kept(key, fails, tmp_path):
    sentence = fails(DATALOADER__CACHE_DIR=tmp_path / "kept", **{f"INPUT__{key}": "[64]"})
    assert f"INPUT.{key} is [64], the shorter side" in sentence and "give height and width" in sentence


def test_the_log_says_where_and_how_large(run_main, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    output = run_main(DATALOADER__CACHE_DIR="~/kept", SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0)
    sentence = f"resized images are kept in {tmp_path}/kept/64x32, 0.00614 MB each"
    assert Path(output / "log.txt").read_text().count(sentence) == 1
