"""Weights of timm's networks, from files and the hub; their pixels, and the keys that say nothing of them."""

import logging
import re
import socket
import types

import pytest
import shapes
import timm
import torch
from fastreid.modeling.backbones import build_backbone
from huggingface_hub.utils import HfHubHTTPError
from safetensors.torch import save_file
from timm_networks import awake, config, make

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.effects import without_effect
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.modeling import timm_weights
from fastreid_ext.modeling.timm_trunk import build_timm_backbone
from fastreid_ext.modeling.weights import WeightsError


def file_of(folder, name, suffix=".safetensors", rename=lambda key: key):
    """Write the weights of a network with its classifier; return the file, and the network."""
    network = awake(timm.create_model(name, pretrained=False, num_classes=7))
    state = {rename(key): value.contiguous() for key, value in network.state_dict().items()}
    path = folder / f"weights{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save({"state_dict": state}, path)
    return path, network


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet"])
def test_a_file_is_loaded_whole(name, suffix, tmp_path, caplog):
    path, network = file_of(tmp_path, name, suffix)
    with caplog.at_level(logging.INFO):
        trunk = make(name, PRETRAIN=True, PRETRAIN_PATH=str(path))
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(trunk.eval()(images), network.eval().forward_features(images))
    assert "loaded all" in caplog.text and re.search("left out: (head|classifier)", caplog.text)


def of_its_authors(key):
    """ConvNeXt's names in the files of its authors."""
    key = re.sub(r"^stem\.", "downsample_layers.0.", key)
    key = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", key)
    key = re.sub(r"^(stages\.\d)\.blocks\.", r"\1.", key)
    key = key.replace("head.norm.", "norm.").replace("head.fc.", "head.")
    return key.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")


def test_a_file_with_the_names_of_the_networks_authors(tmp_path, caplog):
    path, network = file_of(tmp_path, "test_convnext", rename=of_its_authors)
    with caplog.at_level(logging.INFO):
        trunk = make("test_convnext", PRETRAIN=True, PRETRAIN_PATH=str(path))
    own = network.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in trunk.state_dict().items())
    assert "brought the file's names to timm's" in caplog.text


def test_weights_of_another_network(tmp_path):
    path, _ = file_of(tmp_path, "test_efficientnet")
    for name in ("test_convnext", "test_resnet"):
        with pytest.raises(WeightsError, match="does not fit the TimmTrunk"):
            make(name, PRETRAIN=True, PRETRAIN_PATH=str(path))


def test_what_is_no_file_of_weights_is_not_unpickled(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(WeightsError, match="can't be read safely"):
        make("test_resnet", PRETRAIN=True, PRETRAIN_PATH=str(path))


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub with one file, which is not on this machine before; what was asked of it."""
    path, _ = file_of(tmp_path, "test_resnet")
    asked = []

    def download(repository, file, revision=None):
        asked.append((repository, file, revision))
        if repository.startswith("timm/"):
            return str(path)
        raise ConnectionError("no way there\nand more")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url: None)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *given, **named: None)
    return asked


def test_weights_of_the_hub(hub):
    make("test_resnet", PRETRAIN=True)
    make("test_resnet.r160_in1k", PRETRAIN=True)
    make("test_resnet", PRETRAIN=True, PRETRAIN_PATH="hf-hub:timm/another@v2")
    assert hub == [("timm/test_resnet.r160_in1k", "model.safetensors", None)] * 2 + [
        ("timm/another", "model.safetensors", "v2")
    ]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("hf-hub:someone/else", r"could not be had from the hub \(no way there\): download it elsewhere and name"),
        ("hf-hub:../../etc", "must be written hf-hub:OWNER/REPOSITORY"),
        ("hf-hub:", "must be written hf-hub:OWNER/REPOSITORY"),
    ],
)
def test_what_the_hub_has_not(hub, path, said):
    with pytest.raises(WeightsError, match=said) as error:
        make("test_resnet", PRETRAIN=True, PRETRAIN_PATH=path)
    assert "\n" not in str(error.value)


def test_no_way_to_the_hub_is_said_at_once(monkeypatch, tmp_path):
    """huggingface_hub's download asks six times more, and waits 23 seconds between."""
    with socket.socket() as closed:  # its port refuses
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/{{repo_id}}/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        waits = []
        monkeypatch.setattr("time.sleep", waits.append)
        with pytest.raises(WeightsError, match=r"could not be had from the hub \(.*refused\): download it elsewhere"):
            make("test_resnet", PRETRAIN=True, PRETRAIN_PATH="hf-hub:someone/else")
    assert not waits


@pytest.mark.parametrize("status", [404, 503])
def test_what_the_hub_answers_is_left_to_the_download(hub, monkeypatch, status):
    def answered(url):
        raise HfHubHTTPError("no", response=types.SimpleNamespace(status_code=status, headers={}, request=None))

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", answered)
    make("test_resnet", PRETRAIN=True)
    assert len(hub) == 1


def test_no_silent_random_start():
    with (
        shapes.WithoutDraws(),
        pytest.raises(WeightsError, match="timm has no weights of ghostnet_050: name a file in"),
    ):
        make("ghostnet_050", PRETRAIN=True)


def test_weights_at_an_address(monkeypatch, tmp_path):
    """A few networks are not on the hub; a file that a break left behind is none."""
    path, network = file_of(tmp_path, "test_resnet", ".pth")
    monkeypatch.setattr(timm_weights, "torch_downloads", lambda: tmp_path / "new")
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, to, **named: path.rename(to))
    trunk = make("test_resnet")
    trunk.pretrained_cfg |= {"hf_hub_id": None, "url": "https://somewhere/net-1234.pth"}
    node = config("test_resnet").MODEL.BACKBONE
    assert timm_weights._published(trunk, node) == tmp_path / "new" / "net-1234.pth"
    assert timm_weights._published(trunk, node).is_file()  # it is there now
    trunk.pretrained_cfg |= {"url": "https://somewhere/other.pth"}
    with pytest.raises(WeightsError, match="could not be downloaded from https://somewhere/other.pth"):
        timm_weights._published(trunk, node)
    trunk.pretrained_cfg |= {"custom_load": True}
    with pytest.raises(WeightsError, match="in a format of their authors'"):
        timm_weights._published(trunk, node)


def test_where_the_weights_are_on_this_machine(hub, monkeypatch, tmp_path):
    """What `fastreid-ext doctor` says, without a network."""
    find, node = build_timm_backbone.pretrained_file, config("test_resnet").MODEL.BACKBONE
    with pytest.raises(WeightsError, match="downloaded when they are first needed, from timm/test_resnet.r160_in1k"):
        find(node)
    assert not hub
    there = tmp_path / "weights.safetensors"
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *given, **named: str(there))
    assert find(node) == there
    make("test_resnet", PRETRAIN=True)
    assert not hub  # a file that is here is not asked for again


def test_where_the_weights_of_another_repository_are(monkeypatch, tmp_path):
    asked = []

    def look(repository, file, revision=None):
        asked.append((repository, file, revision))
        return str(tmp_path / "weights.safetensors") if repository == "timm/another" else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look)
    (tmp_path / "weights.safetensors").touch()
    find = build_timm_backbone.pretrained_file
    node = config("test_resnet", PRETRAIN_PATH="hf-hub:timm/another@v2").MODEL.BACKBONE
    assert find(node) == tmp_path / "weights.safetensors"
    assert asked == [("timm/another", "model.safetensors", "v2")]
    node.PRETRAIN_PATH = "hf-hub:someone/else"
    with pytest.raises(WeightsError, match="weights of hf-hub:someone/else are downloaded .* from someone/else;"):
        find(node)


# ---- pixels, and keys without effect ----

ODD = "mobilenetv4_conv_small_035"  # its mean and deviation are 0.5


def merged(tmp_path, text, *overrides):
    path = tmp_path / "own.yml"
    path.write_text(f"MODEL: {{BACKBONE: {{NAME: build_timm_backbone, TIMM: {{NAME: {ODD}}}}}}}\n{text}")
    cfg = get_cfg()
    merge_config(cfg, str(path), overrides)
    return cfg


def test_mean_and_deviation_are_the_networks(tmp_path):
    cfg = merged(tmp_path, "")
    assert cfg.MODEL.PIXEL_MEAN == cfg.MODEL.PIXEL_STD == [127.5] * 3
    run = tmp_path / "config.yaml"
    cfg.MODEL.PIXEL_MEAN = [1.0, 2.0, 3.0]
    run.write_text(cfg.dump())
    again = get_cfg()
    merge_config(again, str(run), ())
    assert again.MODEL.PIXEL_MEAN == [1.0, 2.0, 3.0]  # what the run had
    of_imagenet = merged(tmp_path, "", "MODEL.BACKBONE.TIMM.NAME", "convnextv2_atto")
    assert of_imagenet.MODEL.PIXEL_MEAN == get_cfg().MODEL.PIXEL_MEAN


def test_others_are_a_warning(tmp_path, caplog):
    cfg = merged(tmp_path, "", "MODEL.PIXEL_MEAN", "[1.0, 2.0, 3.0]")
    assert cfg.MODEL.PIXEL_MEAN == [1.0, 2.0, 3.0] and cfg.MODEL.PIXEL_STD == [127.5] * 3
    path, _ = file_of(tmp_path, ODD)
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", str(path)])
    with caplog.at_level(logging.WARNING):
        build_backbone(cfg)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1 and "MODEL.PIXEL_MEAN is [1.0, 2.0, 3.0], and timm's weights of" in said[0]
    assert "[127.5, 127.5, 127.5]" in said[0]


@pytest.mark.parametrize(
    "key", ["DEPTH 18x", "DEPTH 50x", "NORM GN", "NORM BN", "WITH_IBN True", "WITH_SE True", "WITH_NL True"]
)
def test_keys_that_say_nothing_of_timms_networks(tmp_path, key):
    name, value = key.split()
    said = list(without_effect(merged(tmp_path, "", f"MODEL.BACKBONE.{name}", value)))
    assert said == [
        f"MODEL.BACKBONE.{name} has no effect here: MODEL.BACKBONE.TIMM.NAME says all of a network of timm's"
    ]
    assert not list(without_effect(merged(tmp_path, "")))
