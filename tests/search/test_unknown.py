"""``search --unknown``: queries that show nobody of the gallery."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch

from fastreid_ext.cli import main
from fastreid_ext.evaluation.calibration import Line
from fastreid_ext.evaluation.same_person import SamePerson
from fastreid_ext.inference.same_person_file import NAME, read_same_person, write_same_person
from fastreid_ext.search.nearest import Neighbours
from fastreid_ext.search.unknown import verdicts_on

HELD_OUT = {name: {"brier": 0.1, "expected_calibration_error": 0.0, "log_loss": 0.3} for name in ("isotonic", "platt")}
RATES = {
    "balanced": {"true_positive_rate": 0.9, "false_positive_rate": 0.1},
    "fpr_1e-3": {"true_positive_rate": 0.5, "false_positive_rate": 0.001},
}


def thresholds(metric="cosine", **changed):
    at = {"balanced": 0.6, "fpr_1e-2": None, "fpr_1e-3": 0.95, "fpr_1e-4": None}
    if metric == "euclidean":
        at = {"balanced": -2.0, "fpr_1e-2": None, "fpr_1e-3": -1.0, "fpr_1e-4": None}
    notes = {"fpr_1e-2": "too few"}
    hashes = {"model_sha256": "a" * 64, "config_sha256": "b" * 64}
    found = SamePerson(
        metric, Line(8.0, -4.0, -9.0, 9.0), at, RATES, notes, 100, 2000, 9, HELD_OUT, measured_on="Shop", **hashes
    )
    return dataclasses.replace(found, **changed)


def turned(*degrees):
    """(N, 2): features at some angles from the first axis, of several lengths."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.arange(1, len(degrees) + 1)[:, None]


@pytest.fixture
def stores(make_store, tmp_path):
    """Gallery of persons 1, 2, 3 at 0, 90 and 180 degrees, and queries of 1, 2, a stranger, and one without a label."""
    gallery = [("g1.jpg", "1", "0"), ("g2.jpg", "2", "0"), ("g3.jpg", "3", "0")]
    make_store(turned(0, 90, 180), rows=gallery, name="gallery")
    queries = [("q1.jpg", "1", "1"), ("q2.jpg", "2", "1"), ("q9.jpg", "9", "1"), ("q.jpg", "", "")]
    make_store(turned(10, 45, 230, 175), rows=queries, name="query")
    write_same_person(tmp_path / "gallery" / NAME, thresholds())
    return tmp_path


@pytest.fixture
def search(stores, capsys):
    """``search("--unknown")``: (lines, results.json, rows of results.csv)."""

    def run(*options, gallery="gallery"):
        command = ["search", "--gallery", stores / gallery, "--query", stores / "query", "--output", stores / "out"]
        assert main([str(x) for x in [*command, "--topk", "2", "--show", "0", *options]]) == 0
        record = json.loads((stores / "out" / "results.json").read_text())
        with open(stores / "out" / "results.csv", newline="") as file:
            return capsys.readouterr().out.splitlines(), record, list(csv.DictReader(file))

    return run


def test_verdicts(search):
    lines, record, rows = search("--unknown")
    # Nearest images by cosine: cos 10, cos 45, cos 50 and cos 5 degrees; the threshold is 0.95.
    cosines = np.cos(np.radians([10, 45, 50, 5]))
    verdicts = ["same person", "unknown person", "unknown person", "same person"]
    assert [one["verdict"] for one in record["results"]] == verdicts
    probabilities = 1 / (1 + np.exp(4 - 8 * cosines))
    assert [one["probability"] for one in record["results"]] == pytest.approx(probabilities.tolist(), abs=1e-6)
    assert [one["matches"][0]["probability"] for one in record["results"]] == pytest.approx(probabilities, abs=1e-6)
    for query, of_query in zip(record["results"], zip(rows[::2], rows[1::2], strict=True), strict=True):
        for match, row in zip(query["matches"], of_query, strict=True):
            same = 1 - match["distance"] >= 0.95
            assert match["verdict"] == row["verdict"] == ("same person" if same else "different people")
            assert float(row["probability"]) == match["probability"] and row["query_verdict"] == query["verdict"]
    assert record["unknown"] == {"threshold": "fpr_1e-3", "measured_on": "Shop", "queries": 2}
    assert "2 of 4 queries show an unknown person: no gallery image reaches the threshold fpr_1e-3" in lines
    # Of persons 1 and 2 one is found; the fourth query has no label.
    assert any(
        "1 of 1 queries of strangers are told to be unknown, and 1 of 2 of people in the" in line for line in lines
    )
    assert any("rate of 0.001, 0.3 % of strangers would be taken for somebody" in line for line in lines)


def test_thresholds(search):
    for threshold, count in (("balanced", 0), ("0.8", 1), ("0.9999", 4)):
        lines, record, _ = search("--unknown", "--threshold", threshold)
        assert record["unknown"]["queries"] == count
        assert any(f"{count} of 4 queries show" in line and line.endswith(f" {threshold}") for line in lines)


def test_without_it_nothing_changes(search):
    lines, record, rows = search()
    assert "unknown" not in record and not any("unknown" in line for line in lines)
    assert "verdict" not in record["results"][0] and "verdict" not in rows[0]


def test_images_of_the_own_camera_do_not_count(search, make_store, stores):
    """Nobody is left: an unknown person, without a probability."""
    make_store(turned(0), rows=[("g1.jpg", "1", "1")], name="one")
    make_store(turned(0), rows=[("q1.jpg", "1", "1")], name="query2")
    write_same_person(stores / "one" / NAME, thresholds())
    command = ["search", "--gallery", stores / "one", "--query", stores / "query2", "--output", stores / "out2"]
    options = ["--topk", "1", "--show", "0", "--unknown", "--drop-same-camera"]
    assert main([str(x) for x in [*command, *options]]) == 0
    (one,) = json.loads((stores / "out2" / "results.json").read_text())["results"]
    assert (one["verdict"], one["probability"], one["matches"]) == ("unknown person", None, [])


def test_euclidean_distances():
    """A search has squares; the similarity is minus the distance."""
    found = Neighbours(np.array([[0, 1], [0, -1]]), np.array([[1.0, 4.0], [1.21, np.inf]]))
    verdicts = verdicts_on(found, thresholds("euclidean"), "fpr_1e-3")
    assert verdicts.same.tolist() == [[True, False], [False, False]] and verdicts.unknown.tolist() == [False, True]
    assert np.isnan(verdicts.probability[1, 1])
    expected = [1 / (1 + np.exp(4 + 8 * distance)) for distance in (1, 2, 1.1)]
    assert verdicts.probability[~np.isnan(verdicts.probability)] == pytest.approx(
        np.maximum(expected, 1 / (1 + np.e**9))
    )


@pytest.fixture
def fails(stores, sentence_of):
    def run(*options):
        command = ["search", "--gallery", stores / "gallery", "--query", stores / "query", "--output", stores / "no"]
        sentence = sentence_of(main([str(x) for x in [*command, "--topk", "2", *options]]))
        assert not (stores / "no").exists()
        return sentence

    return run


def test_mistakes(fails, stores):
    assert "--threshold tells who is not in the gallery: add --unknown" in fails("--threshold", "balanced")
    assert "--same-person tells who is not in the gallery" in fails("--same-person", "x.json")
    assert "--threshold is strict and must be balanced" in fails("--unknown", "--threshold", "strict")
    assert "there is no threshold fpr_1e-2: too few; use balanced or fpr_1e-3 or" in fails(
        "--unknown", "--threshold", "fpr_1e-2"
    )
    assert f"there is no {stores}/x.json" in fails("--unknown", "--same-person", stores / "x.json")
    write_same_person(stores / "other.json", thresholds(model_sha256="c" * 64))
    assert "other.json is of other weights: measure again" in fails("--unknown", "--same-person", stores / "other.json")
    write_same_person(stores / "other.json", thresholds("euclidean"))
    assert "is of another TEST.METRIC" in fails("--unknown", "--same-person", stores / "other.json")
    (stores / "gallery" / NAME).write_text("{")
    assert f"gallery/{NAME} is not a JSON file" in fails("--unknown")
    (stores / "gallery" / NAME).unlink()
    assert f"there is no {stores}/gallery/{NAME}" in fails("--unknown")


def test_extract_keeps_them_with_the_features(model_arguments, weights, synth_tiny, tmp_path, capsys):
    """And search finds them there, or beside the weights of queries that are images."""
    (tmp_path / "run").mkdir()
    torch.save(torch.load(weights(0)), tmp_path / "run" / "model.pth")
    config, pairs = model_arguments(MODEL__WEIGHTS=tmp_path / "run" / "model.pth")
    calibrate = [
        "verify",
        "--calibrate",
        "--test-set",
        "SynthReIDTiny",
        *config,
        *pairs,
        "DATASETS.NAMES",
        "('SynthReIDTiny',)",
    ]
    assert main(calibrate) == 0
    data = ["--dataset", "SynthReIDTiny", "--split", "query"]
    extract = ["extract", *config, "--output", str(tmp_path / "store"), *data]
    assert main([*extract, *pairs]) == 0
    kept, beside = tmp_path / "store" / NAME, tmp_path / "run" / NAME
    assert read_same_person(kept) == read_same_person(beside)
    before = kept.read_bytes()
    write_same_person(beside, dataclasses.replace(read_same_person(beside), measured_on="Elsewhere"))
    assert main([*extract, "--half", *pairs]) == 1  # it is a store of other features, and stays as it is
    assert kept.read_bytes() == before
    assert main([*extract, *pairs]) == 0 and read_same_person(kept) == read_same_person(beside)
    image = next(synth_tiny.rglob("query/*.jpg"))
    command = [
        "search",
        "--gallery",
        str(tmp_path / "store"),
        *config,
        "--image",
        str(image),
        "--unknown",
        "--show",
        "0",
    ]
    command += ["--threshold", "balanced", "--output", str(tmp_path / "out"), *pairs]
    for _ in range(2):
        assert main(command) == 0
        assert "0 of 1 queries show an unknown person" in capsys.readouterr().out  # the image itself is in the gallery
        kept.unlink(missing_ok=True)  # beside the weights there is still the other
