"""timm's networks as trunks: the same numbers as timm's own, stage by stage, or one sentence."""

import re
import sys
from pathlib import Path

import pytest
import shapes
import timm
import torch
from timm_networks import awake, built, by_stage, config, make
from torch import nn

from fastreid_ext.errors import ConfigError, MissingExtraError
from fastreid_ext.modeling.residual_blocks import block_count, following_block
from fastreid_ext.modeling.timm_anatomy import parts_of
from fastreid_ext.modeling.timm_trunk import OLDEST, create_network, import_timm, pixels_of
from fastreid_ext.modeling.trunk import (
    STAGES,
    last_map_rows,
    last_module,
    stage_channels,
    stage_shapes,
    trunk_of,
)

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


@pytest.mark.parametrize("version", ["0.9.16", "1.0.22"])
def test_a_timm_that_is_too_old(version, monkeypatch):
    monkeypatch.setattr(timm, "__version__", version)
    with pytest.raises(
        MissingExtraError, match=f"needs timm 1.0.23 or newer, and this is timm {version}: pip install -U"
    ):
        make("test_resnet")


@pytest.mark.parametrize("version", ["1.0.23", "1.1.0.dev0", "2.0"])
def test_a_timm_that_is_new_enough(version, monkeypatch):
    monkeypatch.setattr(timm, "__version__", version)
    assert import_timm() is timm


def test_the_extra_asks_for_the_same_timm():
    text = (Path(__file__).parents[2] / "setup.py").read_text(encoding="utf-8")
    asked = re.findall(r'"timm": \[\s*"timm>=([\d.]+)"', text)
    assert [tuple(map(int, one.split("."))) for one in asked] == [OLDEST]


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


class Toy(nn.Module):
    """Four stages; between two of them something may happen that no module does."""

    def __init__(self, between=lambda y: y):
        super().__init__()
        self.between = between
        self.stem, self.stages = nn.Conv2d(3, 4, 4, 4), nn.Sequential(*(nn.Conv2d(4, 4, 2, 2) for _ in range(3)))
        names = ("stem", "stages.0", "stages.1", "stages.2")
        self.feature_info = [
            {"module": name, "reduction": share, "num_chs": 4}
            for name, share in zip(names, (4, 8, 16, 32), strict=True)
        ]

    def forward_features(self, images):
        return self.stages(self.between(self.stem(images)))


def test_what_happens_between_modules_is_noticed():
    assert parts_of(Toy().eval(), "toy").names == ("stem", "stages.0", "stages.1", "stages.2")
    for between in (torch.relu, lambda y: y + 0, lambda y: y.permute(0, 2, 3, 1).permute(0, 3, 1, 2)):
        with pytest.raises(ConfigError, match="toy is no trunk .* its modules do not run one after another"):
            parts_of(Toy(between).eval(), "toy")


@pytest.mark.slow
def test_a_last_downsampling_that_stays():
    """Its convolutions are mixed for each image by code of their own."""
    with pytest.raises(ConfigError, match="can't be taken out: set MODEL.BACKBONE.LAST_STRIDE 2"):
        make("tf_efficientnet_cc_b0_4e", LAST_STRIDE=1)
    assert stage_shapes(make("tf_efficientnet_cc_b0_4e"))[4].reduction == 32
