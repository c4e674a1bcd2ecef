"""A run that goes on with other persons is refused, before anything is loaded; one with other images is said."""

import logging

import pytest
import torch
from torch import nn

from fastreid_ext.engine.checkpoint import AtomicCheckpointer, CheckpointError
from fastreid_ext.engine.trained_on import other_persons, trained_on, warn_if_other_images

ITEMS = [(f"/data/{person}_{number}.jpg", f"shop_{person}", "shop_0") for person in "abc" for number in range(2)]


def renamed(items, **names):
    return [(path, f"shop_{names.get(person[-1], person[-1])}", camera) for path, person, camera in items]


@pytest.mark.parametrize(
    "items",
    [ITEMS[::-1], [(path.replace("/data", "elsewhere"), *labels) for path, *labels in ITEMS]],
    ids=["another order", "another folder"],
)
def test_the_same(items, caplog):
    with caplog.at_level(logging.WARNING):
        warn_if_other_images(trained_on(ITEMS), trained_on(items))
    assert not caplog.text and not other_persons(trained_on(ITEMS), trained_on(items))


def test_other_persons():
    fewer = other_persons(trained_on(ITEMS), trained_on(ITEMS[:4]))
    assert "it was trained on 3 persons, and the training set has 2, who are not the same" in fewer[0]
    assert other_persons(trained_on(ITEMS), trained_on(renamed(ITEMS, a="z")))
    assert other_persons({"persons_hash": 7, "persons": []}, trained_on(ITEMS))


@pytest.mark.parametrize("items", [ITEMS[1:], renamed(ITEMS, a="b", b="c", c="a")], ids=["fewer", "exchanged"])
def test_other_images_of_the_same_persons(items, caplog):
    assert not other_persons(trained_on(ITEMS), trained_on(items))
    with caplog.at_level(logging.WARNING):
        warn_if_other_images(trained_on(ITEMS), trained_on(items))
    assert f"other training images, or with other labels, than it had: 6 before and {len(items)} now" in caplog.text


@pytest.mark.parametrize("saved", [None, {}, [], {"persons": 3}])
def test_what_an_earlier_checkpoint_does_not_say(saved, caplog):
    warn_if_other_images(saved, trained_on(ITEMS))
    assert not caplog.text and not other_persons(saved, trained_on(ITEMS)) and not trained_on([])
    assert not other_persons(trained_on(ITEMS), {})  # a loader of a user's own that lists nothing


def test_a_checkpoint_of_other_persons_is_not_loaded(tmp_path):
    """Said before the optimiser, whose state has other shapes if there are fewer persons."""
    layer = nn.Linear(2, 3)
    saver = AtomicCheckpointer(layer, str(tmp_path))
    saver.save("model_latest", epoch=0, training=trained_on(ITEMS))
    other = nn.Linear(2, 3)
    before = other.weight.clone()
    loader = AtomicCheckpointer(other, str(tmp_path))
    loader.training = trained_on(ITEMS[:4])
    with pytest.raises(CheckpointError, match="model_latest.pth can't be resumed: it was trained on 3 persons"):
        loader.resume_or_load("", resume=True)
    assert torch.equal(other.weight, before)
    loader.training = trained_on(ITEMS)
    loader.resume_or_load("", resume=True)
    assert torch.equal(other.weight, layer.weight)
