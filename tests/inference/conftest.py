"""A tiny model of each kind that an extractor can be made of."""

import numpy as np
import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.modeling import build_model
from PIL import Image

from fastreid_ext import Extractor
from fastreid_ext.inference.weights_file import save_weights_file
from fastreid_ext.model_zoo import get_config

TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "50x",  # the default: the tiny one reads neither
    "MODEL.BACKBONE.FEAT_DIM": 64,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "TEST.IMS_PER_BATCH": 4,
    "DATALOADER.NUM_WORKERS": 0,
}


def tiny_config(name="demo/baseline.yml", **changed):
    cfg = get_config(name)
    pairs = TINY | {key.replace("__", "."): value for key, value in changed.items()}
    cfg.merge_from_list([item for pair in pairs.items() for item in pair])
    return cfg


@pytest.fixture(scope="session")
def trained():
    """Config and model, in eval mode."""
    torch.manual_seed(0)
    cfg = tiny_config()
    return cfg, build_model(cfg).eval()


@pytest.fixture(scope="session")
def extractor(trained):
    return Extractor.of_model(*trained)


@pytest.fixture(scope="session")
def weights_file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights_file(path, *trained)
    return path


@pytest.fixture(scope="session")
def run_folder(trained, tmp_path_factory):
    """A run's folder, with the config of another machine and data sets that are not here."""
    cfg, model = trained
    folder = tmp_path_factory.mktemp("run")
    cfg = cfg.clone()
    cfg.DATASETS.NAMES, cfg.DATASETS.CSV, cfg.MODEL.DEVICE = ("Nowhere",), ["nowhere.csv"], "cuda"
    (folder / "config.yaml").write_text(cfg.dump())
    torch.save({"model": model.state_dict(), "epoch": 3}, folder / "model_best.pth")
    return folder


@pytest.fixture(scope="session")
def image():
    """(H, W, 3) uint8, RGB."""
    return np.random.default_rng(0).integers(0, 256, (90, 40, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Six PNG files of several sizes, whose names are not in the order of their making."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(1)
    for name in ("f", "b", "d", "a", "e", "c"):
        pixels = rng.integers(0, 256, (*rng.integers(20, 90, 2), 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return sorted(folder.iterdir())
