"""``fastreid-ext verify`` by the similarity of test features: measured, kept beside the weights, and asked."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.evaluation.pair_set import similarities
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.inference.same_person_file import find_same_person, read_same_person
from fastreid_ext.inference.verification import pairs_of_test_set

CONFIG = "demo/baseline.yml"
OVERRIDES = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "50x",  # the default: the tiny one reads neither
    "MODEL.BACKBONE.WITH_IBN": False,
    "MODEL.BACKBONE.FEAT_DIM": 64,
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "DATASETS.NAMES": "('SynthReIDTiny',)",
    "DATASETS.TESTS": "('SynthReIDTiny',)",
    "DATALOADER.NUM_WORKERS": "0",
}
PAIRS = [str(item) for pair in OVERRIDES.items() for item in pair]


@pytest.fixture(scope="module")
def run(random_run):
    return random_run(CONFIG, PAIRS)


@pytest.fixture
def folder(run, tmp_path):
    """A copy of the run's folder, for a test's own same_person.json."""
    return shutil.copytree(run, tmp_path / "run")


@pytest.fixture
def call(folder, synth_tiny):
    """``call("A.jpg", "B.jpg", KEY="value")``: the exit status."""

    def run(*arguments, **overrides):
        pairs = {"MODEL__WEIGHTS": folder / "model.pth"} | overrides
        flat = [str(x) for key, value in pairs.items() for x in (key.replace("__", "."), value)]
        return main(["verify", "--config-file", CONFIG, *map(str, arguments), *PAIRS, *flat])

    return run


@pytest.fixture(scope="module")
def calibrated(run, synth_root, tmp_path_factory):
    """What --calibrate keeps of the eight test people."""
    path = tmp_path_factory.mktemp("calibrated") / "same_person.json"
    options = ["--calibrate", "--test-set", "SynthReIDTiny", "--same-person", str(path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(synth_root))
        assert main(["verify", "--config-file", CONFIG, *options, *PAIRS, "MODEL.WEIGHTS", str(run / "model.pth")]) == 0
    return path


@pytest.fixture
def measured(calibrated, folder):
    """The run's folder after --calibrate."""
    shutil.copy(calibrated, folder)
    return folder


@pytest.fixture
def config(config_of, folder):
    return lambda **overrides: config_of(CONFIG, PAIRS, MODEL__WEIGHTS=folder / "model.pth", **overrides)


@pytest.fixture
def files(synth_tiny, config):
    return [item[0] for item in eval_loader(config(), "SynthReIDTiny")[0].dataset.img_items][:5]


def similarity(cfg, first, second):
    """The cosine of two files' features, which the Extractor gives."""
    features = Extractor.of_model(cfg, load_trained(cfg).eval())([first, second])
    return float(features[0].astype(np.float64) @ features[1])


def printed(sentence):
    """(probability, similarity) of an answer."""
    found = re.fullmatch(r".*: probability (\S+) of the same person, threshold \S+ \(similarity (\S+)\)\n?", sentence)
    return float(found[1]), float(found[2])


# ---- measure --------------------------------------------------------------------------------------------------------


def test_calibrate(call, folder, config, capsys):
    assert call("--calibrate", DATASETS__VALIDATION=5) == 0
    printed = capsys.readouterr()
    assert printed.err == ""  # the run left these five people out
    cfg = config(DATASETS__VALIDATION=5)
    found, model = read_same_person(folder / "same_person.json"), load_trained(cfg).eval()
    curve = pairs_of_test_set(cfg, model, "Validation").curve()
    assert (found.positives, found.negatives, found.people) == (curve.positives, curve.negatives, 5)
    assert found.thresholds["balanced"] == curve.best_balanced() and found.measured_on == "Validation"
    assert f"5 people of Validation whom two cameras saw: {found.positives} pairs of one person" in printed.out
    assert f"| {found.calibration.name} (chosen) " in printed.out and f"are in {folder}/same_person.json" in printed.out
    assert "note: fpr_1e-4: its rate needs 10000 pairs of two people" in printed.out
    assert find_same_person(cfg, model) == found
    assert find_same_person(config(TEST__METRIC="euclidean"), model) is None


def test_people_that_were_seen(call, measured, capsys):
    """Warned as --report warns; the file remembers."""
    assert "SynthReIDTiny look better than they are" in read_same_person(measured / "same_person.json").warnings[0]
    assert call("--calibrate", DATASETS__VALIDATION=8) == 0
    assert "warning: 3 of the 8 identities of Validation were seen in training" in capsys.readouterr().err


def test_another_file_and_seed(call, folder, tmp_path):
    for seed in (0, 2):
        assert (
            call(
                "--calibrate", "--test-set=SynthReIDTiny", f"--seed={seed}", "--same-person", tmp_path / f"{seed}.json"
            )
            == 0
        )
    first, second = (read_same_person(tmp_path / f"{seed}.json") for seed in (0, 2))
    assert first.thresholds == second.thresholds and first.held_out != second.held_out and second.seed == 2
    assert not (folder / "same_person.json").exists()


def test_too_few_people(fails, folder):
    assert "3 people are in query and gallery by two different cameras" in fails("--calibrate", DATASETS__VALIDATION=3)
    assert not (folder / "same_person.json").exists()


# ---- ask ------------------------------------------------------------------------------------------------------------


def test_two_images(call, measured, config, files, capsys):
    found = read_same_person(measured / "same_person.json")
    alike = similarity(config(), *files[:2])
    p = float(found.probability(alike))
    for threshold, at in (
        ((), found.thresholds["balanced"]),
        (("--threshold", p - 1e-4), -1),
        (("--threshold", p + 1e-4), 1),
    ):
        assert call(*threshold, *files[:2]) == 0
        out = capsys.readouterr().out
        assert out.startswith("the same person: " if alike >= at else "different people: ")
        assert printed(out) == pytest.approx((p, alike), abs=1e-5)
    assert call("--prior", 0.001, "--threshold", "0.9", *files[:2]) == 0
    rare = float(found.with_prior(0.001).probability(alike))
    assert printed(capsys.readouterr().out) == pytest.approx((rare, alike), abs=1e-5) and rare < 0.9
    assert call(files[0], files[0]) == 0
    assert capsys.readouterr().out.startswith("the same person: ")


def test_a_list_of_pairs(call, measured, config, files, tmp_path, capsys):
    pairs = [(files[0], files[1]), (files[3], files[2]), (files[0], files[4])]
    (tmp_path / "pairs.csv").write_text("".join(f"{a}, {b}\n" for a, b in pairs))
    assert call("--pairs", tmp_path / "pairs.csv", "--output", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert (tmp_path / "out" / "pairs.csv").read_text() == text
    rows = list(csv.DictReader(text.splitlines()))
    found = read_same_person(measured / "same_person.json")
    for (first, second), row in zip(pairs, rows, strict=True):
        alike = similarity(config(), first, second)
        assert float(row["similarity"]) == pytest.approx(alike, abs=1e-5)
        assert float(row["probability"]) == pytest.approx(float(found.probability(alike)), abs=1e-3)
        assert row["same"] == str(int(alike >= found.thresholds["balanced"]))


def test_a_mirrored_feature(call, config, files, capsys):
    """TEST.FLIP is part of the feature, in the thresholds too."""
    keys = {"TEST__FLIP__ENABLED": True}
    assert call("--calibrate", "--test-set=SynthReIDTiny", **keys) == 0
    assert call(*files[:2], **keys) == 0
    alike = similarity(config(**keys), *files[:2])
    assert printed(capsys.readouterr().out.splitlines()[-1])[1] == pytest.approx(alike, abs=1e-5)
    assert abs(alike - similarity(config(), *files[:2])) > 1e-4


# ---- report ---------------------------------------------------------------------------------------------------------


def test_report(call, measured, config, tmp_path, capsys):
    """Rates of the stored thresholds, and how well the stored probabilities hold, on other people."""
    assert call("--calibrate", DATASETS__VALIDATION=5) == 0
    capsys.readouterr()
    assert call("--report", "--output", tmp_path / "out") == 0
    printed, found = capsys.readouterr(), read_same_person(measured / "same_person.json")
    record = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert printed.err == "" and record["warnings"] == [] and record["measured_on"] == "Validation"
    cfg = config()
    one, two = (
        np.concatenate(side)
        for side in zip(*pairs_of_test_set(cfg, load_trained(cfg).eval(), "SynthReIDTiny").scores(), strict=True)
    )
    assert record["pairs"] == {"one_person": len(one), "two_people": len(two)}
    known = {name: at for name, at in found.thresholds.items() if at is not None}
    assert record["thresholds"].keys() == known.keys()
    for name, at in known.items():
        row = record["thresholds"][name]
        assert (row["similarity"], row["probability"]) == (at, pytest.approx(float(found.probability(at))))
        assert row["true_positive_rate"] == np.mean(one >= at) and row["false_positive_rate"] == np.mean(two >= at)
    brier = (np.mean((1 - found.probability(one)) ** 2) + np.mean(found.probability(two) ** 2)) / 2
    assert record["calibration"]["brier"] == pytest.approx(brier)
    assert "| balanced " in printed.out and f"Brier score {brier:.4f}" in (tmp_path / "out" / "verify.md").read_text()
    with Image.open(tmp_path / "out" / "verify.png") as picture:
        assert picture.format == "PNG"


def test_report_without_a_measurement(call, tmp_path, capsys):
    """On the very pairs that the threshold is chosen on, which it says; or on people left out, measured on the spot."""
    assert call("--report", "--output", tmp_path / "out") == 0
    assert "warning: each threshold was chosen on the very pairs of SynthReIDTiny" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert list(record["thresholds"]) == ["best balanced accuracy"] and record["calibration"] is None
    assert call("--report", "--output", tmp_path / "out", DATASETS__VALIDATION=5) == 0
    record = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert "balanced" in record["thresholds"] and record["measured_on"] == "Validation"


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_nothing_measured(fails, files, folder):
    sentence = fails(*files[:2])
    assert f"there is no {folder}/same_person.json" in sentence
    assert f"fastreid-ext verify --calibrate --config-file {CONFIG} MODEL.DEVICE cpu" in sentence
    assert sentence.endswith("or --test-set with people of your own")


def test_other_weights(fails, files, measured, config, call, tmp_path, caplog):
    state = torch.load(measured / "model.pth")
    state["model"]["backbone.conv1.weight"] = state["model"]["backbone.conv1.weight"] + 0.1
    torch.save(state, measured / "other.pth")
    assert "is of other weights: measure again with" in fails(*files[:2], MODEL__WEIGHTS=measured / "other.pth")
    assert "is of another config" in fails(*files[:2], INPUT__SIZE_TEST="[48,32]")
    assert "is of another TEST.METRIC" in fails(*files[:2], TEST__METRIC="euclidean")
    assert call("--report", "--output", tmp_path / "new", MODEL__WEIGHTS=measured / "other.pth") == 0
    assert "is of other weights than this model: it is not used" in caplog.text


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"format": "x"}', "\0", "[" * 100_000])
def test_a_damaged_file(fails, files, measured, damage):
    (measured / "same_person.json").write_text(damage)
    assert f"{measured}/same_person.json" in fails(*files[:2])


def test_a_half_written_file(fails, files, measured):
    text = (measured / "same_person.json").read_text()
    (measured / "same_person.json").write_text(text[: len(text) // 2])
    assert "same_person.json is not a JSON file" in fails(*files[:2])


def test_options(fails, files, measured, tmp_path):
    assert "call one after the other" in fails("--calibrate", "--report")
    assert "--calibrate measures all thresholds" in fails("--calibrate", "--threshold", "0.5")
    assert "--calibrate measures all pairs of a test set" in fails("--calibrate", "--pairs", "x.csv")
    assert "--seed is of --calibrate" in fails("--seed", "1", *files[:2])
    assert "--seed is -1" in fails("--calibrate", "--seed=-1")
    assert "weighs both kinds of pairs the same" in fails("--calibrate", "--prior", "0.5")
    assert "--prior is 1.0 and must be" in fails("--prior", "1", *files[:2])
    assert "--prior is nan and must be" in fails("--prior", "nan", *files[:2])
    assert "remove --by head" in fails("--calibrate", "--by", "head")
    assert "was not taught to compare two images, as Res2NetMultiTask was" in fails("--by", "head", *files[:2])
    assert "there is no threshold fpr_1e-4: its rate needs 10000" in fails("--threshold", "fpr_1e-4", *files[:2])
    assert f"say what is compared: remove {files[0]}" in fails("--calibrate", *files[:2])


def test_features_of_a_pair_are_those_of_the_test_set(config, synth_tiny):
    """The similarity that is measured, and the one that is asked, are of the same numbers; batches round otherwise."""
    cfg = config()
    model = load_trained(cfg).eval()
    images = eval_loader(cfg, "SynthReIDTiny")[0].dataset
    queries, gallery = images.split([item[0] for item in images.img_items])
    pairs = pairs_of_test_set(cfg, model, "SynthReIDTiny")
    features = Extractor.of_model(cfg, model, normalise=False)([queries[0], gallery[3]], as_torch=True)
    asked = similarities(features[:1], features[1:], "cosine")
    assert asked == pytest.approx(pairs.score(slice(0, 1), slice(3, 4))[0], abs=1e-5)
