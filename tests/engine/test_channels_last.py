"""MODEL.CHANNELS_LAST: the same model in another layout of memory, which is kept wherever the model is built."""

import numpy as np
import pytest
import torch
from torch import nn

from fastreid_ext import Extractor
from fastreid_ext.config import get_cfg
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.model import build_model
from fastreid_ext.engine.trained import config_file_of, load_trained
from fastreid_ext.export import exporting
from fastreid_ext.export.graph import FeatureGraph
from fastreid_ext.inference.weights_file import save_weights_file

CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # float32, sums in another order, divided by the spread of eight images


def make(channels_last, *opts):
    cfg = get_cfg()
    keys = ["MODEL.CHANNELS_LAST", channels_last, "MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 4]
    merge_config(cfg, config_file_of("zoo/wide.yml"), [*map(str, keys), *opts])
    return cfg


def weights(model):
    return [module.weight for module in model.modules() if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (96, 48, 3), dtype=np.uint8)


def test_features_and_losses_are_those_of_the_usual_layout():
    images, targets = torch.rand(8, 3, 128, 64) * 255, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    found = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        model = build_model(make(channels_last))
        assert all(w.is_contiguous(memory_format=torch.channels_last) == channels_last for w in weights(model))
        outputs = model.branches(images - 128, targets)["global"]
        assert model.backbone(images).is_contiguous(memory_format=torch.channels_last) == channels_last
        found.append(outputs)
    for name in ("feature", "logits"):
        torch.testing.assert_close(found[0][name], found[1][name], **CLOSE)


def test_files_of_weights_keep_it_and_give_the_same_bits(tmp_path, image):
    cfg = make(True)
    torch.manual_seed(0)
    model = build_model(cfg)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    loaded = load_trained(cfg).eval()
    save_weights_file(tmp_path / "model.safetensors", cfg, loaded)
    extractor = Extractor(tmp_path / "model.safetensors", device="cpu")
    assert all(
        w.is_contiguous(memory_format=torch.channels_last) for w in [*weights(loaded), *weights(extractor.model.model)]
    )
    features = extractor([image], order="RGB")
    assert np.array_equal(features, Extractor.of_model(cfg, loaded)([image], order="RGB"))
    usual = Extractor("zoo/wide.yml", tmp_path / "model.pth", device="cpu", opts=["MODEL.CHANNELS_LAST", False])
    np.testing.assert_allclose(features, usual([image], order="RGB"), rtol=0, atol=1e-5)


def test_an_export_has_the_usual_layout():
    """torch.export would write weights that it takes for incomplete ones."""
    cfg = make(True)
    model = build_model(cfg).eval()
    graph = FeatureGraph(model, exporting._record(cfg, model, exporting.Options("torch-export", "a.pt2")))
    assert all(w.is_contiguous() for w in graph.state_dict().values())
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights(model))  # left as it was
