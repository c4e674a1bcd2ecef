"""``fastreid-ext test-weights``: lambda^F of eq. 6 searched on the validation identities, on an untrained MGRe."""

import json
import shlex

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from fastreid.utils.compute_dist import build_dist
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.trained import warnings_of
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.engine.weight_search import extract_parts
from fastreid_ext.model_zoo import get_config

pytestmark = pytest.mark.slow  # whole runs

OVERRIDES = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "50x",  # the default: the tiny one reads none
    "MODEL.BACKBONE.WITH_IBN": "False",
    "MODEL.HEADS.EMBEDDING_DIM": "16",
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "DATASETS.NAMES": "('SynthReIDTiny',)",
    "DATASETS.TESTS": "('SynthReIDTiny',)",
    "DATALOADER.NUM_WORKERS": "0",
    "TEST.RANK_LIST.ENABLED": "False",
}
PAIRS = [item for pair in OVERRIDES.items() for item in pair]


def config(**overrides):
    cfg = get_config("demo/mgre.yml")
    pairs = {key.replace("__", "."): value for key, value in overrides.items()}
    cfg.merge_from_list([*PAIRS, *(str(item) for pair in pairs.items() for item in pair)])
    return cfg


@pytest.fixture(scope="module")
def trained(random_run):
    return random_run("demo/mgre.yml", PAIRS)


@pytest.fixture
def call(trained, synth_tiny, tmp_path):
    """``call("--rounds", "2", KEY="value")``: the exit status; KEY=None leaves a default of this test out."""

    def run(*options, name="demo/mgre.yml", **overrides):
        pairs = {"MODEL__WEIGHTS": trained / "model.pth", "DATASETS__VALIDATION": 5} | overrides
        flat = [str(x) for key, value in pairs.items() for x in (key.replace("__", "."), value)]
        return main(["test-weights", "--config-file", name, "--output", str(tmp_path / "out"), *options, *PAIRS, *flat])

    return run


def evaluated(trained, weights, name="Validation", **overrides):
    """The metrics of a run's own evaluation with some weights."""
    pairs = {"DATASETS__VALIDATION": 5, "MODEL__HEADS__NUM_CLASSES": 7, "TEST__REPORT__ENABLED": False} | overrides
    cfg = config(DATASETS__TESTS=(name,), MODEL__MGRE__TEST_WEIGHTS=weights, **pairs)
    model = build_model(cfg)
    model.load_state_dict(torch.load(trained / "model.pth")["model"])
    return Trainer.test(cfg, model.eval())


def test_end_to_end(call, trained, tmp_path, capsys):
    assert call("--grid", "0.2", "1.0", "0.2") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    record = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert record["start"]["weights"] == {"stage1": 0.35, "stage2": 0.5, "stage3": 0.7, "stage4": 0.8}
    assert record["converged"] and record["warnings"] == [] and record["test_set"] == "Validation"
    assert record["best"]["mAP"] > record["start"]["mAP"]  # the start is the paper's, the weights are random

    # the line to paste gives the number that was promised, and the start that of the weights before
    line = printed.out.splitlines()[-1].strip()
    assert line == record["option"] and f"`{line}`" in (tmp_path / "out" / "weights.md").read_text()
    key, value = shlex.split(line)
    assert key == "MODEL.MGRE.TEST_WEIGHTS" and json.loads(value) == list(record["best"]["weights"].values())
    for weights, found in ((value, record["best"]), ("[0.35, 0.5, 0.7, 0.8]", record["start"])):
        assert evaluated(trained, weights)["mAP"] == pytest.approx(found["mAP"], abs=1e-6)  # percent
    one_changed = json.loads(value)[:1] + [0.6] + json.loads(value)[2:]
    point = dict(record["curves"]["stage2"])[0.6]
    assert evaluated(trained, one_changed)["mAP"] == pytest.approx(point, abs=1e-6)
    with Image.open(tmp_path / "out" / "weights.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(("test_set", "flip"), [("Validation", False), ("Validation", True), ("HeldOut", False)])
def test_distances_are_those_of_the_models_own_feature(trained, synth_tiny, test_set, flip):
    """Within 1e-5, for other weights than the model was asked with; with TEST.FLIP parts are shorter than 1."""
    pairs = {"TEST__FLIP__ENABLED": flip, "TEST__METRIC": "euclidean" if flip else "cosine"}
    cfg = config(MODEL__HEADS__NUM_CLASSES=7, DATASETS__VALIDATION=5, DATASETS__HOLD_OUT=2, **pairs)
    model = build_model(cfg)
    model.load_state_dict(torch.load(trained / "model.pth")["model"])
    parts, pids, camids = extract_parts(cfg, model.eval(), test_set)
    weights = {"stage1": 0.9, "stage2": 0.1, "stage3": 0.45, "stage4": 0.6}
    model.eval().test_weights = weights
    cfg.TEST.EVALUATOR = "host"  # whose loader gives the queries and then the gallery, whatever they have in common
    loader, count = eval_loader(cfg, test_set)
    features, seen = [], []
    for batch in loader:
        with torch.no_grad():
            both = [model(batch), model({"images": batch["images"].flip(dims=[3])})]
        features.append((both[0] + both[1]) / 2 if flip else both[0])
        seen.append(torch.stack([batch["targets"], batch["camids"]]))
    features, seen = torch.cat(features), torch.cat(seen, dim=1).numpy()
    assert parts.metric == cfg.TEST.METRIC
    for parts.metric in ("cosine", "euclidean"):
        distances = parts.distances(weights)
        expected = build_dist(features[:count], features[count:], parts.metric)
        np.testing.assert_allclose(distances, expected, rtol=0, atol=1e-5)
        assert np.ptp(distances) > 1e-2  # the images differ by far more than that
    for found, expected in zip((pids, camids), seen, strict=True):
        assert np.array_equal(found[0], expected[:count]) and np.array_equal(found[1], expected[count:])


def test_stages_that_are_not_used(call, trained, tmp_path, synth_tiny):
    """Table 4's smaller models: what they lack has no weight to search, and 1 in the line to paste."""
    cfg = config(MODEL__HEADS__NUM_CLASSES=7, MODEL__MGRE__STAGES=[3])
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "small.pth")
    assert call("--grid", "0.5", "1", "0.5", MODEL__MGRE__STAGES=[3], MODEL__WEIGHTS=tmp_path / "small.pth") == 0
    record = json.loads((tmp_path / "out" / "weights.json").read_text())
    assert list(record["best"]["weights"]) == ["stage3", "stage4"]
    value = json.loads(shlex.split(record["option"])[1])
    assert value == [1.0, 1.0, *record["best"]["weights"].values()]
    assert len(build_model(config(MODEL__MGRE__STAGES=[3], MODEL__MGRE__TEST_WEIGHTS=value)).test_weights) == 2


# ---- what the weights are worth -------------------------------------------------------------------------------------


def test_identities_that_were_trained_on(call, trained, tmp_path, capsys):
    quick = ("--grid", "0.5", "1", "0.5", "--rounds", "1")

    def warned(**overrides):
        assert call(*quick, **overrides) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if "--rounds" not in line]
        record = json.loads((tmp_path / "out" / "weights.json").read_text())
        assert all(line.startswith("warning: ") for line in said)
        assert [f"warning: {s}" for s in record["warnings"] if "--rounds" not in s] == said
        return said

    def judged(weights, count=5):
        return warnings_of(config(MODEL__WEIGHTS=weights, DATASETS__VALIDATION=count), "Validation")

    weights = trained / "model.pth"
    assert judged(weights) == judged(weights, 3) == []  # a smaller number is part of a larger one
    (sentence,) = warned(DATASETS__VALIDATION=8)
    assert "3 of the 8 identities of Validation were seen in training" in sentence
    assert "DATASETS.VALIDATION 5)" in sentence and "train with DATASETS.VALIDATION 8" in sentence

    weights = tmp_path / "elsewhere" / "model.pth"
    weights.parent.mkdir()
    (sentence,) = judged(weights)
    assert "can't be checked by" in sentence and sentence.endswith("config.yaml: there is none")
    for text in (
        "DATASETS: {NAMES: [SynthReIDOccludedTiny], COMBINEALL: false}",
        "DATASETS: {NAMES: [Nowhere], COMBINEALL: false}",
        "DATASETS: {NAMES: [[1]], COMBINEALL: false}",
        "DATASETS: {NAMES: [SynthReIDTiny], COMBINEALL: 1}",
        "DATASETS: {NAMES: [SynthReIDTiny], COMBINEALL: false, VALIDATION: x}",
        "[]",
    ):
        (weights.parent / "config.yaml").write_text(text)
        (sentence,) = judged(weights)
        # under another name, before the key was there: they are the same people
        assert ("5 of the 5" in sentence) == ("Occluded" in text) == ("can't be checked" not in sentence)


def test_a_bug_is_not_taken_for_a_config_that_cannot_be_read(trained, monkeypatch):
    monkeypatch.setattr("fastreid_ext.engine.trained._trained_with", lambda cfg, path: [].index(cfg))
    with pytest.raises(ValueError, match="is not in list"):
        warnings_of(config(MODEL__WEIGHTS=trained / "model.pth", DATASETS__VALIDATION=5), "Validation")


def test_another_test_set(call, trained, tmp_path, capsys):
    assert call("--test-set", "SynthReIDTiny", "--grid", "0.5", "1", "0.5", DATASETS__VALIDATION=0) == 0
    assert "warning: weights that are chosen on SynthReIDTiny make results" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "weights.json").read_text())
    expected = evaluated(trained, "[0.35, 0.5, 0.7, 0.8]", "SynthReIDTiny", DATASETS__VALIDATION=0)
    assert record["start"]["mAP"] == pytest.approx(expected["mAP"], abs=1e-6)


def test_a_round_too_few(call, capsys, tmp_path):
    assert call("--grid", "0.2", "1", "0.2", "--rounds", "1") == 0
    sentence = "a weight still changed in the last of 1 rounds: raise --rounds"
    assert f"warning: {sentence}" in capsys.readouterr().err
    assert sentence in (tmp_path / "out" / "weights.md").read_text()


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_mistakes(fails, tmp_path, synth_tiny):
    assert "a grid needs 0 < FIRST <= LAST" in fails("--grid", "0", "1", "0.1")
    assert "--rounds is 0" in fails("--rounds", "0")
    assert "add DATASETS.VALIDATION, such as 100" in fails(DATASETS__VALIDATION=0)
    assert "add DATASETS.HOLD_OUT, such as 2" in fails("--test-set", "HeldOut")
    assert "no data set is registered as 'Nowhere'" in fails("--test-set", "Nowhere")
    assert "only 12 of 12 identities were seen by two cameras" in fails(DATASETS__VALIDATION=13)
    for key in ("AQE", "RERANK"):
        assert f"set TEST.{key}.ENABLED False" in fails(**{f"TEST__{key}__ENABLED": True})
    assert "TEST.METRIC is 'jaccard'" in fails(TEST__METRIC="jaccard")
    assert "there is no checkpoint nowhere.pth" in fails(MODEL__WEIGHTS="nowhere.pth")
    assert "weights are missing: add MODEL.WEIGHTS" in fails(MODEL__WEIGHTS="")
    assert "did you mean" in fails(DATASETS__VALIDATON=5)
    assert "there is no config file nowhere.yml" in fails(name="nowhere.yml")


def test_models_without_parts(fails, tmp_path, trained):
    baseline = {"MODEL__BACKBONE__FEAT_DIM": 64}
    for name, overrides, sentence in (
        (
            "demo/baseline.yml",
            baseline,
            "the test feature of Baseline has no weighted parts to search; those that have",
        ),
        ("demo/mgre.yml", {"MODEL__MGRE__STAGES": []}, "the test feature of this MGRe is stage4 alone"),
    ):
        cfg = get_config(name)
        pairs = {key.replace("__", "."): value for key, value in overrides.items()}
        cfg.merge_from_list([*PAIRS, "MODEL.HEADS.NUM_CLASSES", 7, *(x for pair in pairs.items() for x in pair)])
        torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "other.pth")
        overrides = overrides | ({"INPUT__JOINTS__ENABLED": False} if overrides is baseline else {})
        assert sentence in fails(name=name, MODEL__WEIGHTS=tmp_path / "other.pth", **overrides)
