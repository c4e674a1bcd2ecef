"""Every backbone of FastReID's and ours: its own code builds it, and ours loads it, whole or not at all."""

import functools
import inspect
import logging
import warnings

import pytest
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.backbones import resnet as host_resnet

from fastreid_ext.compat.names import plain_names
from fastreid_ext.config import get_cfg
from fastreid_ext.engine.model import build_model
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling import backbones, pretrained
from fastreid_ext.modeling.weights import WeightsError

# Builder -> its smallest depth, and one of another network.
DEPTHS = {
    "build_resnet_backbone": ("18x", "34x"),
    "build_dnl_resnet_backbone": ("18x", "34x"),
    "build_resnext_backbone": ("50x", "101x"),
    "build_resnest_backbone": ("50x", "101x"),
    "build_regnet_backbone": ("200x", "400x"),
    "build_effnet_backbone": ("b0", "b1"),
    "build_mobilenetv2_backbone": ("0.1x", "0.5x"),
    "build_mobilenetv3_backbone": ("Small", "Large"),
    "build_shufflenetv2_backbone": ("0.5x", "1.0x"),
    "build_osnet_backbone": ("x0_25", "x0_5"),
    "build_repvgg_backbone": ("A0", "B0"),
    "build_vit_backbone": ("small", "base"),
    "build_res2net_backbone": ("26x", "50x"),
}
# What FastReID or we add to a network that others publish.
ADDED = {"build_mobilenetv3_backbone": "conv.", "build_dnl_resnet_backbone": "NL_"}


def config(name, depth=None, path="weights.pth", **keys):
    cfg = get_cfg()
    settings = {"NAME": name, "DEPTH": depth or DEPTHS[name][0], "PRETRAIN": True, "PRETRAIN_PATH": str(path), **keys}
    cfg.merge_from_list([item for key, value in settings.items() for item in (f"MODEL.BACKBONE.{key}", value)])
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "INPUT.SIZE_TRAIN", [64, 32]])
    if name == "build_dnl_resnet_backbone":
        cfg.MODEL.BACKBONE.DNL.BLOCKS, cfg.MODEL.BACKBONE.DNL.REDUCTION = [0, 0, 0, 1], 4
    return cfg


def built(cfg):
    """A backbone without memory: what is loaded into it is counted, but not kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it does not keep it
        with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
            # The transformer reads numbers off it.
            patch.setattr(torch, "linspace", functools.partial(torch.linspace, device="cpu"))
            return build_backbone(cfg)


@functools.cache
def trunk_of(name, depth):
    return built(config(name, depth, PRETRAIN=False))


def shapes(name, depth):
    state = trunk_of(name, depth).state_dict()
    return {key: value.shape for key, value in state.items() if not key.startswith(ADDED.get(name, "-"))}


def published(name, depth=None):
    """Weights of all shapes that a network has, one number each, with a classifier."""
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes(name, depth or DEPTHS[name][0]).items()}
    return state | {"fc.weight": torch.zeros(10, 8), "head.fc.weight": torch.zeros(10, 8)}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return a function that makes a file hold some values, without the disk."""
    (tmp_path / "weights.pth").touch()

    def hold(values):
        monkeypatch.setattr(pretrained, "read_file", lambda path: values)
        return tmp_path / "weights.pth"

    return hold


def test_every_backbone_is_known():
    assert set(plain_names(BACKBONE_REGISTRY)) >= set(DEPTHS)
    ours = {name for name in DEPTHS if hasattr(BACKBONE_REGISTRY.get(name), "loads_whole")}
    assert ours == set(DEPTHS)
    assert all("build_" in inspect.unwrap(BACKBONE_REGISTRY.get(name)).__name__ for name in DEPTHS)


@pytest.mark.parametrize("name", DEPTHS)
def test_a_whole_file_is_loaded_whatever_wraps_it(name, file, caplog):
    state = published(name)
    with caplog.at_level(logging.INFO):
        built(config(name, path=file({"state_dict": {f"module.backbone.{key}": v for key, v in state.items()}})))
    count = sum(not key.endswith("num_batches_tracked") for key in state) - 2
    whole = f"loaded {count} of " if name in ADDED else f"loaded all {count} weights"
    assert whole in caplog.text and "left out: fc.weight, head.fc.weight" in caplog.text
    assert ("as this trunk adds them" in caplog.text) is (name in ADDED)


@pytest.mark.parametrize("name", DEPTHS)
def test_a_file_that_does_not_fit_is_refused(name, file):
    trunk, how = trunk_of(name, DEPTHS[name][0]), backbones.HOSTS.get(name, backbones.RESNET).load
    state = published(name)
    key = next(key for key in reversed(state) if key.endswith(".weight") and "fc" not in key)
    del state[key]
    with pytest.raises(WeightsError, match=rf"1 missing \(such as {key}\)"):
        pretrained.load_pretrained(trunk, file(state), **how)
    with pytest.raises(WeightsError, match="does not fit the .*: .*(missing|unexpected|another shape)"):
        pretrained.load_pretrained(trunk, file(published(name, DEPTHS[name][1])), **how)


def test_what_a_config_may_say(file):
    part = published("build_resnet_backbone")
    del part["conv1.weight"]
    built(config("build_resnet_backbone", path=file(part), PRETRAIN_PARTIAL=True))
    with pytest.raises(WeightsError, match="1 missing"):
        built(config("build_resnet_backbone", path=file(part)))
    with pytest.raises(WeightsError, match="there is no file gone.pth: check MODEL.BACKBONE.PRETRAIN_PATH"):
        built(config("build_resnet_backbone", path="gone.pth"))


def test_the_values_arrive(tmp_path):
    state = {key: torch.rand(shape) for key, shape in shapes("build_resnet_backbone", "18x").items()}
    torch.save({"model": state}, tmp_path / "weights.pth")
    trunk = build_backbone(config("build_dnl_resnet_backbone", path=tmp_path / "weights.pth"))
    loaded = {key: value for key, value in trunk.state_dict().items() if "num_batches" not in key}
    assert all(torch.equal(value, state[key]) for key, value in loaded.items() if not key.startswith("NL_"))


def test_another_depth_of_the_same_shapes_is_refused(file):
    """All of a ResNet-50 is in a ResNet-101."""
    with pytest.raises(WeightsError, match=r"unexpected .*23 blocks in layer3.* this one is .* 6 blocks in layer3"):
        built(config("build_resnet_backbone", "50x", file(published("build_resnet_backbone", "101x"))))


def test_variants_are_named(file):
    plain = file(published("build_resnet_backbone"))
    for key in ("WITH_IBN", "WITH_SE"):
        with pytest.raises(WeightsError, match=f"missing .*without what MODEL.BACKBONE.{key} True builds"):
            built(config("build_resnet_backbone", path=plain, **{key: True}))
    built(config("build_resnet_backbone", "50x", file(published("build_resnet_backbone", "50x")), WITH_NL=True))


def test_positions_of_a_transformer_are_resized(file):
    trunk = built(config("build_vit_backbone", PRETRAIN=False))  # for images of 4 x 2 patches
    resize = backbones.HOSTS["build_vit_backbone"].load["adapt"]
    grid = torch.rand(1, 1 + 14 * 14, 768)
    resized = resize(trunk, {"pos_embed": grid})["pos_embed"]
    assert torch.equal(resized[:, 0], grid[:, 0]) and resized.shape == trunk.pos_embed.shape == (1, 1 + 4 * 2, 768)
    two = torch.cat([grid[:, :1], torch.rand(1, 1, 768), grid[:, 1:]], dim=1)
    distilled = resize(trunk, {"pos_embed": two, "dist_token": torch.zeros(1, 1, 768)})
    assert torch.equal(distilled["pos_embed"], resized)
    flat = resize(trunk, {"patch_embed.proj.weight": torch.zeros(768, 3 * 16 * 16)})
    assert flat["patch_embed.proj.weight"].shape == (768, 3, 16, 16)
    state = published("build_vit_backbone")
    built(config("build_vit_backbone", path=file(state | {"pos_embed": grid})))
    with pytest.raises(WeightsError, match=r"1 of another shape \(such as pos_embed\)"):
        built(config("build_vit_backbone", path=file(state | {"pos_embed": grid[:, :-1]})))


def test_without_a_path_fastreid_downloads(file, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "checkpoints" / "resnet18-5c106cde.pth"

    def download(key):
        asked.append(key)
        if key == "ibn_18x":
            raise ConnectionError("no route to host\nmore of it")
        place.parent.mkdir()
        place.touch()

    asked = []
    monkeypatch.setattr(host_resnet, "init_pretrained_weights", download)
    file(published("build_resnet_backbone"))
    for _ in range(2):
        built(config("build_resnet_backbone", path=""))
    assert asked == ["18x"]
    with pytest.raises(WeightsError, match=r"resnet18_ibn_a.* could not be downloaded .*\(no route to host\): put it"):
        built(config("build_resnet_backbone", path="", WITH_IBN=True))


def test_without_a_path_nothing_that_nobody_publishes(monkeypatch, tmp_path):
    for name in ("build_mobilenetv2_backbone", "build_repvgg_backbone", "build_shufflenetv2_backbone"):
        with pytest.raises(WeightsError, match=f"FastReID knows no ImageNet weights of {name} .*: name a file of your"):
            built(config(name, path=""))
    with pytest.raises(WeightsError, match="no ImageNet weights of build_resnet_backbone 18x and WITH_SE"):
        built(config("build_resnet_backbone", path="", WITH_SE=True))


@pytest.mark.parametrize("name", ["build_shufflenetv2_backbone", "build_mobilenetv3_backbone"])
def test_a_depth_that_it_has_not(name):
    with pytest.raises(ConfigError, match=f"MODEL.BACKBONE.DEPTH is '50x', and {name} has .*(0.5x|Small)"):
        build_model(config(name, "50x", PRETRAIN=False))


def test_a_depth_of_a_transformer_and_one_that_half_of_fastreids_tables_have():
    with pytest.raises(ConfigError, match="MODEL.BACKBONE.DEPTH is 'tiny', and build_vit_backbone has small, base"):
        build_model(config("build_vit_backbone", "tiny", PRETRAIN=False))
    with pytest.raises(
        ConfigError, match="'152x', a depth that is none of build_resnext_backbone, which has 50x, 101x$"
    ):
        build_model(config("build_resnext_backbone", "152x", PRETRAIN=False))


@pytest.mark.parametrize("name", ["build_osnet_backbone", "build_regnet_backbone", "build_mobilenetv2_backbone"])
def test_group_norm_in_a_trunk_with_few_channels(name):
    message = f"MODEL.BACKBONE.NORM GN has 32 groups, and {name} .* has channels that .*: set another NORM"
    with pytest.raises(ConfigError, match=message):
        built(config(name, PRETRAIN=False, NORM="GN"))


def test_group_norm_of_pooled_vectors():
    """Each group of a ResNeSt's attention would be one number, which its own mean makes 0."""
    message = "MODEL.BACKBONE.NORM GN .* build_resnest_backbone 50x .* 32 numbers .*: set another NORM"
    with pytest.raises(ConfigError, match=message):
        built(config("build_resnest_backbone", PRETRAIN=False, NORM="GN"))


def test_a_config_of_fastreid_alone(file):
    """FastReID's own scripts have no key of ours."""
    from fastreid.config import get_cfg as host_get_cfg

    cfg = host_get_cfg()
    cfg.MODEL.BACKBONE.update(DEPTH="18x", PRETRAIN=True, PRETRAIN_PATH=str(file(published("build_resnet_backbone"))))
    built(cfg)
    assert set(backbones.HOSTS) == {
        name for name in DEPTHS if name not in ("build_dnl_resnet_backbone", "build_res2net_backbone")
    }


def test_files_of_its_own_that_a_backbone_lacks(monkeypatch, tmp_path):
    """FastReID names RegNet's files from the folder that the package is in, wherever the run is started."""
    monkeypatch.chdir(tmp_path)
    built(config("build_regnet_backbone", PRETRAIN=False))
    (tmp_path / "fastreid").mkdir()
    monkeypatch.setattr(backbones.fastreid, "__file__", str(tmp_path / "fastreid" / "__init__.py"))
    with pytest.raises(ConfigError, match="build_regnet_backbone reads .*yaml, which this FastReID was"):
        built(config("build_regnet_backbone", PRETRAIN=False))
