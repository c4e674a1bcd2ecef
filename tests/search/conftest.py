"""Feature stores without a model, and a small model that makes them."""

import numpy as np
import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.modeling import build_model

from fastreid_ext.model_zoo import get_config
from fastreid_ext.search.features import open_store
from fastreid_ext.search.image_list import ImageList
from fastreid_ext.search.writer import FeatureWriter

IDENTITY = {
    "architecture": "Baseline",
    "model_sha256": "a" * 64,
    "config_sha256": "b" * 64,
    "metric": "cosine",
    "flip": False,
}
PAIRS = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "50x",  # the default: the tiny one reads neither
    "MODEL.BACKBONE.WITH_IBN": False,
    "MODEL.MSREID.ATTENTION": False,
    "MODEL.MSREID.LOCAL": False,
    "MODEL.MSREID.MASK": False,
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "TEST.IMS_PER_BATCH": 8,
    "DATALOADER.NUM_WORKERS": 0,
}


@pytest.fixture
def identity():
    """``identity(metric="euclidean")``: what a store says of its model and config."""
    return lambda **changed: {**IDENTITY, **changed}


@pytest.fixture
def listed(tmp_path):
    """``listed(5)``: a list of so many images 0.jpg, 1.jpg, ... of persons 0, 0, 1, ... and cameras 0, 1, 0, ..."""
    return lambda count, prefix="": ImageList(
        tmp_path, [(f"{prefix}{n}.jpg", str(n // 2), str(n % 2)) for n in range(count)], "the list of a test"
    )


@pytest.fixture
def make_store(tmp_path, listed):
    """``make_store(features, metric="cosine", rows=None)``: a finished store of an array (N, D)."""

    def make(features, metric="cosine", rows=None, name="store", dtype="float32"):
        images = listed(len(features)) if rows is None else ImageList(tmp_path, rows, "the list of a test")
        writer = FeatureWriter(tmp_path / name, images, {**IDENTITY, "metric": metric}, dtype)
        writer.add(np.asarray(features, dtype=np.float32), len(features))
        writer.finish()
        return open_store(tmp_path / name)

    return make


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """``weights(seed)``: a checkpoint of a small MSReID with random weights."""
    folder = tmp_path_factory.mktemp("weights")

    def make(seed=0):
        path = folder / f"{seed}.pth"
        if not path.exists():
            torch.manual_seed(seed)
            cfg = get_config("demo/msreid.yml")
            cfg.merge_from_list([str(x) for pair in {**PAIRS, "MODEL.HEADS.NUM_CLASSES": 7}.items() for x in pair])
            torch.save({"model": build_model(cfg).state_dict()}, path)
        return path

    return make


@pytest.fixture(scope="session")
def model_arguments(weights):
    """``model_arguments(0, KEY=value)``: (--config-file ..., KEY VALUE ...) of that small model."""

    def arguments(seed=0, **changed):
        pairs = {"MODEL.WEIGHTS": weights(seed), **PAIRS, **{key.replace("__", "."): v for key, v in changed.items()}}
        return ["--config-file", "demo/msreid.yml"], [str(x) for pair in pairs.items() for x in pair]

    return arguments
