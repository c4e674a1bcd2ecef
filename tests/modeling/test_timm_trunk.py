"""timm's networks as trunks: the same numbers as timm's own, stage by stage, or one sentence."""

import functools
import logging
import re
import sys

import pytest
import shapes
import timm
import torch
from fastreid.modeling.backbones import build_backbone
from safetensors.torch import save_file
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.effects import without_effect
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.errors import ConfigError, MissingExtraError
from fastreid_ext.modeling import timm_weights
from fastreid_ext.modeling.residual_blocks import block_count, following_block
from fastreid_ext.modeling.timm_trunk import create_network, pixels_of
from fastreid_ext.modeling.trunk import (
    STAGES,
    last_map_rows,
    last_module,
    run_stage,
    run_stem,
    stage_channels,
    stage_shapes,
    trunk_of,
)
from fastreid_ext.modeling.weights import WeightsError

# name -> residual blocks of the stages, what gives the last map
QUICK = {
    "test_resnet": ((1, 1, 1, 1), "layer4.0"),
    "test_convnext": ((1, 2, 4, 2), "stages.3.blocks.1"),
    "test_efficientnet": ((1, 1, 1, 1), "bn2"),
    "mobilenetv4_conv_small_035": ((0, 0, 6, 6), "blocks.4.0"),
    "mobilenetv3_small_050": ((1, 2, 5, 3), "blocks.5.0"),
}
LARGER = {
    "regnety_002": ((1, 1, 4, 7), "s4.b7"),
    "resnest14d": ((1, 1, 1, 1), "layer4.0"),
    "convnextv2_atto": ((2, 2, 6, 2), "stages.3.blocks.1"),
    "mobilenetv4_conv_small": ((0, 0, 6, 6), "blocks.4.0"),
    "seresnet18": ((2, 2, 2, 2), "layer4.1"),
    "resnet26d": ((2, 2, 2, 2), "layer4.1"),
    "resnetblur50": ((3, 4, 6, 3), "layer4.2"),
    "res2net50_48w_2s": ((3, 4, 6, 3), "layer4.2"),
    "resnetv2_18": ((2, 2, 2, 2), "norm"),
    "densenet121": ((0, 0, 0, 0), "features.norm5"),
    "fastvit_t8": ((2, 2, 4, 2), "final_conv"),
    "vovnet39a": ((1, 1, 2, 2), "stages.3.blocks.1"),
    "tf_efficientnet_b0": ((2, 2, 6, 5), "bn2"),
    "mobileone_s0": ((4, 16, 20, 2), "stages.3.1"),
    "nf_resnet26": ((2, 2, 2, 2), "final_act"),
    "dpn48b": ((3, 4, 6, 3), "features.conv5_bn_ac"),
    "rexnet_100": ((2, 2, 6, 5), "features.16"),
    "dla34": ((1, 1, 1, 1), "level5"),
}
KNOWN = {**QUICK, **LARGER}
TRIED = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGER)]


def config(name, **keys):
    cfg = get_cfg()
    node = {"NAME": "build_timm_backbone", "TIMM.NAME": name, "PRETRAIN": False, "LAST_STRIDE": 2, **keys}
    cfg.merge_from_list([item for key, value in node.items() for item in (f"MODEL.BACKBONE.{key}", value)])
    return cfg


def make(name, **keys):
    return build_backbone(config(name, **keys))


@functools.cache
def built(name):
    """A trunk that is only looked at."""
    return make(name)


def by_stage(trunk, images):
    y = run_stem(trunk, images)
    for stage in STAGES:
        y = run_stage(trunk, stage, y)
    return y


def awake(network):
    """Branches that begin at almost nothing, as those of a ConvNeXt do, would hide what is in them."""
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=float(not name.endswith("bias")), std=0.2)
    return network


@pytest.mark.parametrize("name", TRIED)
def test_the_map_is_timms(name):
    """With copied weights, in training too; and every weight of the trunk has timm's name."""
    trunk = awake(make(name))
    other = timm.create_model(name, pretrained=False, num_classes=5).train()
    lacking = other.load_state_dict(trunk.state_dict(), strict=False)
    assert not lacking.unexpected_keys
    images = torch.randn(2, 3, 96, 64)
    for training in (False, True):
        with torch.no_grad():
            ours, theirs = by_stage(trunk.train(training), images), other.train(training).forward_features(images)
            assert ours.shape == theirs.shape and ours.std() > 1e-3
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-5)
    own = other.state_dict()
    for key, value in trunk.state_dict().items():  # batch norms saw the same
        assert torch.equal(value, own[key]), key
    with torch.no_grad():
        assert torch.equal(trunk.eval()(images), by_stage(trunk, images))
    again = make(name)
    again.load_state_dict(trunk.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), trunk(images))


@pytest.mark.parametrize("name", TRIED)
def test_stages_and_blocks(name):
    trunk, (counts, last) = built(name), KNOWN[name]
    assert [shape.reduction for shape in stage_shapes(trunk).values()] == [4, 8, 16, 32]
    assert tuple(block_count(trunk, stage) for stage in STAGES) == counts
    assert last_module(trunk) == last


def test_what_comes_before_the_first_block_at_a_quarter_is_the_stem():
    resnet, convnext, mobile = (built(f"test_{kind}").anatomy for kind in ("resnet", "convnext", "efficientnet"))
    assert resnet.stem.split()[-1] == "maxpool" and resnet.stages[0] == "layer1.0"
    assert convnext.stem == "stem.0 stem.1" and convnext.stages[0] == "stages.0.blocks.0"
    assert convnext.stages[1].startswith("+stages.1.downsample.0 +stages.1.downsample.1 stages.1.blocks.0")
    assert mobile.stages[3].endswith("+conv_head +bn2")


def test_nothing_is_built_that_does_not_run():
    """DDP would wait for the gradient of a classifier, or of a convolution behind the pooling."""
    for name in ("mobilenetv3_small_050", "test_convnext"):
        trunk = make(name)
        trunk(torch.randn(2, 3, 64, 32)).square().sum().backward()
        assert all(p.grad is not None for p in trunk.parameters())


@pytest.mark.parametrize("name", TRIED)
def test_the_last_downsampling_is_taken_out(name):
    """By the size of the map. The weights are those of a network that has it."""
    whole, fine = built(name), make(name, LAST_STRIDE=1)
    assert [shape.reduction for shape in stage_shapes(fine).values()] == [4, 8, 16, 16]
    assert (last_map_rows(whole, 256), last_map_rows(fine, 256), last_map_rows(fine, 384)) == (8, 16, 24)
    own = whole.state_dict()
    assert {key: value.shape for key, value in fine.state_dict().items()} == {key: own[key].shape for key in own}


def test_without_the_last_downsampling_every_second_place_is_as_before():
    """ConvNeXt's convolution of 2x2 pixels begins where it began: between these places there are new ones."""
    whole, fine = (make("test_convnext", LAST_STRIDE=stride).eval() for stride in (2, 1))
    fine.load_state_dict(whole.state_dict())
    y = torch.randn(2, stage_channels(whole)[3], 6, 4)
    shrink, keep = (trunk.get_submodule("stages.3.downsample") for trunk in (whole, fine))
    with torch.no_grad():
        before, now = (part._modules["1"](part._modules["0"](y)) for part in (shrink, keep))
    assert before.shape[2:] == (3, 2) and now.shape[2:] == (6, 4)
    assert torch.allclose(now[:, :, ::2, ::2], before, atol=1e-6)


REFUSED = {
    "beit_base_patch16_224": "no stage 1, whose map is at 1/4 of the image",
    "hrnet_w18_small": "its modules do not run one after another",
    "selecsls42b": "a fifth stage, at 1/64",
    "maxvit_tiny_tf_224": "takes images of some sizes only",
    "xception41": "stage 1 ends inside blocks.1",
    "mambaout_femto": "stage 1 ends inside stages",
    "inception_v3": "takes images of some sizes only",
}
QUICKLY_REFUSED = ("beit_base_patch16_224", "selecsls42b", "mambaout_femto")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICKLY_REFUSED else pytest.mark.slow) for n in REFUSED]
)
def test_what_is_no_trunk_says_why(name):
    with shapes.WithoutDraws(), pytest.raises(ConfigError) as error:
        make(name)
    said = str(error.value)
    assert f"timm's {name} " in said and REFUSED[name] in said and "\n" not in said
    assert said.endswith("choose another MODEL.BACKBONE.TIMM.NAME")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "TIMM.NAME is empty: name a network"),
        ("convnextv2_tyni", "no network of that name; did you mean convnextv2_tiny"),
        ("xyzzy", "no network of that name, as timm.list_models() lists them"),
        ("convnextv2_atto.nosuch", "has weights with the tags fcmae, fcmae_ft_in1k"),
        ("test_resnet.r160_in1k.x", "has weights with the tags r160_in1k"),
        ("hf-hub:timm/convnextv2_atto", "PRETRAIN_PATH hf-hub:OWNER/REPOSITORY"),
        ("local-dir:/etc", "those of a folder as the file in it"),
        ("../../etc/passwd", "must be one of timm's own names"),
    ],
)
def test_a_name_that_is_none(name, said):
    with pytest.raises(ConfigError) as error:
        make(name)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_tag_names_weights():
    with shapes.WithoutDraws():
        assert make("convnextv2_atto.fcmae").pretrained_cfg["tag"] == "fcmae"
        assert make("convnextv2_atto").pretrained_cfg["tag"] == "fcmae_ft_in1k"


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'fastreid-ext[timm]'")):
        make("test_resnet")
    assert pixels_of("test_resnet") == {}


# ---- weights ----


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
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1 and "MODEL.PIXEL_MEAN is [1.0, 2.0, 3.0], and timm's weights of" in said[0]
    assert "[127.5, 127.5, 127.5]" in said[0]


@pytest.mark.parametrize("key", ["DEPTH 18x", "NORM GN", "WITH_IBN True", "WITH_SE True", "WITH_NL True"])
def test_keys_that_say_nothing_of_timms_networks(tmp_path, key):
    name, value = key.split()
    said = list(without_effect(merged(tmp_path, "", f"MODEL.BACKBONE.{name}", value)))
    assert said == [
        f"MODEL.BACKBONE.{name} has no effect here: MODEL.BACKBONE.TIMM.NAME says all of a network of timm's"
    ]
    assert not list(without_effect(merged(tmp_path, "")))


# ---- further blocks ----


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet", "mobilenetv3_small_050"])
def test_a_block_goes_on_in_its_stage(name):
    trunk = trunk_of(config(name))  # without numbers, as MGRe's head looks at it
    for stage, channels in stage_channels(trunk).items():
        block = following_block(trunk, stage, channels)
        y = torch.randn(2, channels, 6, 4)
        block.train()(y).sum().backward()
        assert block(y).shape == y.shape and block.eval()(y).std() > 0
        assert all(p.grad is not None for p in block.parameters())
        other = following_block(trunk, stage, channels)
        pairs = list(zip(block.parameters(), other.parameters(), strict=True))
        assert all(one is not another for one, another in pairs)
        assert any(not torch.equal(one, another) for one, another in pairs)  # each draws its own numbers


def test_a_new_block_is_untrained():
    """What scales the branch of a ConvNeXt begins at 1e-6 in it, whatever it has become in the trunk."""
    trunk = awake(make("test_convnext"))
    block = following_block(trunk, 4, 64)
    first = create_network("test_convnext").get_submodule("stages.3.blocks.1")
    assert torch.equal(block.gamma, first.gamma) and not torch.equal(
        trunk.get_submodule("stages.3.blocks.1").gamma, block.gamma
    )
    assert (block.norm.weight == 1).all() and block.conv_dw.weight.std() > 0


def test_a_stage_that_ends_in_a_convolution_has_blocks_as_wide_inside_as_its_last():
    trunk = trunk_of(config("test_efficientnet"))
    last = trunk.get_submodule(trunk.anatomy.block_names(trunk, 4)[-1])
    block = following_block(trunk, 4, 256)
    assert block.conv_pw.in_channels == block.conv_pwl.out_channels == 256 != last.conv_pw.in_channels
    assert block.conv_dw.weight.shape == last.conv_dw.weight.shape


def test_a_block_that_cannot_be_made():
    """A stage of a cross-stage network is one block, which divides its channels in two."""
    trunk = built("cs3darknet_focus_s")
    with pytest.raises(ConfigError, match="can't be made from 63 to 63 channels: choose another .*MGRE.FE.BLOCKS 0"):
        following_block(trunk, 1, 63)
