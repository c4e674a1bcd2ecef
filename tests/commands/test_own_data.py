"""The commands dataset and occlusion-split: their files, what they print, and what they refuse."""

import csv
import json

import pytest
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.data.catalog import load_dataset


@pytest.fixture
def call(capsys):
    """Run a command line; returns its status, its output and its errors."""

    def run(*args):
        status = main([str(arg) for arg in args])
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


def rows(file):
    with open(file, encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_dataset(tmp_path, call):
    for number in range(8):
        path = tmp_path / "people" / f"p{number % 4}" / f"c{number // 4}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8), (number, 0, 0)).save(path)
    output = tmp_path / "shop"
    status, out, err = call("dataset", tmp_path / "people", "--output", output)
    assert status == 0 and f'DATASETS.CSV: [["shop", "{output}"]]' in out
    assert "train: 4 images, 2 persons, 2 cameras\nquery: 2 images, 2 persons, 1 camera\n" in out
    assert Image.open(output / "contact_sheet.png").width > 100
    assert {row["camera"] for row in rows(output / "train.csv")} == {"0", "1"}
    assert call("dataset", tmp_path / "people", "--output", output)[0] == 1
    status, _, err = call("dataset", tmp_path / "people", "--output", output, "--test-share", "1.5")
    assert status == 1 and "--test-share is 1.5" in err


def test_occlusion_split(tmp_path, call, synth_tiny):
    output = tmp_path / "occluded"
    args = ("occlusion-split", "SynthReIDOccludedTiny", "--output", output, "--order", "openpose", "body")
    status, out, err = call(*args, "--confidence", "0.5", "--sheet-images", "2")
    assert status == 0, err
    labels = {row["path"]: row for row in rows(output / "occlusion.csv")}
    queries, gallery, train = (rows(output / f"{part}.csv") for part in ("query", "gallery", "train"))
    assert queries and {labels[row["path"]]["occlusion"] for row in queries} == {"1"}
    assert {labels[row["path"]]["occlusion"] for row in gallery} == {"0", "1"}
    for row in labels.values():
        occluded, missing, run = (int(row[column]) for column in ("occlusion", "missing", "sequential"))
        assert occluded == (run >= 3) and missing >= run
    data = load_dataset("SynthReIDOccludedTiny", ("train", "query", "gallery"))
    assert len(labels) == len({item[0] for item in [*data.train, *data.query, *data.gallery]})
    assert {f"synthreid-tiny_{row['person']}" for row in train} <= {item[1] for item in data.train}
    report = json.loads((output / "report.json").read_text())
    assert report["splits"]["query"]["occluded"] == len(queries) == report["splits"]["query"]["images"]
    assert report["judged"]["images"] == len(labels) and report["confidence"] == 0.5
    assert (output / "occlusion_sheet.png").is_file()
    status, _, err = call(*args)
    assert status == 1 and "already has train.csv, query.csv, gallery.csv, occlusion.csv" in err


def test_occlusion_split_refuses(tmp_path, call, synth_tiny):
    line = ("occlusion-split", "SynthReIDTiny", "--output", tmp_path / "x")
    for options, said in {
        ("--order", "left"): "--order has 'left'",
        ("--confidence", "1"): "--confidence is 1.0 and must be from 0 to below 1",
        ("--sequential", "0"): "--sequential is 0 and must be from 1 to 17",
        ("--poses", tmp_path / "x.json"): "is JSON: make a pose file of it with fastreid-ext pose import",
        ("--poses", tmp_path / "x.npz"): "there is no pose file",
        ("--sheet-images", "-1"): "--sheet-images is -1",
    }.items():
        status, _, err = call(*line, *options)
        assert status == 1 and said in err, (options, err)
    assert not (tmp_path / "x").exists()
