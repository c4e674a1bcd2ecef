"""How the layers beside the trunk start: as in the authors' code, or as torch's do."""

import pytest
import torch
from fastreid.modeling import build_model
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.msreid.heads import MaskSeparatedHead


@pytest.fixture
def parts(small, make_cfg):
    def build(init):
        torch.manual_seed(0)
        keys = {"MODEL.MSREID.INIT": init, "MODEL.MSREID.DIM": 96, "MODEL.HEADS.NUM_CLASSES": 200}
        model = build_model(make_cfg({**small, **keys}))
        return {"attention": model.attention, "mask": model.heads.mask, "reduce": model.heads.reduce}, model

    return build


@pytest.mark.parametrize(("init", "variance"), [("authors", 2.0), ("torch", 1 / 3)])
def test_the_spread_of_convolutions(parts, init, variance):
    """Their variance is 2 / inputs (He et al.) or torch's 1 / (3 inputs); of 2,000 numbers it is within 15 %."""
    found, _ = parts(init)
    large = [
        layer
        for part in found.values()
        for layer in part.modules()
        if isinstance(layer, nn.Conv2d) and layer.weight.numel() > 2000
    ]
    assert len(large) > 10
    for layer in large:
        inputs = layer.weight[0].numel()
        assert abs(layer.weight.var().item() * inputs / variance - 1) < 0.15
        if layer.bias is not None:
            assert bool((layer.bias == 0).all()) == (init == "authors")


@pytest.mark.parametrize(("init", "std"), [("authors", 0.001), ("torch", 0.01)])
def test_the_spread_of_classifiers(parts, init, std):
    _, model = parts(init)
    for neck in model.heads.necks.values():
        assert abs(neck.weight.std().item() / std - 1) < 0.05 and abs(neck.weight.mean().item()) < 0.05 * std


def test_the_trunk_and_the_norms_start_as_ever(parts):
    (_, authors), (_, torchs) = parts("authors"), parts("torch")
    assert all(
        torch.equal(a, b)
        for a, b in zip(authors.backbone.state_dict().values(), torchs.backbone.state_dict().values(), strict=True)
    )
    for layer in authors.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer not in list(authors.backbone.modules()):
            assert (layer.weight == 1).all() and (layer.bias == 0).all()


def test_another_start(parts):
    with pytest.raises(ConfigError, match=r"MODEL.MSREID.INIT must be one of \('authors', 'torch'\), got 'zeros'"):
        MaskSeparatedHead(local_channels=8, global_channels=16, num_classes=5, dim=6, init="zeros")
