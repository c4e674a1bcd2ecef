"""MODEL.WEIGHTS of another model, data set or run: loaded whole, or one sentence; in training too."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from fastreid_ext.engine.checkpoint import AtomicCheckpointer, CheckpointError
from fastreid_ext.engine.model import check_teachers
from fastreid_ext.errors import ConfigError


class Head(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.cls_layer = nn.Identity()  # as FastReID names what makes a classifier of ``weight``
        self.weight = nn.Parameter(torch.zeros(classes, 4))
        self.neck = nn.BatchNorm1d(4)


class Person(nn.Module):
    training_only = ("criterion",)

    def __init__(self, classes=3):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        self.heads = Head(classes)
        self.criterion = nn.ParameterDict({"centers": torch.zeros(classes, 4)})


@pytest.fixture
def state():
    torch.manual_seed(3)
    return {key: torch.rand(value.shape) for key, value in Person().state_dict().items()}


@pytest.fixture
def load(tmp_path):
    """Return a function that loads weights into a model, and gives the model."""

    def run(weights, model=None, **how):
        model = model or Person()
        torch.save({"model": weights}, tmp_path / "other.pth")
        AtomicCheckpointer(model).load(str(tmp_path / "other.pth"), checkpointables=[], **how)
        return model

    return run


def without(state, start):
    return {key: value for key, value in state.items() if not key.startswith(start)}


def test_weights_of_another_model_stop_training(load, state, caplog):
    other = without(state, "heads.neck.") | {"heads.other.weight": torch.zeros(2)}
    said = (
        r"other.pth is of another model: 4 of the 12 weights .* such as \['heads.neck.bias'.*MODEL.WEIGHTS_PARTIAL True"
    )
    with pytest.raises(CheckpointError, match=said) as error:
        load(other)
    assert "\n" not in str(error.value)
    caplog.clear()
    model = load(other, partial=True)
    assert torch.equal(model.backbone[0].weight, state["backbone.0.weight"])
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "4 missing" in warning and "  missing     heads.neck.bias" in warning
    assert "  unexpected  heads.other.weight" in warning


def test_another_data_set_needs_no_switch(load, state, caplog):
    """Classifiers and centers have a row for each identity: those of another training set are trained anew."""
    with caplog.at_level(logging.INFO):
        model = load(state, Person(classes=7))
    assert torch.equal(model.heads.neck.weight, state["heads.neck.weight"]) and not model.heads.weight.any()
    (said,) = [record.getMessage() for record in caplog.records if "not loaded" in record.getMessage()]
    assert said.splitlines()[1:] == ["  criterion.centers", "  heads.weight"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("how", [{}, {"complete": True}])
def test_a_trunk_with_more_in_it_is_another(how, load, state):
    """All weights are there, and the numbers would be those of half a network."""
    deeper = state | {"backbone.2.weight": torch.zeros(4, 4, 1, 1)}
    with pytest.raises(CheckpointError, match="other.pth is of another trunk: 1 of its weights .*backbone.2.weight"):
        load(deeper, **how)
    load(deeper, partial=True)
    load(state | {"heads.second.weight": torch.zeros(2), "backbone.fc.weight": torch.zeros(2)}, **how)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_weights_that_are_not_finite(kind, value, load, state, tmp_path):
    state["backbone.1.running_var"][2] = value
    if kind == "array":
        state = {key: np.asarray(tensor) for key, tensor in state.items()}
    said = r"other.pth has values that are NaN or infinite in 1 of its \d+ weights .*'backbone.1.running_var'"
    for how in ({}, {"partial": True}, {"complete": True}):
        model = Person()
        before = model.backbone[0].weight.clone()
        with pytest.raises(CheckpointError, match=said):
            load(state, model, **how)
        assert torch.equal(model.backbone[0].weight, before)
    (tmp_path / "last_checkpoint").write_text("other.pth")
    torch.save({"model": state, "epoch": 1}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=said):
        AtomicCheckpointer(Person(), str(tmp_path)).resume_or_load("", resume=True)


def test_an_evaluation_does_not_mind_broken_centers(load, state):
    state["criterion.centers"][0] = float("nan")
    load(state, complete=True)
    with pytest.raises(CheckpointError, match="criterion.centers"):
        load(state)


def test_teachers_are_loaded_whole(state, tmp_path):
    """FastReID's Distiller goes on with a teacher of which a part was loaded."""
    torch.save({"model": state}, tmp_path / "whole.pth")
    torch.save({"model": without(state, "backbone.1.")}, tmp_path / "part.pth")
    mean, teachers = Person(), [Person(), Person()]
    check_teachers([mean, *teachers], [str(tmp_path / "whole.pth")] * 2)
    assert torch.equal(teachers[0].backbone[0].weight, state["backbone.0.weight"])
    assert torch.equal(teachers[1].backbone[0].weight, state["backbone.0.weight"])
    with pytest.raises(ConfigError, match=r"KD.MODEL_WEIGHTS has .*part.pth: 4 weights that the test feature needs"):
        check_teachers([mean, *teachers], [str(tmp_path / "whole.pth"), str(tmp_path / "part.pth")])


@pytest.mark.parametrize("kind", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floats(kind, load, state):
    """As of a quantised model, whose scale the file does not tell."""
    state["backbone.0.weight"] = (100 * state["backbone.0.weight"]).to(kind)
    said = r"other.pth has whole numbers, or other values that are no floats, in 1 of its \d+ .*'backbone.0.weight'"
    for how in ({}, {"partial": True}, {"complete": True}):
        with pytest.raises(CheckpointError, match=said):
            load(state, **how)


class Neck(nn.Module):
    """FastReID's EmbeddingHead: before version 1.1 its neck was ``bnneck`` and its classifier a module."""

    def __init__(self, reduced=False):
        super().__init__()
        self.cls_layer = nn.Identity()
        self.weight = nn.Parameter(torch.zeros(3, 4))
        reduction = [nn.Conv2d(4, 4, 1, bias=False)] if reduced else []
        self.bottleneck = nn.Sequential(*reduction, nn.BatchNorm2d(4))


def of_the_model_zoo(reduced=False):
    """A model, and its weights as FastReID's published files have them."""
    model = Person()
    model.heads = Neck(reduced)
    state = {key: torch.rand(value.shape).to(value.dtype) for key, value in model.state_dict().items()}
    names = {"heads.bottleneck.0.": "heads.bnneck.", "heads.weight": "heads.classifier.weight"}
    earlier = {}
    for key, value in state.items():
        start = next((name for name in names if key.startswith(name) and not reduced), "")
        earlier[names.get(start, "") + key.removeprefix(start)] = value
    return model, state, {**earlier, "pixel_mean": torch.zeros(1, 3, 1, 1), "heads.pool_layer.p": torch.tensor([3.2])}


def test_the_neck_of_fastreids_model_zoo(load, caplog):
    model, state, published = of_the_model_zoo()
    assert "heads.bnneck.running_var" in published and "heads.bottleneck.0.running_var" not in published
    loaded = load(published, model, complete=True).state_dict()
    for key, value in state.items():
        assert torch.equal(loaded[key], value), key
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "0 missing" in warning and "MODEL.HEADS.POOL_LAYER GeneralizedMeanPoolingP reads it" in warning


@pytest.mark.parametrize("name", ["bnneck", "bottleneck.2"])
def test_a_neck_that_this_head_lacks(load, name):
    """With a neck behind a norm of its own, which would load as the neck and be silently another feature."""
    model, _, published = of_the_model_zoo(reduced=True)
    neck = {f"heads.{name}.{of}": torch.ones(4) for of in ("weight", "bias", "running_mean", "running_var")}
    with pytest.raises(
        CheckpointError, match=f"is of another head: .* parts that this one lacks, such as .'heads.{name}"
    ):
        load({**published, **neck}, model, complete=True)
