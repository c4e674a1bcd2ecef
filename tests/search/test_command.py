"""The command lines ``extract``, ``search`` and ``shards`` from images to neighbours, on SynthReID-tiny."""

import csv
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import warm
from fastreid.evaluation import inference_on_dataset
from PIL import Image

from fastreid_ext import Extractor
from fastreid_ext.cli import main
from fastreid_ext.config import get_cfg
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.trained import config_file_of, load_trained
from fastreid_ext.evaluation.gathered import GatheredFeatures
from fastreid_ext.inference.fingerprints import config_hash, model_hash
from fastreid_ext.search.features import open_store

GALLERY = 88  # images of SynthReID-tiny's gallery


@pytest.fixture
def extract(model_arguments, synth_tiny):
    """``extract(output, "--images", folder, KEY=value)``: exit status of the command."""

    def run(output, *options, seed=0, **changed):
        config, pairs = model_arguments(seed, **changed)
        return main([str(x) for x in ["extract", *config, "--output", output, *options, *pairs]])

    return run


@pytest.fixture(scope="module")
def stores(model_arguments, synth_root, tmp_path_factory):
    """Folders of two stores: query and gallery of SynthReID-tiny."""
    folder = tmp_path_factory.mktemp("stores")
    config, pairs = model_arguments()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(synth_root))
        for part in ("query", "gallery"):
            data = ["--dataset", "SynthReIDTiny", "--split", part]
            assert main(["extract", *config, "--output", str(folder / part), *data, *pairs]) == 0
    return folder


def cfg_of(model_arguments, seed=0, **changed):
    (_, name), pairs = model_arguments(seed, **changed)
    cfg = get_cfg()
    cfg.merge_from_file(config_file_of(name))
    cfg.merge_from_list(pairs)
    return cfg


@pytest.mark.parametrize("flip", [False, True])
def test_features_are_those_of_the_evaluation(extract, model_arguments, synth_tiny, tmp_path, capsys, flip):
    cfg = cfg_of(model_arguments, TEST__FLIP__ENABLED=flip)
    loader, count = eval_loader(cfg, "SynthReIDTiny")
    gathered = GatheredFeatures()
    inference_on_dataset(load_trained(cfg), loader, gathered, flip_test=flip)
    expected, pids = torch.cat(gathered.features).numpy(), torch.cat(gathered.pids).tolist()
    for part, mine in (("query", slice(0, count)), ("gallery", slice(count, None))):
        output = tmp_path / part
        assert extract(output, "--dataset", "SynthReIDTiny", "--split", part, TEST__FLIP__ENABLED=flip) == 0
        printed, images = capsys.readouterr().err, len(expected[mine])
        assert "\r" not in printed and f"features: {images}/{images} images (100%)" in printed
        store = open_store(output)
        # other batches, so other roundings
        np.testing.assert_allclose(store.features, expected[mine], rtol=1e-5, atol=1e-6)
        assert [int(person) for _, person, _ in store.images.rows] == pids[mine]
        assert store.meta["flip"] is flip


KILLED = """
import os, signal, sys
import tiny_resnet
from fastreid_ext.search.writer import FeatureWriter
add = FeatureWriter.add
def killing(self, features, tried, skipped=()):
    add(self, features, tried, skipped)
    if self.done >= 40:  # 32 were saved, eight rows more are in the file
        os.kill(os.getpid(), signal.SIGKILL)
FeatureWriter.add = killing
from fastreid_ext.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_killed_and_given_again(
    extract, model_arguments, stores, synth_tiny, tmp_path, capsys, sentence_of, monkeypatch
):
    config, pairs = model_arguments()
    options = ["--dataset", "SynthReIDTiny", "--split", "gallery", "--save-every", "16"]
    command = ["extract", *config, "--output", str(tmp_path / "s"), *options, *pairs]
    done = warm.run(["-c", KILLED, *command], os.environ)
    assert done.returncode == -signal.SIGKILL, done.stderr
    meta = json.loads((tmp_path / "s" / "meta.json").read_text())
    assert (meta["done"], meta["count"], meta["complete"]) == (32, 32, False)
    assert "has 32 of 88 images" in sentence_of(
        main(["search", "--gallery", str(tmp_path / "s"), "--query", str(stores / "query"), "--output", "x"])
    )
    assert "other weights" in sentence_of(extract(tmp_path / "s", *options, seed=1))
    seen, forward = [], Extractor.features
    monkeypatch.setattr(
        Extractor, "features", lambda extractor, images: seen.append(len(images)) or forward(extractor, images)
    )
    assert main(command) == 0
    assert "88 features of length 512 (float32)" in (printed := capsys.readouterr().out)
    assert "32 of them by an earlier run" in printed and sum(seen) == GALLERY - 32
    for name in ("features.npy", "images.csv"):  # bit by bit what a run that nobody killed writes
        assert (tmp_path / "s" / name).read_bytes() == (stores / "gallery" / name).read_bytes()
    assert main(command) == 0 and sum(seen) == GALLERY - 32  # nothing is left to do


def test_unreadable_images(extract, stores, synth_tiny, tmp_path, capsys, sentence_of):
    images = open_store(stores / "gallery").images
    (tmp_path / "in").mkdir()
    for n in range(11):
        Image.open(images.file(n)).save(tmp_path / "in" / f"{n:02d}.png")
    (tmp_path / "in" / "09.png").write_bytes(b"no image")
    options = ["--images", tmp_path / "in"]
    sentence = sentence_of(extract(tmp_path / "s", *options))
    assert f"the image {tmp_path / 'in' / '09.png'} can't be read" in sentence
    assert json.loads((tmp_path / "s" / "meta.json").read_text())["done"] == 8  # the batch before it is kept
    assert extract(tmp_path / "s", *options, "--skip-unreadable", "--half") == 1  # begun in float32
    assert extract(tmp_path / "s", *options, "--skip-unreadable") == 0
    printed = capsys.readouterr()
    assert "10 features" in printed.out and "1 unreadable images are left out" in printed.out
    assert "09.png" in printed.err
    store = open_store(tmp_path / "s")
    expected = np.load(stores / "gallery" / "features.npy")[[0, 1, 2, 3, 4, 5, 6, 7, 8, 10]]
    if Path(images.file(0)).suffix == ".png":
        np.testing.assert_allclose(store.features, expected, rtol=1e-5, atol=1e-6)
    assert [path for path, *_ in store.images.rows] == [f"{n:02d}.png" for n in (*range(9), 10)]
    assert [entry["path"] for entry in store.meta["skipped"]] == ["09.png"]


def nearest_by_hand(query, gallery, labels, topk):
    """Rows and distances of the nearest images in float64, without those of the query's person and camera."""
    gallery, query = gallery.astype(np.float64), query.astype(np.float64)
    distances = np.array([((g - query) ** 2).sum() for g in gallery])
    person, camera, (persons, cameras) = *labels[0], labels[1]
    distances[(persons == person) & (cameras == camera)] = np.inf
    order = np.argsort(distances, kind="stable")[:topk]
    return order, distances[order]


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivfpq"])
def test_search_from_end_to_end(stores, tmp_path, capsys, index):
    out, gallery, queries = tmp_path / "out", open_store(stores / "gallery"), open_store(stores / "query")
    command = ["search", "--gallery", gallery.folder, "--query", queries.folder, "--output", out, "--index", index]
    command += ["--topk", 5, "--drop-same-camera"]
    assert main([str(x) for x in command]) == 0
    printed = capsys.readouterr().out
    assert ("flat index of all features" if index == "flat" else "built and saved as") in printed
    read = json.loads((out / "results.json").read_text())
    persons, cameras = (np.array([row[i] for row in gallery.images.rows]) for i in (1, 2))
    paths = [row[0] for row in gallery.images.rows]
    hits, right = [], []
    for n, entry in enumerate(read["results"]):
        path, person, camera = queries.images.rows[n]
        order, distances = nearest_by_hand(
            queries.features[n], gallery.features, ((person, camera), (persons, cameras)), 5
        )
        assert (entry["query"], entry["person"], entry["camera"]) == (path, person, camera)
        matches = entry["matches"]
        places = [paths.index(match["path"]) for match in matches]
        assert [m["same_person"] for m in matches] == (persons[places] == person).tolist()
        for match, place in zip(matches, places, strict=True):
            true = ((gallery.features[place].astype(np.float64) - queries.features[n].astype(np.float64)) ** 2).sum()
            assert match["distance"] == pytest.approx(true, rel=1e-9)
        if index == "flat":
            assert places == order.tolist()
            np.testing.assert_allclose([m["distance"] for m in matches], distances, rtol=1e-9)
        hits.append(len(set(places) & set(order)) / 5)
        right.append(persons[places[0]] == person)
    assert f"Rank-1 {100 * np.mean(right):.2f}, " in printed
    if index == "flat":
        assert read["recall"] is None and read["order"].startswith("exact order, Euclidean distance")
        assert "recall" not in printed
    else:
        assert read["recall"]["of_exact"] == pytest.approx(np.mean(hits)) and read["recall"]["queries"] == len(hits)
        assert f"recall@5 against the exact search: {np.mean(hits):.4f}, measured on {len(hits)} queries" in printed
        assert "(approximate, " in read["order"]
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["query"], r["gallery"], float(r["distance"])) for r in rows] == [
        (entry["query"], match["path"], match["distance"]) for entry in read["results"] for match in entry["matches"]
    ]
    picture = Image.open(out / "rank_lists.png")
    assert picture.format == "PNG" and picture.size[0] > 5 * 64 and picture.size[1] > 8 * 128

    results = (out / "results.json").read_bytes()
    assert main([str(x) for x in command]) == 0  # with the index that was saved
    again = "flat index of all features" if index == "flat" else "loaded from"
    assert again in capsys.readouterr().out and (out / "results.json").read_bytes() == results


def test_the_exact_ranks_are_those_of_the_evaluation(stores, model_arguments, synth_tiny, tmp_path, capsys):
    from fastreid_ext.evaluation.evaluator import RankListEvaluator

    cfg = cfg_of(model_arguments, TEST__RANK_LIST__ENABLED=False, TEST__REPORT__ENABLED=False)
    loader, count = eval_loader(cfg, "SynthReIDTiny")
    evaluator = RankListEvaluator(cfg, count, "SynthReIDTiny", str(tmp_path))
    expected = inference_on_dataset(load_trained(cfg), loader, evaluator)
    command = ["search", "--gallery", stores / "gallery", "--query", stores / "query", "--output", tmp_path / "o"]
    assert main([str(x) for x in [*command, "--drop-same-camera", "--show", 0, "--rebuild"]]) == 0
    printed = capsys.readouterr().out
    assert f"Rank-1 {expected['Rank-1']:.2f}, Rank-10 {expected['Rank-10']:.2f} of the {count} queries" in printed
    assert not (tmp_path / "o" / "rank_lists.png").exists()


def test_images_as_queries(stores, model_arguments, tmp_path, capsys, sentence_of):
    gallery = open_store(stores / "gallery")
    config, pairs = model_arguments()
    files = [gallery.images.file(n) for n in (3, 40)]
    command = ["search", "--gallery", str(gallery.folder), "--output", str(tmp_path / "out"), "--topk", "3", *config]
    command += [x for file in files for x in ("--image", file)]
    assert main([*command, *pairs]) == 0
    read = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [entry["matches"][0]["path"] for entry in read["results"]] == [gallery.images.rows[n][0] for n in (3, 40)]
    assert all(entry["matches"][0]["distance"] < 1e-6 for entry in read["results"])
    assert all(match["same_person"] is None for entry in read["results"] for match in entry["matches"])
    assert "Rank-1" not in capsys.readouterr().out
    other = model_arguments(1)[1]
    assert "can't be compared: other weights" in sentence_of(main([*command, *other]))
    smaller = model_arguments(0, INPUT__SIZE_TEST="[32,32]")[1]
    assert "can't be compared: another config" in sentence_of(main([*command, *smaller]))
    assert "--drop-same-camera reads person and camera of the queries, which --image does not" in sentence_of(
        main([*command, "--drop-same-camera", *pairs])
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--topk", "0"], "--topk is 0 and must be 1 or more"),
        (["--topk", "100"], "--topk is 100, and the gallery has"),
        (["--image", "a.jpg"], "name the queries by --query STORE, or by --image FILE"),
        (["--config-file", "x.yml"], "--config-file and KEY VALUE pairs are for --image"),
        (["--nprobe", "3"], "the flat index has no nprobe"),
        (["--index", "ivfpq", "--pq-m", "7"], "pq_m is 7 and must divide the features' length 512"),
    ],
)
def test_options_that_can_not_be(stores, tmp_path, sentence_of, options, sentence):
    command = ["search", "--gallery", str(stores / "gallery"), "--query", str(stores / "query")]
    assert sentence in sentence_of(main([*command, "--output", str(tmp_path / "o"), *options]))
    assert not (tmp_path / "o").exists()


def test_extract_options_that_can_not_be(extract, tmp_path, sentence_of):
    assert "--dataset and --split go together" in sentence_of(extract(tmp_path / "s", "--dataset", "SynthReIDTiny"))
    assert "holds no image" in sentence_of(extract(tmp_path / "s", "--images", tmp_path))
    options = ("--images", tmp_path, "--save-every", 0)
    assert "--save-every is 0" in sentence_of(extract(tmp_path / "s", *options))
    assert not (tmp_path / "s").exists()


def test_hashes_follow_what_the_feature_reads(model_arguments, weights, tmp_path):
    cfg = cfg_of(model_arguments)
    model = load_trained(cfg)
    first = model_hash(model)
    assert first == model_hash(load_trained(cfg_of(model_arguments, MODEL__HEADS__NUM_CLASSES=3)))  # the classifier's
    assert first != model_hash(load_trained(cfg_of(model_arguments, seed=1)))
    with torch.no_grad():
        next(model.backbone.buffers()).add_(1e-3)  # a running mean
    assert first != model_hash(model)
    same = {"MODEL__HEADS__NUM_CLASSES": 3, "TEST__IMS_PER_BATCH": 2, "SOLVER__BASE_LR": 1.0, "SEED": 5}
    assert config_hash(cfg) == config_hash(cfg_of(model_arguments, **same))
    for key, value in {
        "INPUT__SIZE_TEST": "[32,32]",
        "TEST__FLIP__ENABLED": True,
        "MODEL__PIXEL_MEAN": "[0,0,0]",
    }.items():
        assert config_hash(cfg) != config_hash(cfg_of(model_arguments, **{key: value}))
