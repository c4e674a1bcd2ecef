"""DATASETS.VALIDATION: the same identities are left out of training and evaluated, whatever the run does."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.data.datasets.files import training_item
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.engine import loaders, training_subsets
from fastreid_ext.engine.checks.config import check_config
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.evaluator import RankListEvaluator

SHORT = {"SOLVER__MAX_EPOCH": 1, "SOLVER__STEPS": "[]", "SOLVER__WARMUP_EPOCHS": 0}
SPLIT = {"DATASETS__VALIDATION": 5, "SOLVER__IMS_PER_BATCH": 8}


@pytest.fixture
def cfg(synth_tiny):
    cfg = get_cfg()
    pairs = ["DATASETS.NAMES", ("SynthReIDTiny",), "DATASETS.VALIDATION", 5, "SOLVER.IMS_PER_BATCH", 8]
    cfg.merge_from_list([*pairs, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu", "INPUT.SIZE_TEST", [64, 32]])
    return cfg


def trained_items(cfg):
    return loaders.train_loader(cfg).dataset.img_items


def validation(cfg):
    loader, num_query = loaders.eval_loader(cfg, "Validation")
    return loader, num_query, {item[0] for item in loader.dataset.img_items}


def results(output: Path) -> dict:
    return json.loads((output / "results.json").read_text())["results"]


# ---- loaders --------------------------------------------------------------------------------------------------------


def test_every_identity_is_on_one_side(cfg):
    whole = {item[0]: item[1] for item in load_dataset("SynthReIDTiny", ("train",)).train}
    train = trained_items(cfg)
    loader, num_query, out = validation(cfg)
    assert {item[0] for item in train} | out == set(whole) and not {item[0] for item in train} & out
    assert not {item[1] for item in train} & {whole[path] for path in out}
    assert len({whole[path] for path in out}) == 5 and loaders.train_loader(cfg).dataset.num_classes == 12 - 5
    items = loader.dataset.img_items
    assert len({item[1:] for item in items[:num_query]}) == num_query == 21  # one of each person and camera
    numbers = {path: (pid, camid) for path, pid, camid in items}
    for path, (pid, _) in numbers.items():  # queries and gallery have the same numbers for the same person
        assert {whole[other] for other, (p, _) in numbers.items() if p == pid} == {whole[path]}


def test_who_knows_the_person_finds_everybody(cfg, tmp_path):
    cfg.TEST.RANK_LIST.ENABLED = False
    loader, num_query, _ = validation(cfg)
    evaluator = RankListEvaluator(cfg, num_query, "Validation", str(tmp_path), loader.dataset.groups)
    evaluator.reset()
    for batch in loader:
        evaluator.process(batch, torch.eye(5)[batch["targets"]])
    assert evaluator.evaluate()["mAP"] == 100
    groups = json.loads((tmp_path / "report_Validation.json").read_text())["groups"]
    assert groups[-1]["queries"] == num_query and groups[0]["group"] == "not occluded"


def test_several_training_sets(cfg):
    """Both have the same images: they are left out of both, and are in the test set once."""
    alone = validation(cfg)[2]
    cfg.DATASETS.NAMES = ("SynthReIDTiny", "SynthReIDOccludedTiny")
    loader, _, out = validation(cfg)
    assert out == alone and len(loader.dataset) == len(out)
    assert not {item[0] for item in trained_items(cfg)} & out
    assert len(trained_items(cfg)) == 2 * (72 - len(out))


def test_together_with_hold_out(cfg):
    """Identities first, then images of those that are left: the test set stays the same."""
    alone = validation(cfg)[2]
    cfg.DATASETS.HOLD_OUT = 2
    out = validation(cfg)[2]
    held = {item[0] for item in loaders.eval_loader(cfg, "HeldOut")[0].dataset.img_items}
    train = {item[0] for item in trained_items(cfg)}
    assert out == alone and held and len(train) + len(held) + len(out) == 72 and len(train | held | out) == 72


def test_every_process_has_the_same_and_one_says_it(cfg, monkeypatch):
    said = []
    monkeypatch.setattr(training_subsets, "log_once", lambda level, message: said.append(message))
    with monkeypatch.context() as patched:
        patched.setattr(training_subsets.comm, "is_main_process", lambda: False)
        items = trained_items(cfg)
    assert said == [] and trained_items(cfg) == items
    images = 72 - len(items)
    (sentence,) = said
    assert sentence == (
        f"5 identities with {images} images are left out of training for Validation: 21 queries and a gallery of"
        f" {images - 21}"
    )


def test_joints(cfg, tmp_path):
    """A pose file of the training set serves the test images too; a row that is missing is found."""
    cfg.INPUT.JOINTS.ENABLED = True
    assert "joints" not in next(iter(validation(cfg)[0]))
    cfg.INPUT.JOINTS.TEST = True
    paths = [item[0] for item in sorted(load_dataset("SynthReIDTiny", ("train",)).train)]
    names = ["/".join(Path(path).parts[-2:]) for path in paths]
    places = np.random.RandomState(0).rand(len(names), 17, 3) * [63, 127, 1]
    Poses(names, places, np.full((len(names), 2), [64, 128])).save(tmp_path / "poses.npz")
    cfg.INPUT.JOINTS.FILES = [str(tmp_path / "poses.npz")]
    loader, _, _ = validation(cfg)
    seen = 0
    for batch in loader:
        for path, joints in zip(batch["img_paths"], batch["joints"], strict=True):
            expected = (places[paths.index(path), :, :2] + 0.5) / [64, 128]
            np.testing.assert_allclose(joints[:, :2], expected, atol=1e-6)  # float32 of shares
            seen += 1
    assert seen == len(loader.dataset)
    gone = loader.dataset.img_items[0][0]
    kept = [place for place, path in enumerate(paths) if path != gone]
    Poses([names[i] for i in kept], places[kept], np.full((len(kept), 2), [64, 128])).save(tmp_path / "poses.npz")
    for use in (validation, trained_items):  # also before training, not after it
        with pytest.raises(PoseError, match="1 of .* images have no row of joints"):
            use(cfg)


def test_names_of_people_have_nothing_of_the_machine():
    """They decide who is left out; paths differ between machines."""
    assert training_item(Path("/some/where/1.jpg"), "Set", 7, 3)[1:] == ("Set_7", "Set_3")


# ---- a run ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_chooses_its_best_by_validation_and_goes_on_with_the_same_people(run_main, fails, tmp_path):
    tests = {"DATASETS__TESTS": "('Validation','SynthReIDTiny')"}
    output = run_main(**SHORT, **SPLIT, **tests)
    found = results(output)
    assert list(found) == ["Validation", "SynthReIDTiny"]
    best = torch.load(output / "model_best.pth", weights_only=False)
    assert best["metric"] == pytest.approx(found["Validation"]["metric"])
    assert best["model"]["heads.necks.global_.weight"].shape[0] == 7
    weights = {"MODEL__WEIGHTS": output / "model_final.pth"}
    alone = run_main("--eval-only", **SPLIT, **weights, DATASETS__TESTS="('Validation',)", OUTPUT_DIR=tmp_path / "one")
    assert results(alone) == {"Validation": found["Validation"]}
    behind = run_main("--eval-only", **SPLIT, **weights, OUTPUT_DIR=tmp_path / "behind")
    assert list(results(behind)) == ["SynthReIDTiny", "Validation"]
    assert results(behind)["Validation"] == found["Validation"]
    assert "DATASETS.VALIDATION was 5 and is 4" in fails("--resume", **SHORT, **SPLIT | {"DATASETS__VALIDATION": 4})
    longer = SHORT | {"SOLVER__MAX_EPOCH": 2}
    two = run_main("--resume", **longer, **SPLIT, **tests)
    assert results(run_main(OUTPUT_DIR=tmp_path / "whole", **longer, **SPLIT, **tests)) == results(two)


def test_without_the_key_nothing_changes(cfg):
    cfg.DATASETS.VALIDATION = 0
    assert len(trained_items(cfg)) == 72 and training_subsets.evaluated_sets(cfg) == tuple(cfg.DATASETS.TESTS)
    with pytest.raises(DataSetError, match="no data set is registered as 'Validation'"):
        validation(cfg)


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_what_is_left_must_fill_a_batch(fails):
    assert "the training set has 7 identities, but a batch of 32" in fails(
        DATASETS__VALIDATION=5, SOLVER__IMS_PER_BATCH=32
    )


def test_too_few_identities(fails):
    sentence = fails(DATASETS__VALIDATION=13)
    assert "DATASETS.VALIDATION is 13, but only 12 of 12 identities were seen by two cameras" in sentence
    assert "('SynthReIDTiny',)" in sentence and sentence.endswith("lower it, or set it to 0")
    assert "none of the 12 identities would be left to train on" in fails(DATASETS__VALIDATION=12)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        (
            "DATASETS.VALIDATION",
            -1,
            "DATASETS.VALIDATION is -1 and must be a whole number from 0 to 10000000 identities",
        ),
        ("DATASETS.TESTS", ("Validation",), "DATASETS.TESTS names Validation, .* set DATASETS.VALIDATION"),
        ("DATASETS.TESTS", ("HeldOut",), "DATASETS.TESTS names HeldOut, .* set DATASETS.HOLD_OUT"),
    ],
)
def test_wrong_settings(key, value, sentence):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", 16, "SOLVER.MAX_EPOCH", 1, key, value])
    with pytest.raises(ConfigError, match=sentence):
        check_config(cfg, world_size=1)
