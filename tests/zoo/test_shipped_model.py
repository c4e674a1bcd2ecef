"""The models that are shipped: their files, their cards, and that they work offline and tell people apart."""

import json
import re
import socket

import numpy as np
import pytest

from fastreid_ext import Extractor, zoo
from fastreid_ext.errors import UserError
from fastreid_ext.evaluation.same_person import SamePerson
from fastreid_ext.inference.record import READ_BY_TEST
from fastreid_ext.inference.weights_file import config_with_weights, record_in
from fastreid_ext.reproduce.card import HEADINGS, Facts, card_text
from fastreid_ext.reproduce.speed import Speed
from fastreid_ext.reproduce.zoo import augmentations

MOST_BYTES = 12_000_000


def test_the_folder_holds_models_their_cards_and_the_numbers_of_these():
    names = {path.name for path in zoo.FOLDER.iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert names == {f"{name}{end}" for name in zoo.models() for end in (".safetensors", ".md", ".json")}


@pytest.mark.parametrize("name", zoo.models())
def test_a_model_is_small_and_says_what_it_is(name):
    path = zoo.weights_of(name)
    assert path.stat().st_size <= MOST_BYTES
    record = record_in(path)
    assert record.pixels == "raw" and record.metric == "cosine" and READ_BY_TEST[0] in record.config


@pytest.mark.parametrize("name", zoo.models())
def test_a_card_has_its_parts(name):
    text = zoo.card_of(name).read_text(encoding="utf-8")
    parts = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    assert list(parts) == list(HEADINGS) and text.startswith(f"# {name}")
    assert all(len(part.strip()) > 20 for part in parts.values())


@pytest.mark.parametrize("name", zoo.models())
def test_its_card_is_what_is_written_for_its_numbers(name):
    numbers = json.loads((zoo.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    record, config = record_in(zoo.weights_of(name)), config_with_weights(zoo.weights_of(name))
    assert numbers["same_person"] == record.same_person and tuple(numbers["size"]) == record.size
    assert (numbers["dim"], numbers["losses"]) == (record.dim, list(config.MODEL.LOSSES.NAME))
    assert numbers["augmentations"] == augmentations(config)
    read = {"same_person": SamePerson.from_dict(numbers["same_person"], name), "speed": Speed(**numbers["speed"])}
    facts = Facts(**numbers | read)
    assert facts.numbers() == numbers
    assert card_text(facts) == zoo.card_of(name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", zoo.models())
def test_its_card_has_the_thresholds_that_are_in_its_file(name):
    text = zoo.card_of(name).read_text(encoding="utf-8")
    thresholds = record_in(zoo.weights_of(name)).same_person["thresholds"]
    known = {key: f"{at:.4f}" for key, at in thresholds.items() if at is not None}
    assert set(known) >= {"balanced", "fpr_1e-2"}
    for key, at in known.items():
        assert re.search(rf"{re.escape(key)}\W+{re.escape(at)}\b", text), (key, at)


def test_the_same_bits_by_every_name(shipped, pictures):
    wanted = shipped(pictures[:2])
    for model in ("zoo", zoo.weights_of()):
        found = Extractor(model, device="cpu")
        assert found.record == shipped.record and np.array_equal(found(pictures[:2]), wanted)


def test_no_network_is_asked(pictures, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f"the network is asked: {args}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    extractor = Extractor()
    features = extractor(pictures[:2])
    (answer,) = extractor.same_person(features[:1], features[1:])
    assert 0 < answer.probability < 1


def test_a_person_is_nearer_than_others(shipped, draw_people):
    """By chance one in five; these are drawn by another renderer than the pictures that it was trained on."""
    right = []
    for seed in (1, 2, 3):
        features = shipped(
            [picture for pictures in draw_people(5, seed, (2, 2, 2, 3, 3, 3)) for picture in pictures]
        ).reshape(5, 6, -1)
        queries, folders = features[:, [0, 3]], features[:, [1, 2, 4, 5]]
        means = np.einsum("pad,qbd->pqab", queries, folders).mean(axis=(2, 3))
        right += (means.argmax(axis=1) == np.arange(5)).tolist()
    assert np.mean(right) >= 0.9


def test_options_that_it_has_not():
    for options, name in (({"weights": "x.pth"}, "weights"), ({"opts": ["TEST.FLIP.ENABLED", True]}, "opts")):
        with pytest.raises(UserError, match=f"has config and weights in it: leave {name}= out"):
            Extractor(**options)
