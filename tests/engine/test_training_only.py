"""What an evaluation does without, and what it does not: classifiers and what only training reads."""

import pytest
import torch
from fastreid.modeling import build_model

from fastreid_ext.engine.checkpoint import AtomicCheckpointer, CheckpointError
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config

CLASSIFIERS = {
    "msreid": ["heads.necks.global_.weight", "heads.necks.local.weight"],
    "deepminer": ["heads.necks.global_.weight", "heads.necks.ie3.weight"],
    "baseline": ["heads.weight"],
}
MODELS = ["msreid", "deepminer", "baseline", "occluded"]


def config(name, path="", classes=0):
    cfg = get_config(f"demo/{name}.yml")
    pairs = ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.LAST_STRIDE", 1, "MODEL.HEADS.NUM_CLASSES", classes]
    cfg.merge_from_list([*pairs, "INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "MODEL.WEIGHTS", str(path)])
    return cfg


@pytest.fixture(scope="module")
def states():
    """Project -> (model, state dict) of 11 identities."""
    made = {}

    def make(name):
        if name not in made:
            torch.manual_seed(0)
            model = build_model(config(name, classes=11)).eval()
            made[name] = model, model.state_dict()
        return made[name]

    return make


def features(model):
    torch.manual_seed(1)
    with torch.no_grad():
        return model.eval()(torch.rand(2, 3, 64, 32) * 255)


@pytest.mark.parametrize(("name", "classes"), [(name, 5) for name in MODELS] + [("msreid", 0)])
def test_a_classifier_of_another_size_does_not_stop_it(states, tmp_path, name, classes):
    """K is the training set's; at evaluation it may be that of no data set at hand."""
    model, state = states(name)
    torch.save({"model": state}, tmp_path / "model.pth")
    loaded = load_trained(config(name, tmp_path / "model.pth", classes))
    torch.testing.assert_close(features(loaded), features(model), rtol=0, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_what_only_training_reads_may_be_missing(states, tmp_path, name):
    model, state = states(name)
    unneeded = ("criterion.", "heads.reconstructive_pooling.", *CLASSIFIERS.get(name, ()))
    kept = {key: value for key, value in state.items() if not key.startswith(unneeded)}
    assert len(kept) < len(state)
    if name == "occluded":
        assert any(key.startswith("heads.reconstructive_pooling.") for key in state)
    torch.save({"model": kept}, tmp_path / "model.pth")
    loaded = load_trained(config(name, tmp_path / "model.pth"))
    torch.testing.assert_close(features(loaded), features(model), rtol=0, atol=0)


NEEDED = {
    "msreid": ["heads.mask.body.6.bias", "heads.reduce.local.shortcut.1.running_var"],
    "deepminer": ["heads.necks.local.bnneck.running_mean"],
    "baseline": ["backbone.layer1.0.conv1.weight"],
    "occluded": ["heads.momentum_elimination.mu"],
}


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, keys in NEEDED.items() for key in keys])
def test_what_the_feature_needs_may_not(states, tmp_path, name, key):
    _, state = states(name)
    assert key in state
    torch.save({"model": {k: v for k, v in state.items() if k != key}}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=f"1 weights that the test feature needs .* such as .*{key}"):
        load_trained(config(name, tmp_path / "model.pth"))


def test_nor_may_it_have_another_shape(states, tmp_path):
    _, state = states("msreid")
    key = "attention.2.weigh.weight"
    torch.save({"model": state | {key: torch.zeros_like(state[key])[:, 1:]}}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=f"1 weights that the test feature needs .* such as .*{key}"):
        load_trained(config("msreid", tmp_path / "model.pth"))


@pytest.mark.slow
def test_training_goes_on_without(states, tmp_path, caplog):
    """Where part of a model is to start from (MODEL.WEIGHTS_PARTIAL), what is missing is said and no more."""
    _, state = states("msreid")
    torch.save({"model": {k: v for k, v in state.items() if k.startswith("backbone.")}}, tmp_path / "model.pth")
    checkpointer = AtomicCheckpointer(build_model(config("msreid", classes=5)))
    with pytest.raises(CheckpointError, match="is of another model: .*MODEL.WEIGHTS_PARTIAL True"):
        checkpointer.load(str(tmp_path / "model.pth"), checkpointables=[])
    caplog.clear()
    checkpointer.load(str(tmp_path / "model.pth"), checkpointables=[], partial=True)
    assert "missing     heads.necks.global_.bnneck.weight" in caplog.text


def test_load_trained_needs_weights(tmp_path):
    with pytest.raises(ConfigError, match="weights are missing: add MODEL.WEIGHTS"):
        load_trained(config("msreid"))
    with pytest.raises(CheckpointError, match="there is no checkpoint .*nowhere.pth"):
        load_trained(config("msreid", tmp_path / "nowhere.pth"))
    cfg = config("msreid", tmp_path / "nowhere.pth")
    cfg.MODEL.DEEPMINER.IE_BLOCKS = [1]
    with pytest.raises(ConfigError, match="MODEL.DEEPMINER.IE_BLOCKS has no effect here"):
        load_trained(cfg)


def test_load_trained_leaves_the_config_alone(states, tmp_path):
    _, state = states("msreid")
    torch.save({"model": state}, tmp_path / "model.pth")
    cfg = config("msreid", tmp_path / "model.pth")
    before = cfg.dump()
    cfg.freeze()
    load_trained(cfg)
    assert cfg.dump() == before and cfg.is_frozen()
