"""What a run evaluates: its test sets, the same with rectangles erased, the held-out images, and groups of them."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fastreid.utils import comm
from PIL import Image

from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.data.images import QueryGalleryImages
from fastreid_ext.engine import evaluation, loaders, training_subsets
from fastreid_ext.engine.checks.config import check_config
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.errors import ConfigError, EvaluationError
from fastreid_ext.evaluation.evaluator import RankListEvaluator

pytestmark = pytest.mark.slow  # whole runs

BOTH = "('SynthReIDTiny','SynthReIDOccludedTiny')"
SETS = ("SynthReIDTiny", "SynthReIDOccludedTiny", "HeldOut")
STRESS = {"TEST.OCCLUSION.ENABLED": True, "DATASETS.HOLD_OUT": 2, "DATASETS.TESTS": BOTH}
SHORT = {"SOLVER.MAX_EPOCH": 2, "SOLVER.STEPS": "[]", "TEST.EVAL_PERIOD": 0}
PICTURES = {"TEST.RANK_LIST.ENABLED": True, "TEST.RANK_LIST.QUERIES": 4, "TEST.RANK_LIST.TOPK": 5}
PLAIN = {"Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric"}
ADDED = {"erased/Rank-1", "erased/mAP", "drop/Rank-1", "drop/mAP"}


def keys(overrides):
    return {key.replace(".", "__"): value for key, value in overrides.items()}


def results(output: Path) -> dict:
    return json.loads((output / "results.json").read_text())["results"]


def groups(output: Path, name: str) -> dict:
    """Label -> row of a report."""
    record = json.loads((output / f"report_{name}.json").read_text())
    return {row["group"]: row for row in record["groups"]}


@pytest.fixture(scope="module")
def trained(command_line, tmp_path_factory):
    """(OUTPUT_DIR, what was printed) of two epochs with everything switched on."""
    output = tmp_path_factory.mktemp("evaluated") / "out"
    done = command_line.run(output, overrides=STRESS | SHORT | PICTURES)
    assert done.returncode == 0, done.stdout + done.stderr
    return output, done.stdout


@pytest.fixture
def evaluate(trained, run_main, tmp_path):
    """``evaluate("name", KEY=value)``: --eval-only of that run's weights; returns OUTPUT_DIR."""

    def run(name: str, **overrides: object) -> Path:
        overrides = {"MODEL__WEIGHTS": trained[0] / "model_final.pth"} | keys(STRESS) | overrides
        return run_main("--eval-only", OUTPUT_DIR=tmp_path / name, **overrides)

    return run


# ---- a run ----------------------------------------------------------------------------------------------------------


def test_results(trained):
    found = results(trained[0])
    assert tuple(found) == SETS
    for metrics in found.values():
        assert set(metrics) == PLAIN | ADDED and all(math.isfinite(value) for value in metrics.values())
        for name in ("Rank-1", "mAP"):
            assert metrics[f"drop/{name}"] == pytest.approx(metrics[name] - metrics[f"erased/{name}"])
        assert metrics["metric"] == pytest.approx((metrics["Rank-1"] + metrics["mAP"]) / 2)  # of the images as they are
        assert metrics["mAP"] != metrics["erased/mAP"]


def test_the_best_checkpoint_is_chosen_by_the_first_set_as_it_is(trained):
    best = torch.load(trained[0] / "model_best.pth", weights_only=False)
    assert best["metric"] == pytest.approx(results(trained[0])["SynthReIDTiny"]["metric"])


def test_what_is_logged(trained, plain):
    printed = plain(trained[1])
    assert "18 images of 9 training identities are held out; 3 identities keep all theirs" in printed
    table = printed.split("(TEST.OCCLUSION):\n")[1].splitlines()[:5]
    cells = {row[0]: row[1:] for row in ([c.strip() for c in line.strip("|").split("|")] for line in table)}
    for name, metrics in results(trained[0]).items():
        order = ("Rank-1", "erased/Rank-1", "drop/Rank-1", "mAP", "erased/mAP", "drop/mAP")
        assert cells[name] == [f"{metrics[key]:.2f}" for key in order]
    for name in SETS:
        assert printed.count(f"{name}, by groups of queries:") == 1
        assert printed.count(f"{name} erased, by groups of queries:") == 1
    record = json.loads((trained[0] / "metrics.json").read_text().splitlines()[-1])
    assert record["HeldOut/erased/mAP"] == results(trained[0])["HeldOut"]["erased/mAP"]


def test_reports(trained):
    output, found = trained[0], results(trained[0])
    for name in SETS:
        for erased, key in (("", ""), ("_erased", "erased/")):
            rows = groups(output, name + erased)
            assert (rows["all"]["Rank-1"], rows["all"]["mAP"]) == (
                found[name][f"{key}Rank-1"],
                found[name][f"{key}mAP"],
            )
    counts = {label: (row["identities"], row["queries"]) for label, row in groups(output, "HeldOut").items()}
    assert counts == {
        "head (14 to 6 training images)": (3, 6),
        "middle (4 to 3 training images)": (3, 6),
        "tail (2 training images)": (3, 6),
        "not occluded": (9, 15),
        "occlusion up to 0.25": (0, 0),
        "occlusion 0.25 to 0.35": (1, 1),
        "occlusion above 0.35": (2, 2),
        "all": (9, 18),
    }
    occluded = groups(output, "SynthReIDOccludedTiny")
    assert [row["queries"] for row in occluded.values()] == [0, 2, 9, 5, 16]
    assert occluded["not occluded"]["mAP"] is None
    assert [row["queries"] for row in groups(output, "SynthReIDTiny").values()] == [16, 0, 0, 0, 16]


def test_rank_lists_show_what_the_model_saw(trained):
    mean = np.round(get_cfg().MODEL.PIXEL_MEAN).astype(np.uint8)
    for name in SETS:
        pictures = [Image.open(trained[0] / f"rank_list_{name}{erased}.png") for erased in ("", "_erased")]
        clean, erased = (np.asarray(picture.convert("RGB")) for picture in pictures)
        assert clean.shape == erased.shape
        assert (erased == mean).all(2).sum() > (clean == mean).all(2).sum() + 1000


def test_evaluation_alone_repeats_all_numbers(trained, evaluate):
    output = evaluate("again")
    assert results(output) == results(trained[0])
    for name in ("HeldOut", "SynthReIDOccludedTiny_erased"):
        assert groups(output, name) == groups(trained[0], name)


def test_batch_size_and_workers_change_no_erased_image(trained, evaluate):
    output = evaluate("batches", TEST__IMS_PER_BATCH=7, DATALOADER__NUM_WORKERS=2)
    found = results(output)
    for name, metrics in results(trained[0]).items():  # another batch may round features differently in the last bit
        assert found[name] == pytest.approx(metrics, abs=1e-3)


def test_resume(trained, run_main, fails, tmp_path):
    """A run of one epoch, continued for another, ends with the numbers of one of two."""
    overrides = keys(STRESS | SHORT)
    run_main(**overrides | {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0})
    changed = {"DATASETS__HOLD_OUT": 3, "SOLVER__WARMUP_EPOCHS": 0}
    assert "DATASETS.HOLD_OUT was 2 and is 3" in fails("--resume", **overrides | changed)
    free = {"TEST__OCCLUSION__SEED": 5, "TEST__REPORT__ENABLED": False, "SOLVER__WARMUP_EPOCHS": 0}
    output = run_main("--resume", **overrides | free)
    found = results(output)
    whole = run_main(OUTPUT_DIR=tmp_path / "whole", **overrides | free)
    assert results(whole) == found


# ---- the modes ------------------------------------------------------------------------------------------------------


def test_probability_zero_is_the_set_as_it_is(trained, evaluate):
    for name, metrics in results(evaluate("zero", TEST__OCCLUSION__PROB=0.0)).items():
        for key in ("Rank-1", "mAP"):
            assert metrics[f"erased/{key}"] == metrics[key] == results(trained[0])[name][key]
            assert metrics[f"drop/{key}"] == 0.0


def test_settings_reach_the_images(trained, evaluate):
    base = results(trained[0])["SynthReIDTiny"]["erased/mAP"]
    for number, (key, value) in enumerate({"SEED": 1, "PROB": 1.0, "AREA": "[0.3,0.3]", "RATIO": 0.9}.items()):
        found = results(evaluate(str(number), DATASETS__HOLD_OUT=0, **{f"TEST__OCCLUSION__{key}": value}))
        assert found["SynthReIDTiny"]["erased/mAP"] != base, key


def test_the_model_gets_the_mean_pixel(evaluate, monkeypatch):
    """With probability 1 every erased image has a hole of MODEL.PIXEL_MEAN."""
    seen = []

    def look(model, loader, evaluator, flip_test):
        batches = list(loader)
        seen.extend(torch.cat([b["images"] for b in batches if b["erased"] is kind]) for kind in (False, True))
        return [{"Rank-1": 1.0, "mAP": 1.0, "metric": 1.0}] * 2

    monkeypatch.setattr(evaluation, "inference_on_dataset", look)
    evaluate("seen", TEST__OCCLUSION__PROB=1.0, DATASETS__HOLD_OUT=0, MODEL__PIXEL_MEAN="[1.5,2.5,3.5]")
    clean, erased = seen[:2]
    hole = (erased == torch.tensor([1.5, 2.5, 3.5])[:, None, None]).all(1)
    assert hole.flatten(1).any(1).all() and len(clean) == 104
    assert torch.equal(torch.where(hole[:, None], clean, erased), clean)


def test_off(evaluate):
    output = evaluate("off", TEST__OCCLUSION__ENABLED=False, DATASETS__HOLD_OUT=0, TEST__REPORT__ENABLED=False)
    assert {name: set(metrics) for name, metrics in results(output).items()} == dict.fromkeys(SETS[:2], PLAIN)
    assert not list(output.glob("report_*"))


def test_a_single_test_set(trained, evaluate):
    """FastReID returns the bare metrics then."""
    output = evaluate("single", DATASETS__TESTS="('SynthReIDTiny',)", DATASETS__HOLD_OUT=0)
    assert results(output) == {"SynthReIDTiny": results(trained[0])["SynthReIDTiny"]}


def test_edges_from_the_config(evaluate):
    output = evaluate("edges", TEST__REPORT__OCCLUSION_EDGES="[0.3]", DATASETS__HOLD_OUT=0)
    assert list(groups(output, "SynthReIDOccludedTiny")) == ["occlusion up to 0.3", "occlusion above 0.3", "all"]


def test_fastreids_baseline(run_main, tmp_path):
    base = Path(__file__).parents[2] / "configs" / "Baseline" / "Base-Baseline.yml"
    config = yaml.safe_load((Path(__file__).parent / "tiny.yml").read_text())
    del config["MODEL"]["DEEPMINER"]
    config["_BASE_"] = str(base)
    config["MODEL"]["BACKBONE"]["FEAT_DIM"] = 64
    (tmp_path / "baseline.yml").write_text(yaml.dump(config))
    overrides = keys(STRESS | SHORT) | {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0}
    output = run_main(config=tmp_path / "baseline.yml", **overrides)
    found = results(output)
    assert set(found) == set(SETS) and set(found["HeldOut"]) == PLAIN | ADDED
    again = run_main(
        "--eval-only",
        config=tmp_path / "baseline.yml",
        MODEL__WEIGHTS=output / "model_final.pth",
        **overrides | {"OUTPUT_DIR": tmp_path / "again"},
    )
    assert results(again) == found


# ---- held-out images ------------------------------------------------------------------------------------------------


@pytest.fixture
def cfg(synth_tiny):
    cfg = get_cfg()
    pairs = ["DATASETS.NAMES", ("SynthReIDTiny",), "DATASETS.HOLD_OUT", 2, "SOLVER.IMS_PER_BATCH", 16]
    cfg.merge_from_list([*pairs, "DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu", "INPUT.SIZE_TEST", [64, 32]])
    return cfg


def test_no_image_is_both_trained_on_and_held_out(cfg):
    train = {item[0] for item in loaders.train_loader(cfg).dataset.img_items}
    loader, num_query = loaders.eval_loader(cfg, loaders.HELD_OUT)
    items = loader.dataset.img_items
    held = {item[0] for item in items}
    assert isinstance(loader.dataset, QueryGalleryImages) and num_query == len(held) == 18
    assert len(items) == num_query and loader.dataset.gallery_again  # each is loaded once
    assert loader.dataset.split(items) == (items, items)
    whole = {item[0] for item in load_dataset("SynthReIDTiny", ("train",)).train}
    assert train | held == whole and not train & held


@pytest.mark.parametrize("told_by", ["person", "image"])
def test_held_out_images_are_found_by_each_other_and_not_by_themselves(cfg, told_by, tmp_path):
    """Who knows the person finds everybody; who only knows an image again does not, for it is left out."""
    cfg.TEST.RANK_LIST.ENABLED = False
    loader, num_query = loaders.eval_loader(cfg, loaders.HELD_OUT)
    features = {}
    for place, (path, pid, _) in enumerate(loader.dataset.img_items[:num_query]):
        known = torch.zeros(num_query)
        known[pid if told_by == "person" else place] = 1.0
        features[path] = known
    evaluator = RankListEvaluator(cfg, num_query, loaders.HELD_OUT, str(tmp_path), loader.dataset.groups, True)
    evaluator.reset()
    for batch in loader:
        evaluator.process(batch, torch.stack([features[path] for path in batch["img_paths"]]))
    found = evaluator.evaluate()
    if told_by == "person":
        assert found["Rank-1"] == found["mAP"] == 100
    else:  # all that is left is as far: the places follow from the order of the names
        assert found["Rank-1"] < 20 and found["mAP"] < 40


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["TEST.AQE.ENABLED", True],
        ["TEST.RERANK.ENABLED", True],
        ["TEST.ROC.ENABLED", True, "TEST.METRIC", "euclidean"],
    ],
)
def test_held_out_images_that_are_loaded_once_give_the_hosts_numbers(cfg, overrides, tmp_path):
    """FastReID's evaluator gets them twice, as queries and as gallery."""
    cfg.merge_from_list([*overrides, "TEST.RANK_LIST.ENABLED", False, "TEST.REPORT.ENABLED", False])
    found = []
    for name, times in (("streamed", 1), ("host", 2)):
        cfg.TEST.EVALUATOR = name
        loader, evaluator = Trainer.build_evaluator(cfg, loaders.HELD_OUT, str(tmp_path))
        evaluator.reset()
        seen = 0
        for batch in loader:
            seen += len(batch["images"])
            evaluator.process(batch, batch["images"][:, :, ::8, ::8].flatten(1) / 255)
        assert seen == times * 18
        found.append(evaluator.evaluate())
    assert 0 < found[0]["mAP"] < 100 and found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_broken_feature_of_a_held_out_image_is_named(cfg, tmp_path):
    loader, evaluator = Trainer.build_evaluator(cfg, loaders.HELD_OUT, str(tmp_path))
    evaluator.reset()
    for batch in loader:
        features = batch["images"][:, :, ::8, ::8].flatten(1)
        features[-1] = float("nan")
        evaluator.process(batch, features)
        last = batch["img_paths"][-1]
    with pytest.raises(EvaluationError, match=re.escape(last)):
        evaluator.evaluate()


def test_several_training_sets_share_their_images(cfg):
    cfg.DATASETS.NAMES = ("SynthReIDTiny", "SynthReIDOccludedTiny")
    train = [item[0] for item in loaders.train_loader(cfg).dataset.img_items]
    held = {item[0] for item in loaders.eval_loader(cfg, loaders.HELD_OUT)[0].dataset.img_items}
    assert len(train) == 2 * (72 - 18) and not held & set(train)


def test_batches_are_drawn_from_what_is_left(cfg, fails):
    assert len(loaders.train_loader(cfg).dataset) == 54
    sentence = fails(DATASETS__HOLD_OUT=2, SOLVER__IMS_PER_BATCH=56)
    assert "the training set has 54 images, fewer than the 56 of one batch" in sentence


def test_only_the_main_process_says_what_is_held_out(cfg, monkeypatch):
    said = []
    monkeypatch.setattr(training_subsets, "log_once", lambda level, message: said.append(message))
    with monkeypatch.context() as patched:
        patched.setattr(comm, "is_main_process", lambda: False)
        items = loaders.train_loader(cfg).dataset.img_items
    assert said == []
    assert loaders.train_loader(cfg).dataset.img_items == items  # the same on every rank
    assert len(said) == 1 and said[0].startswith("18 images of 9 training identities are held out; 3 identities keep")


def test_nothing_to_hold_out(fails):
    sentence = fails(DATASETS__HOLD_OUT=7)
    assert "no identity of ('SynthReIDTiny',) was seen by 7 cameras and has 9 images" in sentence


def test_held_out_needs_the_key(cfg):
    cfg.DATASETS.HOLD_OUT = 0
    with pytest.raises(DataSetError, match="no data set is registered as 'HeldOut'"):
        loaders.eval_loader(cfg, loaders.HELD_OUT)


# ---- mistakes -------------------------------------------------------------------------------------------------------

WRONG = {
    "probability": ("TEST.OCCLUSION.PROB", 1.5, "TEST.OCCLUSION.PROB is 1.5"),
    "one area": ("TEST.OCCLUSION.AREA", [0.1], "TEST.OCCLUSION.AREA is [0.1]"),
    "area zero": ("TEST.OCCLUSION.AREA", [0.0, 0.1], "TEST.OCCLUSION.AREA"),
    "area falls": ("TEST.OCCLUSION.AREA", [0.4, 0.1], "smallest and the largest"),
    "area above one": ("TEST.OCCLUSION.AREA", [0.4, 1.1], "TEST.OCCLUSION.AREA"),
    "area words": ("TEST.OCCLUSION.AREA", ["small", "large"], "TEST.OCCLUSION.AREA"),
    "ratio": ("TEST.OCCLUSION.RATIO", 0.0, "TEST.OCCLUSION.RATIO is 0.0"),
    "seed": ("TEST.OCCLUSION.SEED", -1, "TEST.OCCLUSION.SEED is -1"),
    "edges fall": ("TEST.REPORT.OCCLUSION_EDGES", [0.3, 0.1], "must be increasing"),
    "edges repeat": ("TEST.REPORT.OCCLUSION_EDGES", [0.3, 0.3], "must be increasing"),
    "edge of all": ("TEST.REPORT.OCCLUSION_EDGES", [0.3, 1.0], "to below 1"),
    "edge words": ("TEST.REPORT.OCCLUSION_EDGES", ["much"], "TEST.REPORT.OCCLUSION_EDGES is ['much']"),
    "one image": ("DATASETS.HOLD_OUT", 1, "DATASETS.HOLD_OUT is 1"),
    "fewer than none": ("DATASETS.HOLD_OUT", -2, "DATASETS.HOLD_OUT is -2"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_wrong_settings(mistake):
    key, value, part = WRONG[mistake]
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "SOLVER.IMS_PER_BATCH", 16, "SOLVER.MAX_EPOCH", 1, key, value])
    with pytest.raises(ConfigError) as error:
        check_config(cfg, world_size=1)
    assert part in str(error.value) and "\n" not in str(error.value)


def test_wrong_settings_on_the_command_line(fails):
    assert fails(DATASETS__HOLD_OUT=1).startswith(
        "fastreid-ext train: DATASETS.HOLD_OUT is 1 and must be 0, which holds nothing"
    )
    assert fails("--eval-only", TEST__OCCLUSION__PROB=2.0).startswith("fastreid-ext train: TEST.OCCLUSION.PROB is 2.0")
