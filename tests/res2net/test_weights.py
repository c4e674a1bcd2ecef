"""Pretrained weights: every key accounted for, or one sentence."""

import logging
from pathlib import Path

import pytest
import torch
from fastreid.modeling.backbones import build_backbone
from timm.models.res2net import Bottle2neck
from timm.models.resnet import ResNet

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.errors import ConfigError
from fastreid_ext.res2net import Res2Net
from fastreid_ext.res2net.weights import PUBLISHED, pretrained_file

# Of layer1's first two blocks in the authors' res2net50_26w_4s: what torch prints of their model.
AUTHORS = {
    "layer1.0.conv1.weight": (104, 64, 1, 1),
    "layer1.0.bn1.weight": (104,),
    **{f"layer1.0.convs.{i}.weight": (26, 26, 3, 3) for i in range(3)},
    **{f"layer1.0.bns.{i}.running_var": (26,) for i in range(3)},
    "layer1.0.conv3.weight": (256, 104, 1, 1),
    "layer1.0.bn3.bias": (256,),
    "layer1.0.downsample.0.weight": (256, 64, 1, 1),
    "layer1.0.downsample.1.running_mean": (256,),
    "layer1.1.conv1.weight": (104, 256, 1, 1),
    "layer4.2.convs.2.weight": (208, 208, 3, 3),
    "layer4.2.conv3.weight": (2048, 832, 1, 1),
}


@pytest.fixture(scope="module")
def published():
    """A state dict as the authors publish them, with its classifier: timm's model has their names."""
    torch.manual_seed(1)
    state = ResNet(Bottle2neck, [2, 2, 2, 2], base_width=26, block_args={"scale": 4}).state_dict()
    # No value that a new backbone has too, such as a running variance of 1.
    return {key: torch.rand_like(value) if value.is_floating_point() else value for key, value in state.items()}


def config(path="", **overrides):
    cfg = get_cfg()
    settings = {"NAME": "build_res2net_backbone", "DEPTH": "26x", "PRETRAIN": True, "PRETRAIN_PATH": str(path)}
    settings |= overrides
    cfg.merge_from_list([x for key, v in settings.items() for x in (f"MODEL.BACKBONE.{key.replace('__', '.')}", v)])
    return cfg


def saved(state, tmp_path, **options):
    torch.save(state, tmp_path / "weights.pth", **options)
    return tmp_path / "weights.pth"


def test_the_authors_layout():
    with torch.device("meta"):
        state = Res2Net((3, 4, 6, 3)).state_dict()
    assert {key: tuple(state[key].shape) for key in AUTHORS} == AUTHORS
    assert not any("pool" in key for key in state)


@pytest.mark.parametrize("form", ["bare", "before counters, old format", "DataParallel checkpoint"])
def test_every_weight_is_loaded(form, published, tmp_path, caplog):
    state, options = published, {}
    if form == "before counters, old format":  # of torch 1.0
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
        options = {"_use_new_zipfile_serialization": False}
    if form == "DataParallel checkpoint":
        state = {"epoch": 99, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    path = saved(state, tmp_path, **options)
    with caplog.at_level(logging.INFO):
        backbone = build_backbone(config(path))
    loaded = {key: value for key, value in backbone.state_dict().items() if not key.endswith("num_batches_tracked")}
    assert loaded and all(torch.equal(value, published[key]) for key, value in loaded.items())
    assert len(loaded) == sum(not key.endswith("num_batches_tracked") for key in published) - 2
    message = f"loaded all {len(loaded)} weights and buffers of the Res2Net from {path}; left out: fc.bias, fc.weight"
    assert message in caplog.messages


def test_without_pretrain_nothing_is_read():
    with torch.device("meta"):
        build_backbone(config("nowhere.pth", PRETRAIN=False))


def test_the_authors_file_is_found_where_torch_keeps_downloads(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    with torch.device("meta"), pytest.raises(ValueError) as error:
        build_backbone(config(DEPTH="50x"))
    place = tmp_path / "checkpoints" / "res2net50_26w_4s-06e79181.pth"
    assert f"{place} is not there: download {place.name}" in str(error.value) and "PRETRAIN False" in str(error.value)
    for (depth, width, scale, v1b), name in PUBLISHED.items():
        start = f"res2net{depth[:-1]}_{'v1b_' if v1b else ''}{width}w_{scale}s-"
        assert name.startswith(start) and name.endswith(".pth")
        with pytest.raises(ValueError, match=name):
            pretrained_file("", depth, width, scale, v1b)
    place.parent.mkdir()
    place.touch()
    assert pretrained_file("", "50x", 26, 4, False) == place


@pytest.mark.parametrize("overrides", [{}, {"DEPTH": "50x", "RES2NET__WIDTH": 30}, {"RES2NET__V1B": True}])
def test_what_nobody_publishes(overrides):
    with torch.device("meta"), pytest.raises(ValueError, match="no ImageNet weights are published for a Res2Net of"):
        build_backbone(config(**overrides))


def renamed(state, old, new):
    return {key.replace(old, new): value for key, value in state.items()}


def other(blocks=(2, 2, 2, 2), **kind):
    with torch.device("meta"):
        state = Res2Net(blocks, **kind).state_dict()
    return {key: torch.zeros(value.shape).expand(value.shape) for key, value in state.items()}


THIS = "this one is DEPTH 26x, WIDTH 26, SCALE 4, V1B False"
WRONG = {
    "one missing": (
        lambda state: {key: value for key, value in state.items() if key != "layer3.0.bns.1.bias"},
        rf"1 missing \(such as layer3.0.bns.1.bias\); it holds DEPTH 26x, WIDTH 26, SCALE 4, V1B False, and {THIS}",
    ),
    "one too many": (
        lambda state: state | {"layer3.0.se.weight": torch.zeros(1)},
        r"Res2Net of MODEL.BACKBONE: 1 unexpected \(such as layer3.0.se.weight\)",
    ),
    "a layer inside that is named like the classifier": (
        lambda state: state | {"layer3.0.fc.weight": torch.zeros(1)},
        r"1 unexpected \(such as layer3.0.fc.weight\)",
    ),
    "one renamed": (
        lambda state: renamed(state, "layer1.1.bns.0.weight", "layer1.1.norms.0.weight"),
        r"1 missing \(such as layer1.1.bns.0.weight\), 1 unexpected \(such as layer1.1.norms.0.weight\)",
    ),
    "another shape": (
        lambda state: state | {"layer1.0.convs.0.weight": torch.zeros(26, 26, 1, 1)},
        r"MODEL.BACKBONE: 1 of another shape \(such as layer1.0.convs.0.weight\)",
    ),
    "deeper": (lambda state: other((2, 2, 3, 2)), f"it holds DEPTH 29x, WIDTH 26, SCALE 4, V1B False, and {THIS}"),
    "more splits": (lambda state: other(width=14, scale=8), "it holds DEPTH 26x, WIDTH 14, SCALE 8, V1B False"),
    "v1b": (lambda state: other(v1b=True), "it holds DEPTH 26x, WIDTH 26, SCALE 4, V1B True"),
    "a ResNet": (lambda state: {"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}, "it holds no Res2Net, and"),
    "a Res2NeXt": (
        lambda state: state | {"layer1.0.convs.0.weight": torch.zeros(32, 4, 3, 3)},
        "it holds a Res2NeXt, and",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_weights_of_another_network(case, published, tmp_path):
    """Nothing is loaded then: half a network would train, and nobody would know."""
    change, message = WRONG[case]
    with pytest.raises(ValueError, match=message) as error:
        build_backbone(config(saved(change(dict(published)), tmp_path)))
    assert "\n" not in str(error.value)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil"),))


def test_files_that_are_no_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.pth").write_text("<html>not found</html>")
    Path("model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    torch.save({"conv1.weight": Evil()}, "code.pth")
    torch.save([1, 2], "list.pth")
    for name, message in {
        "text.pth": "can't be read safely as weights",
        "model.safetensors": "is damaged, or not in the format of safetensors",
        "code.pth": "can't be read safely as weights",
        "list.pth": "no state dict of tensors",
        "gone.pth": "there is no file gone.pth: check MODEL.BACKBONE.PRETRAIN_PATH",
        ".": r"\. can't be read safely as weights: it is a folder; name a file in it",
    }.items():
        with pytest.raises(ValueError, match=message) as error:
            build_backbone(config(name))
        assert "\n" not in str(error.value) and name in str(error.value)
    assert not Path("evil").exists()


def test_the_trainer_says_it_in_one_sentence(synth_tiny, tmp_path):
    cfg = config("gone.pth")
    settings = {"DATASETS.NAMES": ("SynthReIDTiny",), "DATASETS.TESTS": ("SynthReIDTiny",), "MODEL.DEVICE": "cpu"}
    settings |= {"DATALOADER.NUM_WORKERS": 0, "SOLVER.IMS_PER_BATCH": 16, "OUTPUT_DIR": str(tmp_path)}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    with pytest.raises(ConfigError, match="there is no file gone.pth"):
        Trainer(cfg)
