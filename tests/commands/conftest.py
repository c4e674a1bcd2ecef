"""What the tests of commands share; each has a ``call(...)`` of its own, which returns the exit status."""

import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.modeling import build_model

from fastreid_ext.model_zoo import get_config


@pytest.fixture
def fails(call, sentence_of, tmp_path):
    """``fails(...)``: the one sentence of a ``call(...)`` that ends with status 1 and writes nothing into ``out``."""

    def run(*args, **kwargs):
        sentence = sentence_of(call(*args, **kwargs))
        assert not list((tmp_path / "out").glob("*"))
        return sentence

    return run


@pytest.fixture(scope="session")
def config_of():
    """``config_of("demo/mgre.yml", pairs, KEY__BELOW=value)``: a shipped config with overrides."""

    def make(name, pairs, **overrides):
        cfg = get_config(name)
        flat = [str(x) for key, value in overrides.items() for x in (key.replace("__", "."), value)]
        cfg.merge_from_list([*pairs, *flat])
        return cfg

    return make


@pytest.fixture(scope="session")
def random_run(config_of, tmp_path_factory):
    """``random_run(name, pairs, change)``: the folder of a run that left five identities out, with random weights."""

    def make(name, pairs, change=lambda model: None):
        folder = tmp_path_factory.mktemp("run")
        cfg = config_of(name, pairs, MODEL__HEADS__NUM_CLASSES=7, DATASETS__VALIDATION=5)
        torch.manual_seed(0)
        model = build_model(cfg)
        change(model)
        torch.save({"model": model.state_dict()}, folder / "model.pth")
        (folder / "config.yaml").write_text(cfg.dump())
        return folder

    return make
