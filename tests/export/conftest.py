"""A small model with random weights, and the command that exports it."""

import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.modeling import build_model

from fastreid_ext.cli import main
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.model_zoo import get_config

PAIRS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "50x",  # the default: the tiny one reads none
    "MODEL.BACKBONE.FEAT_DIM": 64,
    "MODEL.BACKBONE.WITH_IBN": False,
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "DATASETS.NAMES": "('SynthReIDTiny',)",
    "DATASETS.TESTS": "('SynthReIDTiny',)",
    "DATALOADER.NUM_WORKERS": 0,
}


def pairs_of(weights, **changed):
    pairs = {**PAIRS, "MODEL.WEIGHTS": weights, **{key.replace("__", "."): value for key, value in changed.items()}}
    return [str(item) for pair in pairs.items() for item in pair]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    cfg = get_config("demo/baseline.yml")
    cfg.merge_from_list([str(item) for pair in {**PAIRS, "MODEL.HEADS.NUM_CLASSES": 7}.items() for item in pair])
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"model": build_model(cfg).state_dict()}, path)
    return path


@pytest.fixture
def trained(weights, synth_tiny):
    """(config, model in eval mode)."""
    cfg = get_config("demo/baseline.yml")
    cfg.merge_from_list(pairs_of(weights))
    return cfg, load_trained(cfg).eval()


@pytest.fixture
def call(weights, synth_tiny, tmp_path):
    """``call("--format", "onnx", name="a.onnx", KEY__BELOW=value)``: the exit status. Files go to ``tmp_path/out``."""
    (tmp_path / "out").mkdir()

    def run(*options, name="a.onnx", config="demo/baseline.yml", **changed):
        line = ["export", "--config-file", config, "--output", str(tmp_path / "out" / name), *map(str, options)]
        return main([*line, *pairs_of(weights, **changed)])

    return run


@pytest.fixture
def fails(call, sentence_of, tmp_path):
    """``fails(...)``: the one sentence of a ``call(...)`` that ends with status 1 and writes nothing."""

    def run(*options, **settings):
        before = sorted((tmp_path / "out").iterdir())
        sentence = sentence_of(call(*options, **settings))
        assert sorted((tmp_path / "out").iterdir()) == before
        return sentence

    return run
