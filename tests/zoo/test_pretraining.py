"""A training that starts from the shipped model's trunk, and one that it teaches."""

import json

import pytest
import safetensors.torch
import torch
import yaml
from fastreid.modeling import build_model
from fastreid.modeling.backbones import BACKBONE_REGISTRY

from fastreid_ext import zoo
from fastreid_ext.commands.common import merged_config
from fastreid_ext.engine.distillation import distillation_of
from fastreid_ext.engine.model import build_model as build_checked
from fastreid_ext.errors import UserError
from fastreid_ext.inference.record import KEY
from fastreid_ext.inference.weights_file import record_in
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.file_trunks import other_keys
from fastreid_ext.modeling.safetensors_files import read_safetensors


@pytest.fixture
def theirs():
    """MODEL.BACKBONE of the shipped model."""
    return yaml.safe_load(record_in(zoo.weights_of()).config)["MODEL"]["BACKBONE"]


def config(name="zoo", **changed):
    """The config of the shipped model as one of a training whose trunk is pretrained by a name."""
    cfg = merged_config("zoo", ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", "3"])
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.BACKBONE.PRETRAIN_PATH = True, name
    for key, value in changed.items():
        setattr(cfg.MODEL.BACKBONE, key, value)
    return cfg


@pytest.mark.parametrize("name", ["zoo", zoo.DEFAULT_NAME])
def test_a_training_starts_from_its_trunk(name):
    found = build_model(config(name)).backbone.state_dict()
    kept = read_safetensors(zoo.weights_of())[0]
    wanted = {key.removeprefix("backbone."): value for key, value in kept.items() if key.startswith("backbone.")}
    assert {key for key in found if not key.endswith("num_batches_tracked")} == set(wanted)
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_another_network(theirs):
    """One sentence with the keys that fit."""
    cfg = get_config("demo/baseline.yml")
    cfg.MODEL.DEVICE, cfg.MODEL.HEADS.NUM_CLASSES = "cpu", 3
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.BACKBONE.PRETRAIN_PATH = True, "zoo"
    with pytest.raises(
        UserError, match=f"{zoo.DEFAULT}.safetensors does not fit the ResNet of MODEL.BACKBONE"
    ) as caught:
        build_checked(cfg)
    sentence = str(caught.value)
    keys = [key for key in ("NAME", "DEPTH", "WITH_IBN") if theirs[key] != cfg.MODEL.BACKBONE[key]]
    assert keys and "the trunk in it is that of MODEL.BACKBONE." in sentence and "\n" not in sentence
    assert all(f"{key} {theirs[key]}" in sentence for key in keys)


def test_another_variant(theirs):
    with pytest.raises(UserError, match=f"the trunk in it is that of MODEL.BACKBONE.WITH_IBN {theirs['WITH_IBN']}$"):
        build_model(config(WITH_IBN=not theirs["WITH_IBN"]))


def test_a_model_that_is_not_shipped():
    with pytest.raises(UserError, match="no model 'none' is shipped"):
        build_model(config("zoo:none"))


def test_a_backbone_that_loads_by_code_of_its_own(monkeypatch):
    name = "build_trunk_of_a_test_of_the_zoo"
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, name, lambda cfg: None)
    with pytest.raises(UserError, match=f"{name} reads its file by code of its own.*: write {zoo.weights_of()}"):
        build_checked(config(NAME=name))


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[1, 2]",
        json.dumps({"config": 7}),
        json.dumps({"config": "MODEL: ["}),
        json.dumps({"config": "MODEL: {BACKBONE: [1]}"}),
        json.dumps({"config": "MODEL: {BACKBONE: &a {NAME: x, DEPTH: *a}}"}),
        json.dumps({"config": "MODEL: !!python/object/apply:os.system [touch evil]"}),
        json.dumps({"config": "[ 1," * 15_000}),
        json.dumps({"config": "MODEL: {BACKBONE: {NAME: " + "x" * 70_000 + "}}"}),
        " " * (1 << 21),
    ],
)
def test_what_a_file_of_anybody_says_of_its_trunk(text, theirs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    safetensors.torch.save_file({"weight": torch.zeros(1)}, "x.safetensors", {KEY: text})
    assert other_keys("x.safetensors", theirs) == ""
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_odd_values_in_a_file_of_anybody(theirs, tmp_path):
    text = json.dumps({"config": "MODEL: {BACKBONE: {NAME: 'a\\nb', DEPTH: [1], NORM: " + "n" * 500 + ", NOWHERE: 1}}"})
    safetensors.torch.save_file({"weight": torch.zeros(1)}, tmp_path / "x.safetensors", {KEY: text})
    found = other_keys(tmp_path / "x.safetensors", theirs)
    assert found.startswith("MODEL.BACKBONE.") and "\n" not in found and len(found) < 400
    assert "NOWHERE" not in found and "DEPTH" not in found


def test_keys_of_nodes_below(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours, other = (
        {"NAME": "a", "PART": {"WIDTH": 32, "BLOCKS": [1]}},
        {"NAME": "a", "PART": {"WIDTH": 64, "BLOCKS": [2]}},
    )
    text = json.dumps({"config": yaml.safe_dump({"MODEL": {"BACKBONE": ours}})})
    safetensors.torch.save_file({"weight": torch.zeros(1)}, "x.safetensors", {KEY: text})
    assert other_keys("x.safetensors", other) == "MODEL.BACKBONE.PART.WIDTH 32"


def test_it_teaches():
    cfg = config("")
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.KD.TEACHER = False, "zoo"
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [64, 32]
    student = build_model(cfg)
    distillation = distillation_of(cfg, student)
    dim = record_in(zoo.weights_of()).dim
    assert distillation.target(torch.rand(2, 3, 64, 32) * 255).shape == (2, dim)
    cfg.KD.TEACHER_WEIGHTS = "x.pth"
    with pytest.raises(UserError, match="has weights in it: leave KD.TEACHER_WEIGHTS out"):
        distillation_of(cfg, student)


def test_a_trunk_in_which_non_local_blocks_stand(monkeypatch):
    """The trunk inside is built, and loaded, by us; a builder of someone else's in there is still one."""
    cfg = config(NAME="build_dnl_backbone")
    cfg.MODEL.BACKBONE.DNL.TRUNK, cfg.MODEL.BACKBONE.DNL.BLOCKS = "build_narrow_resnet_backbone", [0, 1, 1, 0]
    found = build_checked(cfg).backbone.state_dict()
    kept = read_safetensors(zoo.weights_of())[0]
    assert all(torch.equal(found[key.removeprefix("backbone.")], kept[key]) for key in kept if "backbone." in key)
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "build_theirs", lambda cfg: None)
    cfg.MODEL.BACKBONE.DNL.TRUNK = "build_theirs"
    with pytest.raises(UserError, match="and build_theirs reads its file by code of its own"):
        build_checked(cfg)


@pytest.mark.parametrize("changed", [{"DEPTH": "18x"}, {"NAME": "build_osnet_backbone", "DEPTH": "x0_25"}])
def test_a_sentence_on_what_the_file_has_is_true(changed):
    """It has instance norm, wherever this trunk has blocks that the file lacks."""
    with pytest.raises(UserError, match="the trunk in it is that of MODEL.BACKBONE") as caught:
        build_model(config(**changed))
    assert "without what MODEL.BACKBONE.WITH_IBN" not in str(caught.value)
