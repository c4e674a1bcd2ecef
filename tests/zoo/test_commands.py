"""The commands with the shipped model: where it is what is used, where it is named, and where it can't be."""

import json
import os
import re
import shutil

import numpy as np
import pytest

from fastreid_ext import Extractor, zoo
from fastreid_ext.cli import main
from fastreid_ext.commands.common import merged_config
from fastreid_ext.inference.same_person_file import read_same_person
from fastreid_ext.inference.weights_file import record_in
from fastreid_ext.search.features import open_store

CPU = ("MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0")


def call(*words):
    return main([str(word) for word in words])


@pytest.fixture
def fails(sentence_of):
    """``fails(...)``: the one sentence that a command stops with."""
    return lambda *words: sentence_of(call(*words))


def listed(printed):
    """(path, similarity, probability) of the printed lines of a list."""
    found = re.findall(r"^ +\d+\. (.+) \(similarity (\S+), probability (\S+) of the same person\)$", printed, re.M)
    return [(path, float(similarity), float(probability)) for path, similarity, probability in found]


# ---- two images, and a folder ----------------------------------------------------------------------------------------


def test_two_images(shipped, pictures, capsys):
    features = shipped([pictures[0], pictures[1], pictures[4]])
    for other, name in ((1, pictures[1]), (2, pictures[4])):
        (wanted,) = shipped.same_person(features[:1], features[other : other + 1])
        assert call("verify", pictures[0], name) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("the same person: " if wanted.verdict == "same person" else "different people: ")
        probability, similarity = map(float, re.findall(r"0\.\d+", printed))
        assert (probability, similarity) == pytest.approx((wanted.probability, wanted.similarity), abs=1e-5)


def test_a_folder(shipped, people, pictures, tmp_path, capsys):
    """Without an output folder the lists are printed; one that is no image is left out and named."""
    folder = shutil.copytree(people, tmp_path / "people")
    (folder / "broken.jpg").write_text("no image")
    query = pictures[0]
    assert call("search", folder, "--image", query, "--topk", 4, *CPU) == 0
    printed = capsys.readouterr()
    assert "skipped: the image" in printed.err and "broken.jpg" in printed.err
    similar = shipped(pictures) @ shipped(query)[0]
    order = np.argsort(-similar)[:4]
    found = listed(printed.out)
    assert [path for path, *_ in found] == [os.path.relpath(pictures[place], people) for place in order]
    assert [one for _, one, _ in found] == pytest.approx(similar[order].tolist(), abs=1e-4)
    answers = shipped.same_person(shipped(query).repeat(4, axis=0), shipped([pictures[place] for place in order]))
    assert [one for *_, one in found] == pytest.approx([answer.probability for answer in answers], abs=1e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["people"]


def test_a_folder_and_an_output(people, pictures, tmp_path, capsys):
    output = tmp_path / "out"
    words = ("--image", pictures[0], "--image", pictures[5], "--output", output, "--unknown", "--show", 1)
    assert call("search", people, *words, *CPU) == 0
    assert "2 queries in 16 images" in capsys.readouterr().out
    read = json.loads((output / "results.json").read_text())
    assert read["topk"] == 10 and read["gallery_root"] == str(people) and len(read["results"][0]["matches"]) == 10
    assert read["results"][0]["matches"][0]["path"] == os.path.relpath(pictures[0], people)
    assert read["unknown"]["threshold"] == "fpr_1e-3" and (output / "rank_lists.png").is_file()


def test_fewer_images_than_are_shown(people, pictures, capsys):
    assert call("search", f"{people}/person_0", "--image", pictures[0], *CPU) == 0
    assert len(listed(capsys.readouterr().out)) == 4


@pytest.fixture(scope="module")
def store(people, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "features"
    assert call("extract", "--config-file", "zoo", "--images", people, "--output", path, *CPU) == 0
    return path


def test_a_store_of_the_shipped_model(shipped, store, pictures, capsys):
    opened = open_store(store)
    features = Extractor("zoo", device="cpu", normalise=False)(pictures)
    np.testing.assert_allclose(opened.features, features, rtol=1e-5, atol=1e-6)  # other batches
    assert read_same_person(store / "same_person.json").to_dict() == record_in(zoo.weights_of()).same_person
    assert call("search", store, "--image", pictures[3], "--topk", 1, *CPU) == 0
    assert listed(capsys.readouterr().out)[0][:2] == ("person_0/3.png", 1.0)


def test_a_store_of_another_model(fails, store, pictures, tmp_path):
    other = shutil.copytree(store, tmp_path / "other")
    meta = json.loads((other / "meta.json").read_text())
    (other / "meta.json").write_text(json.dumps(meta | {"model_sha256": "0" * 64}))
    sentence = fails("search", "--gallery", other, "--image", pictures[0])
    assert f"the queries by the model {zoo.DEFAULT_NAME}, as no --config-file is named, and the gallery" in sentence
    assert "can't be compared: other weights" in sentence


# ---- wherever a config and weights are named -----------------------------------------------------------------------


def test_a_file_of_weights_as_the_config(copy, pictures, capsys):
    """It has both in it, and what is measured anew beside it counts; the thresholds of the file do until then."""
    beside, measured = copy.parent / "same_person.json", record_in(copy).same_person
    raised = measured | {"thresholds": measured["thresholds"] | {"balanced": 0.9999}}
    for written, start in (
        (None, "the same person: "),
        (raised, "different people: "),
        (raised | {"model_sha256": "0" * 64}, "the same person: "),
    ):
        if written:
            beside.write_text(json.dumps(written))
        assert call("verify", "--config-file", copy, *pictures[:2]) == 0
        assert capsys.readouterr().out.startswith(start)
    beside.write_text(json.dumps(raised))
    extractor = Extractor(copy, device="cpu")
    one = np.eye(2, extractor.dim, dtype=np.float32)
    near = one[:1] + 0.05 * one[1:]  # a cosine of 0.9988
    assert extractor.same_person(one[:1], near)[0].verdict == "different people"


def test_a_file_that_was_changed(fails, copy, pictures, tmp_path):
    file, data = tmp_path / "changed.safetensors", bytearray(copy.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    sentence = fails("verify", "--config-file", file, *pictures[:2])
    assert sentence.endswith("changed.safetensors has other weights than it says: it was changed after it was written")
    file.write_bytes(data[:-1])
    assert "is damaged, or not in the format of safetensors" in fails("verify", "--config-file", file, *pictures[:2])


@pytest.mark.slow
def test_an_export(tmp_path):
    file = tmp_path / "mine.safetensors"
    export = ("export", "--config-file", "zoo", "--format", "weights", "--images", 2, "--output", file)
    assert call(*export, "DATASETS.TESTS", "()") == 0
    found, shipped = record_in(file), record_in(zoo.weights_of())
    assert (found.identity, found.same_person, found.size) == (shipped.identity, shipped.same_person, shipped.size)


def test_the_name_as_weights(shipped, pictures, tmp_path, capsys):
    """With a config that fits them."""
    cfg = merged_config("zoo", ())
    assert merged_config("zoo", ["MODEL.WEIGHTS", "zoo"]).MODEL.WEIGHTS == cfg.MODEL.WEIGHTS == str(zoo.weights_of())
    (tmp_path / "own.yml").write_text(cfg.dump())
    config = ("--config-file", tmp_path / "own.yml", "MODEL.WEIGHTS", "zoo", "MODEL.DEVICE", "cpu")
    assert call("verify", *pictures[:2], *config) == 0 and "(similarity" in capsys.readouterr().out
    found = Extractor(tmp_path / "own.yml", weights="zoo", device="cpu")
    assert np.array_equal(found(pictures[:1]), shipped(pictures[:1]))


@pytest.mark.usefixtures("forget_logs")
def test_an_evaluation(synth_tiny, tmp_path):
    output = tmp_path / "evaluation"
    keys = ("DATASETS.TESTS", "('SynthReIDTiny',)", "OUTPUT_DIR", output, *CPU)
    assert call("train", "--eval-only", "--config-file", "zoo", *keys) == 0
    assert "Rank-1" in json.loads((output / "results.json").read_text())["results"]["SynthReIDTiny"]


NAMED = {
    "two images of a model that is not shipped": (
        ["verify", "a.png", "b.png", "--config-file", "zoo:none"],
        "no model 'none' is shipped",
    ),
    "weights beside it": (
        ["verify", "a.png", "b.png", "--config-file", "zoo", "MODEL.WEIGHTS", "x.pth"],
        "has config and weights in it: leave MODEL.WEIGHTS out",
    ),
    "weights alone": (["verify", "a.png", "b.png", "MODEL.WEIGHTS", "x.pth"], "add --config-file"),
    "no such file": (
        ["verify", "a.png", "b.png", "--config-file", "no.safetensors"],
        "there is no config file no.safe",
    ),
    "a threshold": (["verify", "a.png", "b.png", "--threshold", "high"], "--threshold|threshold"),
    "another shape": (
        ["verify", "a.png", "b.png", "MODEL.HEADS.EMBEDDING_DIM", "7"],
        "other weights than its config asks for",
    ),
    "measuring": (["verify", "--calibrate", "--test-set", "SynthReIDTiny"], "same_person.json would be written into"),
    "compressing": (
        ["compress", "--config-file", "zoo", "--dim", "8"],
        "the components would be written into the inst",
    ),
    "training": (["train", "--config-file", "zoo"], "zoo is a trained model and has no settings of a training"),
    "training by a file": (["train", "--config-file", "m.safetensors"], "m.safetensors is a trained model and has no"),
    "training again": (["repeat", "--configs", "zoo", "--output", "o"], "zoo is a trained model and has no settings"),
    "regions": (
        ["boxes", "--config-file", "zoo", "--test-set", "SynthReIDTiny", "--output", "o"],
        "locates no regions",
    ),
    "no gallery": (["search", "--image", "a.png"], "name a folder of images to search in, or a feature store by"),
    "no folder": (["search", "nowhere", "--image", "a.png"], "the gallery nowhere is no folder"),
    "no image": (["search", "people"], "name the queries by --query STORE, or by --image FILE"),
    "an empty folder": (["search", "empty", "--image", "a.png"], "empty holds no image"),
    "a query that is none": (["search", "people", "--image", "c.png"], "the image .*c.png"),
    "a store of queries": (
        ["search", "people", "--query", "people"],
        "--query is for a gallery that is a feature store",
    ),
    "two galleries": (["search", "people", "--gallery", "people", "--image", "a.png"], "the gallery is named twice"),
    "a sheet nowhere": (["search", "people", "--image", "a.png", "--show", "2"], "--show is of the sheet in --output"),
    "an index nowhere": (
        ["search", "people", "--image", "a.png", "--rebuild"],
        "--rebuild is for a feature store, which keeps",
    ),
    "another index": (
        ["search", "people", "--image", "a.png", "--index", "hnsw"],
        "--index hnsw is for a feature store",
    ),
    "a list of many": (["search", "--gallery", "people", "--query", "people"], "--output is missing"),
    "half a pair": (["search", "people", "--image", "a.png", "MODEL.DEVICE"], "each KEY has a VALUE"),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_it_can_not_be_used_for(case, fails, people, pictures, synth_tiny, tmp_path, monkeypatch):
    words, sentence = NAMED[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").symlink_to(people)
    (tmp_path / "empty").mkdir()
    for name, picture in zip(("a.png", "b.png"), pictures, strict=False):
        shutil.copy(picture, name)
    assert re.search(sentence, fails(*words))
    assert {path.name for path in tmp_path.iterdir()} == {"people", "empty", "a.png", "b.png"}
