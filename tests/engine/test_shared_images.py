"""A query that is in its own gallery, and test persons that are trained on: found, left out or refused, and counted."""

import logging
import os
import shutil

import numpy as np
import pytest
import torch
from data_set_trees import BODY_TREES, MARKET, write_all_different
from PIL import Image

from fastreid_ext.config import get_cfg
from fastreid_ext.data.datasets.files import log_once
from fastreid_ext.data.datasets.market1501 import Market1501
from fastreid_ext.engine import loaders
from fastreid_ext.engine.checks import shared_images
from fastreid_ext.engine.checks.config import mistakes
from fastreid_ext.engine.checks.shared_images import warn_of_images_again, warn_of_known_persons
from fastreid_ext.engine.evaluation import build_evaluator
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.verification import curve_of
from fastreid_ext.errors import ConfigError

ROWS = [("1", 0), ("1", 1), ("2", 0), ("2", 1), ("3", 0), ("3", 1)]  # of the images 0.png, 1.png, ...
QUERY = "0.png,1,0\n2.png,2,0\n4.png,3,0\n"
OTHERS = "1.png,1,1\n3.png,2,1\n5.png,3,1\n"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    rng = np.random.default_rng(0)
    (tmp_path / "CSVDataset").mkdir()
    for number in range(len(ROWS)):
        pixels = rng.integers(0, 256, (8, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"CSVDataset/{number}.png")
    return tmp_path / "CSVDataset"


@pytest.fixture
def write(root):
    def make(**splits):
        for split, text in splits.items():
            (root / f"{split}.csv").write_text("path,person,camera\n" + text)

    return make


@pytest.fixture
def logged(caplog):
    log_once.cache_clear()
    logging.getLogger("fastreid_ext").propagate = True
    yield caplog
    log_once.cache_clear()


def config(**keys):
    cfg = get_cfg()
    pairs = {
        "MODEL.DEVICE": "cpu",
        "INPUT.SIZE_TEST": [8, 4],
        "DATALOADER.NUM_WORKERS": 0,
        "TEST.RANK_LIST.ENABLED": False,
        "DATASETS.NAMES": ("CSVDataset",),
    } | {key.replace("__", "."): value for key, value in keys.items()}
    cfg.merge_from_list([item for pair in pairs.items() for item in pair])
    return cfg


def evaluated(folder, **keys):
    """The metrics of features that are the pixels, so that an image is nearest to itself."""
    cfg = config(**keys)
    loader, count = eval_loader(cfg, "CSVDataset")
    evaluator = build_evaluator(cfg, "CSVDataset", loader.dataset, count, str(folder))
    evaluator.reset()
    for batch in loader:
        evaluator.process(batch, batch["images"].float().flatten(1) - 127.5)
    return evaluator.evaluate()


COPIES = {
    "by path": lambda root, name: f"{root}/{name}",
    "by a path through another folder": lambda root, name: f"../CSVDataset/./{name}",
    "by a hard link": lambda root, name: linked(os.link, root, name),
    "by a symbolic link": lambda root, name: linked(os.symlink, root, name),
    "by content": lambda root, name: linked(shutil.copy, root, name),
}


def linked(how, root, name):
    how(root / name, root / f"copy_{name}")
    return f"copy_{name}"


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("camera", [1, 7])
def test_a_query_in_its_own_gallery(way, camera, write, root, logged, tmp_path):
    """The numbers are those of the gallery without it; today's were a Rank-1 of 100."""
    write(query=QUERY, gallery=OTHERS)
    wanted = evaluated(tmp_path)
    assert wanted["Rank-1"] < 100 and "in its gallery" not in logged.text
    copies = [COPIES[way](root, f"{number}.png") for number in (0, 2, 4)]
    itself = "".join(f"{copy},{person},{camera}\n" for copy, person in zip(copies, "123", strict=True))
    # Of every copy two are other persons' queries, so that each gallery has them as strangers.
    write(gallery=OTHERS + itself)
    kept = evaluated(tmp_path, TEST__SAME_IMAGE="keep")
    assert kept["Rank-1"] == 100
    found = evaluated(tmp_path)
    assert found["Rank-1"] < 100 and found["mAP"] < kept["mAP"]
    by_content = 3 if way == "by content" else 0
    assert "3 of the 3 queries of CSVDataset are in its gallery themselves" in logged.text
    assert f"({3 - by_content} by path or link, {by_content} by content" in logged.text
    assert "each is left out of its own ranking, 3 pairs in all (TEST.SAME_IMAGE auto)" in logged.text
    with pytest.raises(ConfigError, match="3 of the 3 queries .*: remove them from the gallery, or"):
        evaluated(tmp_path, TEST__SAME_IMAGE="refuse")
    with pytest.raises(ConfigError, match="FastReID's evaluator can't leave them out"):
        evaluated(tmp_path, TEST__EVALUATOR="host")


def test_as_another_person(write, logged, tmp_path):
    """The own file under a wrong name would be the nearest stranger."""
    write(query="0.png,1,0\n", gallery="1.png,1,1\n")
    assert evaluated(tmp_path)["Rank-1"] == 100
    write(gallery="1.png,1,1\n0.png,9,0\n")
    assert evaluated(tmp_path, TEST__SAME_IMAGE="keep")["Rank-1"] == 0
    assert evaluated(tmp_path)["Rank-1"] == 100
    assert "1 of them as another person" in logged.text


def test_the_same_camera_is_junk_anyway(write, logged, tmp_path):
    write(query=QUERY, gallery=QUERY + OTHERS)
    kept, found = (evaluated(tmp_path, TEST__SAME_IMAGE=way) for way in ("keep", "refuse"))
    assert kept == found and "in its gallery" not in logged.text


def test_queries_that_have_no_other_match(write, logged, tmp_path):
    write(query=QUERY, gallery="0.png,1,1\n3.png,2,1\n")
    evaluated(tmp_path)
    assert "; 1 queries have no other match and are not scored" in logged.text
    write(gallery="0.png,1,1\n2.png,2,1\n")
    with pytest.raises(ConfigError, match="without them no query has a match"):
        evaluated(tmp_path)


def test_public_sets_are_ranked_as_papers_do(write, logged, tmp_path, monkeypatch, root):
    """With as many images as were published, one's own under that name is not one of them."""
    write(query=QUERY, gallery=OTHERS + "0.png,1,1\n" + f"{linked(shutil.copy, root, '2.png')},2,1\n")
    kept = evaluated(tmp_path, TEST__SAME_IMAGE="keep")
    monkeypatch.setattr("fastreid_ext.engine.loaders.is_public", lambda *args: True)
    logged.clear()
    log_once.cache_clear()
    assert evaluated(tmp_path) == kept
    assert "1 of the 3 queries" in logged.text and "(1 by path or link, 0 by content" in logged.text
    assert "are ranked (TEST.SAME_IMAGE auto)" in logged.text
    assert evaluated(tmp_path, TEST__SAME_IMAGE="exclude") != kept


def test_exclude_and_fastreids_evaluator(write):
    said = "leaves no image out: set TEST.SAME_IMAGE refuse or keep"
    host = {"TEST__EVALUATOR": "host", "TEST__REPORT__ENABLED": True}
    assert any(said in sentence for sentence in mistakes(config(TEST__SAME_IMAGE="exclude", **host), 1))
    assert not any(said in sentence for sentence in mistakes(config(**host), 1))


def test_all_processes_leave_out_what_the_main_one_found(write, monkeypatch):
    write(query=QUERY, gallery=OTHERS + "0.png,1,1\n")
    main, _ = eval_loader(config(), "CSVDataset")
    monkeypatch.setattr(shared_images.comm, "is_main_process", lambda: False)
    monkeypatch.setattr(shared_images, "same_images", lambda *args: pytest.fail("it looks itself"))
    found = main.dataset.left_out
    sent = shared_images.SamePairs(*found, np.zeros(1, dtype=bool))
    monkeypatch.setattr(shared_images.comm, "all_gather", lambda own: [sent, own])
    other, _ = eval_loader(config(), "CSVDataset")
    assert all(np.array_equal(a, b) for a, b in zip(found, other.dataset.left_out, strict=True)) and len(found[0]) == 1


class Pixels(torch.nn.Module):
    """A model whose feature are the pixels, which verifies pairs by their distance."""

    def forward(self, batch):
        return batch["images"].float().flatten(1) - 127.5

    def pair_verification(self):
        return self

    def log_odds(self, queries, gallery):
        return -torch.cdist(queries, gallery)


def test_verification_leaves_them_out(write):
    """3 pairs of one person and 6 of two; the query itself would be a fourth one of distance 0, and two strangers."""
    write(query=QUERY, gallery=OTHERS)
    model = Pixels().eval()
    wanted = curve_of(config(), model, "CSVDataset")
    assert (wanted.positives, wanted.negatives) == (3, 6)
    write(gallery=OTHERS + "0.png,1,1\n")
    found = curve_of(config(), model, "CSVDataset")
    assert (found.positives, found.negatives) == (3, 8) and found.thresholds.tolist() == wanted.thresholds.tolist()
    kept = curve_of(config(TEST__SAME_IMAGE="keep"), model, "CSVDataset")
    assert kept.positives == 4 and kept.thresholds[0] == 0


# ---- persons of the training set ------------------------------------------------------------------------------------


def test_images(**keys):
    loader, _ = eval_loader(config(**keys), "CSVDataset")
    return {"CSVDataset": loader.dataset}


test_images.__test__ = False


def test_persons_by_name(write, logged):
    write(query=QUERY, gallery=OTHERS)
    warn_of_known_persons([("other.png", "csvdataset_2", "c"), ("o.png", "shop_1", "c")], test_images())
    assert "1 of the 3 persons of CSVDataset are persons of the training set (1 by name)" in logged.text


def test_persons_by_images(write, logged, root):
    write(query=QUERY, gallery=OTHERS)
    copy = str(root / linked(shutil.copy, root, "3.png"))
    warn_of_known_persons([(copy, "shop_x", "c"), (str(root / "0.png"), "shop_y", "c")], test_images())
    assert "2 of the 3 persons of CSVDataset are persons" in logged.text
    assert f"(2 by images: 2 of its 6 are trained on, such as {root}/0.png)" in logged.text


def test_unknown_persons_are_not_worth_a_word(write, logged):
    write(query=QUERY, gallery=OTHERS)
    warn_of_known_persons([("other.png", "csvdataset_20", "c"), ("o.png", "shop_1", "c")], test_images())
    assert "persons of the training set" not in logged.text


def test_names_that_are_nearly_the_same(write, logged):
    write(query=QUERY, gallery=OTHERS)
    warn_of_known_persons([("other.png", "csvdataset_02", "c"), ("o.png", "csvdataset_1", "c")], test_images())
    said = "2 of the 3 persons of CSVDataset are persons of the training set (1 by name; 1 by names that differ only by"
    assert f"{said} leading zeros, case or blanks, such as 'csvdataset_2')" in logged.text


@pytest.mark.parametrize(
    ("name", "train", "tree", "label"),
    [
        ("Market1501", "Market-1501-v15.09.15/bounding_box_train", MARKET, "market1501_4"),
        ("OccludedDuke", "Occluded_Duke/bounding_box_train", BODY_TREES["OccludedDuke"], "occludedduke_19"),
        ("PDukeMTMC", "P-DukeMTMC-reid/train/whole_body_images", BODY_TREES["PDukeMTMC"], "pdukemtmc_19"),
    ],
)
def test_persons_by_number(name, train, tree, label, root, logged):
    """A tree of one's own in the form of a public set may have a person on both sides; its images are others."""
    write_all_different(root.parent, tree)
    training = [(f"{train}/other.jpg", label, "c")]
    test = eval_loader(config(), name)[0].dataset
    warn_of_known_persons(training, {name: test})
    assert f"1 of the {len({item[1] for item in test.img_items})} persons of {name} are persons" in logged.text
    assert "(1 by name)" in logged.text
    logged.clear()
    warn_of_known_persons([(f"{train}/other.jpg", f"{label}0", "c")], {name: test})
    assert "persons of the training set" not in logged.text


def test_numbers_that_tell_nobody(root, monkeypatch):
    """Of distractors, of sets that number training anew, and of public ones, whose makers tell persons apart."""
    write_all_different(root.parent, MARKET)
    assert set(eval_loader(config(), "Market1501")[0].dataset.labels) == {3, 4, 9}  # and 0 is nobody
    monkeypatch.setattr(Market1501, "same_numbers", False)
    assert eval_loader(config(), "Market1501")[0].dataset.labels == {}
    monkeypatch.undo()
    monkeypatch.setenv("FASTREID_DATASETS", str(root.parent))
    monkeypatch.setattr(loaders, "is_public", lambda *args: True)
    assert eval_loader(config(), "Market1501")[0].dataset.labels == {}


def test_images_of_two_training_sets(root, logged):
    """One folder under two names has every person twice; a link and the same person are told, too."""
    os.symlink(root / "0.png", root / "link.png")
    paths = [f"{root}/{name}" for name in ("0.png", "1.png", "2.png", "link.png", "1.png", "../CSVDataset/1.png")]
    persons = ["a_1", "a_1", "a_2", "b_1", "a_1", "a_1"]
    items = [(path, person, "a_0") for path, person in zip(paths, persons, strict=True)]
    warn_of_images_again(items[:3])
    assert not logged.text
    warn_of_images_again(items)
    said = f"2 images of the training set are in it more than once, 1 of them as several persons, such as {paths[0]}"
    assert f"{said}, as a_1 and b_1" in logged.text


def test_a_query_that_was_saved_anew(write, root, tmp_path, logged):
    """Neither path, link nor bytes are the same, but the pixels are: ranked, and said."""
    Image.open(root / "0.png").save(root / "0.bmp")
    write(query=QUERY, gallery=OTHERS + "0.bmp,1,2\n")
    assert evaluated(tmp_path)["Rank-1"] > 33  # it finds itself
    said = "1 of the 3 queries of CSVDataset have a match with the very same features, such as"
    assert logged.text.count(said) == 1 and "0.bmp: if that is the same image saved anew" in logged.text
