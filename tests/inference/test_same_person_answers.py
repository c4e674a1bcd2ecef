"""Extractor.same_person: by what was measured for the model, wherever that is kept, and for no other features."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from fastreid_ext import Extractor
from fastreid_ext.errors import ConfigError, EvaluationError
from fastreid_ext.evaluation.calibration import Line
from fastreid_ext.evaluation.same_person import SamePerson, SamePersonError
from fastreid_ext.inference.fingerprints import feature_identity
from fastreid_ext.inference.same_person_file import NAME, find_same_person, read_same_person, write_same_person
from fastreid_ext.inference.verification import pairs_of_test_set
from fastreid_ext.inference.weights_file import save_weights_file

HELD_OUT = {name: {"brier": 0.1, "expected_calibration_error": 0.0, "log_loss": 0.3} for name in ("isotonic", "platt")}


@pytest.fixture
def same_person(trained):
    """Thresholds of the tiny model, that were never measured."""
    identity = feature_identity(*trained)
    hashes = {key: identity[key] for key in ("model_sha256", "config_sha256")}
    thresholds = {"balanced": 0.5, "fpr_1e-2": 0.8, "fpr_1e-3": 0.9, "fpr_1e-4": None}
    notes = {"fpr_1e-4": "its rate needs 10000 pairs of two people or more, and there are 2000"}
    return SamePerson("cosine", Line(8.0, -4.0, -9.0, 9.0), thresholds, {}, notes, 100, 2000, 9, HELD_OUT, **hashes)


@pytest.fixture
def folder(run_folder, same_person, tmp_path):
    """A run's folder with thresholds."""
    copy = shutil.copytree(run_folder, tmp_path / "run")
    write_same_person(copy / NAME, same_person)
    return copy


def expected(first, second):
    """cosine of each pair, and its probability by the line above."""
    cosine = [float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in zip(*map(np.float64, (first, second)), strict=True)]
    return [(one, 1 / (1 + np.exp(4 - 8 * one))) for one in cosine]


D = 64  # of the tiny model


def padded(*rows):
    """Short features as features of the tiny model, with the same products and distances."""
    return np.pad(np.array(rows, dtype=np.float32), ((0, 0), (0, D - len(rows[0]))))


@pytest.mark.parametrize("normalise", [True, False])
def test_answers(folder, files, normalise):
    extractor = Extractor(folder, device="cpu", normalise=normalise)
    features = extractor(files[:4])
    found = extractor.same_person(features[:2], features[2:])
    for one, (cosine, p) in zip(found, expected(features[:2], features[2:]), strict=True):
        assert (one.similarity, one.probability) == pytest.approx((cosine, p), abs=1e-6)
        assert one.verdict == ("same person" if cosine >= 0.5 else "different people")
    (alone,) = extractor.same_person(torch.from_numpy(features[0]), features[0], "fpr_1e-3")
    assert alone.verdict == "same person" and alone.similarity == pytest.approx(1)
    assert extractor.same_person(features[:0], features[:0]) == []


def test_people_of_a_gallery(folder):
    """At 0.9: cosines of the nearest are 1, 0.8 and 0.96."""
    extractor = Extractor(folder, device="cpu")
    gallery, queries = padded([0, 2], [1, 0]), padded([3, 0], [0.6, 0.8], [0.28, 0.96])
    found = extractor.identify(queries, gallery)
    assert [index for index, _ in found] == [1, 0, 0]
    assert [one.verdict for _, one in found] == ["same person", "unknown person", "same person"]
    assert [one.similarity for _, one in found] == pytest.approx([1, 0.8, 0.96])
    assert found[1][1].probability == pytest.approx(1 / (1 + np.exp(4 - 8 * 0.8)))
    with pytest.raises(EvaluationError, match="the gallery has no features"):
        extractor.identify(queries, gallery[:0])


def test_the_file_of_weights_has_them_in_it(trained, same_person, files, tmp_path):
    save_weights_file(tmp_path / "tiny.safetensors", *trained, same_person=same_person.to_dict())
    extractor = Extractor(tmp_path / "tiny.safetensors", device="cpu")
    features = extractor(files[:2])
    assert extractor.same_person(features[:1], features[1:]) == extractor.same_person(features[1:], features[:1])
    other = dataclasses.replace(same_person, model_sha256="0" * 64)
    for wrong, sentence in ((other.to_dict(), "are of other weights than its model"), ({"a": 1}, "says None of same")):
        save_weights_file(tmp_path / "other.safetensors", *trained, same_person=wrong)
        with pytest.raises(SamePersonError, match=sentence):
            Extractor(tmp_path / "other.safetensors", device="cpu").same_person(features[:1], features[1:])


@pytest.mark.parametrize(
    ("options", "sentence"), [({"flip": True}, "with flip="), ({"dim": 4}, "with dim=")]
)  # fmt: skip
def test_features_that_are_made_otherwise(folder, files, options, sentence, monkeypatch):
    extractor = Extractor(folder, device="cpu", **{key: value for key, value in options.items() if key != "dim"})
    extractor._dim = options.get("dim")
    with pytest.raises(SamePersonError, match=sentence):
        extractor.same_person(np.ones(3), np.ones(3))


def test_euclidean_distances_of_unit_features(folder, same_person, trained):
    keys = ["TEST.METRIC", "euclidean"]
    write_same_person(folder / NAME, dataclasses.replace(same_person, metric="euclidean"))
    (found,) = Extractor(folder, device="cpu", opts=keys, normalise=False).same_person(padded([3, 4]), padded([0, 0]))
    assert found.similarity == -5.0
    with pytest.raises(SamePersonError, match="normalise=True: make it with normalise=False"):
        Extractor(folder, device="cpu", opts=keys).same_person(padded([3, 4]), padded([0, 0]))


def test_nothing_measured(extractor, run_folder, weights_file):
    with pytest.raises(SamePersonError, match=f"there is no {run_folder}/same_person.json"):
        Extractor(run_folder, device="cpu").same_person(np.ones(3), np.ones(3))
    with pytest.raises(SamePersonError, match="measure it with fastreid-ext verify --calibrate"):
        extractor.same_person(np.ones(3), np.ones(3))
    with pytest.raises(SamePersonError, match="measure it with fastreid-ext verify --calibrate"):
        Extractor(weights_file, device="cpu").same_person(np.ones(3), np.ones(3))


def test_wrong_features(folder):
    extractor = Extractor(folder, device="cpu")
    with pytest.raises(SamePersonError, match="there must be as many features on both sides, and there are 2 and 3"):
        extractor.same_person(np.ones((2, D)), np.ones((3, D)))
    with pytest.raises(EvaluationError, match="first row 0"):
        extractor.same_person(padded([np.nan, 1]), padded([1, 1]))
    for threshold, sentence in (
        ("fpr_1e-4", "there is no threshold fpr_1e-4: its rate needs 10000"),
        ("strict", "must be bal"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            extractor.same_person(np.ones(D), np.ones(D), threshold)


def test_beside_the_weights(trained, same_person, folder, tmp_path):
    """find_same_person gives those of these very weights, and None for any others."""
    cfg, model = trained
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = str(folder / "model_best.pth")
    assert find_same_person(cfg, model) == same_person == read_same_person(folder / NAME)
    write_same_person(folder / NAME, dataclasses.replace(same_person, model_sha256="0" * 64))
    assert find_same_person(cfg, model) is None
    (folder / NAME).unlink()
    assert find_same_person(cfg, model) is None
    (folder / NAME).write_text(json.dumps({"format": "other"}))
    with pytest.raises(SamePersonError, match=NAME):
        find_same_person(cfg, model)


ROW = np.ones((1, D), np.float32)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("a", "is str and must be features"),
        (None, "is NoneType and must be features"),
        ([[1.0, 2.0], [1.0]], "is list and must be features"),
        (ROW.astype(object), "is an array of object"),
        (ROW > 0, "is an array of bool"),
        (torch.ones(1, D, dtype=torch.complex64), r"is a tensor \(torch.complex64"),
        (torch.ones(1, D).to_sparse(), r"is a tensor \(torch.float32, torch.sparse_coo"),
        (torch.ones(1, D, device="meta"), r"is a tensor \(torch.float32, torch.strided, meta\)"),
        (1.0, r"is \(\) and must be features \(N, 64\) of this model"),
        (ROW[None], r"is \(1, 1, 64\) and must be features \(N, 64\) of this model"),
        (ROW[:, :5], r"is \(1, 5\) and must be features \(N, 64\) of this model"),
        (np.ones((1, D + 1)), r"is \(1, 65\) and must be features \(N, 64\) of this model"),
        (np.ones((1, 0)), r"is \(1, 0\) and must be features \(N, 64\) of this model"),
    ],
)
def test_what_are_no_features(extractor, same_person, monkeypatch, wrong, sentence):
    monkeypatch.setitem(vars(extractor), "_same_person", same_person)
    for ask, names in ((extractor.same_person, ("first", "second")), (extractor.identify, ("queries", "gallery"))):
        for sides, name in zip(((wrong, ROW), (ROW, wrong), (wrong, wrong)), (*names, names[0]), strict=True):
            with pytest.raises(SamePersonError, match=f"^{name} {sentence}"):
                ask(*sides)


@pytest.mark.parametrize(
    "given",
    [
        np.ndarray.tolist,
        list,
        torch.from_numpy,
        lambda rows: torch.from_numpy(rows).bfloat16(),
        lambda rows: list(torch.from_numpy(rows)),
        lambda rows: rows[::-1].copy()[::-1],  # negative strides
        lambda rows: np.asfortranarray(rows).astype(">f4"),
        lambda rows: rows.astype(np.longdouble),
        lambda rows: rows.astype(np.int64),
    ],
)
def test_kinds_of_features(extractor, same_person, monkeypatch, given):
    monkeypatch.setitem(vars(extractor), "_same_person", same_person)
    rows = padded([3, 4], [0, 2], [5, 12])
    assert extractor.same_person(given(rows), rows[[1, 1, 1]]) == extractor.same_person(rows, rows[[1, 1, 1]])
    for one, two in zip(extractor.identify(given(rows), rows), extractor.identify(rows, given(rows)), strict=True):
        assert one[0] == two[0] and one[1].similarity == two[1].similarity == pytest.approx(1)
    assert [number for number, _ in extractor.identify(rows, given(rows[1:]))] == [1, 0, 1]


@pytest.mark.parametrize("nothing", [[], np.zeros((0, D)), torch.zeros(0, D)])
def test_no_features(extractor, same_person, monkeypatch, nothing):
    monkeypatch.setitem(vars(extractor), "_same_person", same_person)
    assert extractor.same_person(nothing, nothing) == extractor.identify(nothing, ROW) == []
    for queries in (ROW, nothing):
        with pytest.raises(EvaluationError, match="the gallery has no features"):
            extractor.identify(queries, nothing)
    with pytest.raises(ConfigError, match="must be balanced"):
        extractor.identify(nothing, ROW, "strict")


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e30])
def test_numbers_without_a_distance(extractor, same_person, monkeypatch, number):
    monkeypatch.setitem(vars(extractor), "_same_person", same_person)
    broken = np.concatenate([ROW, padded([number, 1])])
    for sides, name in (((broken, ROW), "query row 1"), ((ROW, broken), "gallery row 1")):
        with pytest.raises(EvaluationError, match=f"the feature of {name} has NaN"):
            extractor.identify(*sides)


def test_lengths_of_features_do_not_matter_to_the_cosine(extractor, same_person, monkeypatch):
    monkeypatch.setitem(vars(extractor), "_same_person", same_person)
    rows = padded([3, 4], [4, 3])
    ((index, found),) = extractor.identify(1e6 * rows[:1], 1e-6 * rows[::-1])
    assert index == 1 and found.similarity == pytest.approx(1)


def test_features_with_gradients(folder):
    (found,) = Extractor(folder, device="cpu").same_person(torch.ones(64, requires_grad=True), ROW)
    assert found.verdict == "same person"


@pytest.mark.parametrize("threshold", [None, [0.5], True])
def test_thresholds_of_other_types(folder, threshold):
    with pytest.raises(ConfigError, match="threshold is .* and must be balanced"):
        Extractor(folder, device="cpu").same_person(ROW, ROW, threshold)


def test_another_metric_than_those_of_features(trained, synth_tiny):
    """FastReID's jaccard ranks by neighbours, so no two features alone have it."""
    cfg = trained[0].clone()
    cfg.TEST.METRIC = "jaccard"
    with pytest.raises(ConfigError, match="TEST.METRIC is 'jaccard', and same people are measured for"):
        pairs_of_test_set(cfg, trained[1], "SynthReIDTiny")


def test_a_model_file_of_any_metric(trained, tmp_path):
    cfg = trained[0].clone()
    cfg.TEST.METRIC = "jaccard"
    save_weights_file(tmp_path / "a.safetensors", cfg, trained[1])
    assert Extractor(tmp_path / "a.safetensors").record.metric == "jaccard"
