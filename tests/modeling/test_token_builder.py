"""Vision transformers by MODEL.BACKBONE.TIMM: sizes, switches, and files of weights for another grid."""

import logging

import pytest
import shapes
import timm
import torch
from fastreid.modeling.backbones import build_backbone
from safetensors.torch import save_file

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.effects import without_effect
from fastreid_ext.engine.model import build_model
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.backbones import fixed_last_stride, has_token_trunk
from fastreid_ext.modeling.token_trunk import TokenTrunk
from fastreid_ext.modeling.weights import WeightsError

TINY = "test_vit"  # timm's own for tests: six blocks of 64 channels


def config(name=TINY, **keys):
    cfg = get_cfg()
    keys = {"NAME": "build_timm_backbone", "TIMM.NAME": name, "PRETRAIN": False} | keys
    settings = {key if key.startswith("INPUT") else f"MODEL.BACKBONE.{key}": value for key, value in keys.items()}
    settings = {"INPUT.SIZE_TRAIN": [64, 32], "INPUT.SIZE_TEST": [64, 32], "MODEL.DEVICE": "cpu"} | settings
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    return cfg


@pytest.fixture
def published(tmp_path):
    """timm's network for square images, with a classifier, and a file of its weights."""
    torch.manual_seed(5)
    network = timm.create_model(TINY, num_classes=10, dynamic_img_size=True).eval()
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    return network, tmp_path / "vit.safetensors"


@torch.no_grad()
def test_a_file_of_timms_is_loaded_whole_and_resampled(published, caplog):
    network, file = published
    with caplog.at_level(logging.INFO):
        trunk = build_backbone(config(PRETRAIN=True, PRETRAIN_PATH=str(file))).eval()
    assert (
        f"loaded all {len(trunk.state_dict())} weights" in caplog.text
        and "left out: head.bias, head.weight" in caplog.text
    )
    assert trunk.grid == (4, 2) and trunk.pos_embed.shape == (1, 9, 64)
    images = torch.randn(2, 3, 64, 32)
    theirs = network.forward_features(images)[:, 1:].transpose(1, 2).unflatten(2, (4, 2))
    assert torch.allclose(trunk(images), theirs, atol=1e-5)
    assert torch.equal(trunk.cls_token, network.cls_token)


@torch.no_grad()
def test_a_trunk_of_ours_is_loaded_for_a_higher_image(published, tmp_path):
    """Its positions are two times as high as wide; behind whatever prefix the trunk stands."""
    trunk = build_backbone(config())
    torch.save({"model": {f"backbone.{k}": v for k, v in trunk.state_dict().items()}}, tmp_path / "run.pth")
    same = build_backbone(config(PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "run.pth")))
    assert all(torch.equal(value, trunk.state_dict()[name]) for name, value in same.state_dict().items())
    size = {"INPUT.SIZE_TRAIN": [96, 32]}
    higher = build_backbone(config(PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "run.pth"), **size))
    images = torch.randn(1, 3, 96, 32)
    assert higher.grid == (6, 2)
    assert torch.allclose(higher.eval()(images), trunk.eval()(images), atol=1e-5)


def test_a_file_of_another_network_is_refused(published):
    file = str(published[1])
    with pytest.raises(WeightsError, match="does not fit the TokenTrunk .*missing") as error:
        build_backbone(config("test_vit2", PRETRAIN=True, PRETRAIN_PATH=file))
    assert "\n" not in str(error.value)


def test_switches_and_size():
    cfg = config(**{"TIMM.DROP_PATH": 0.5, "TIMM.CHECKPOINTING": True, "INPUT.SIZE_TRAIN": [96, 48]})
    trunk = build_backbone(cfg)
    assert isinstance(trunk, TokenTrunk) and trunk.checkpointing and trunk.grid == (6, 3)
    assert trunk.blocks[-1].drop_path1.drop_prob == 0.5 and not build_backbone(config()).checkpointing
    cropped = config(**{"INPUT.CROP.ENABLED": True, "INPUT.CROP.SIZE": [32]})
    assert build_backbone(cropped).grid == (2, 2)


@pytest.mark.parametrize(("size", "said"), [([256, 128], "[252, 126]"), ([252, 126], None)])
def test_a_size_that_the_patches_do_not_divide_is_said(size, said, caplog):
    cfg = config("vit_small_patch14_dinov2", **{"INPUT.SIZE_TRAIN": size, "INPUT.SIZE_TEST": [252, 126]})
    with shapes.OnMeta(), caplog.at_level(logging.INFO):
        trunk = build_backbone(cfg)
    assert trunk.patch == 14
    lines = [record.getMessage() for record in caplog.records if "resizes images once more" in record.getMessage()]
    assert len(lines) == (said is not None) and all(said in line and "INPUT.SIZE_TRAIN" in line for line in lines)


def test_a_transformer_has_a_last_stride_of_1():
    assert has_token_trunk(config()) and fixed_last_stride(config("vit_small_patch16_dinov3")) == 1
    dnl = {"NAME": "build_dnl_backbone", "DNL.TRUNK": "build_timm_backbone"}
    assert has_token_trunk(config(**dnl)) and fixed_last_stride(config(**dnl)) == 1
    for keys in ({"TIMM.NAME": "resnet18"}, {"NAME": "build_resnet_backbone"}):
        assert not has_token_trunk(config(**keys)) and fixed_last_stride(config(**keys)) is None
    (said,) = without_effect(config(LAST_STRIDE=2))
    assert said == "MODEL.BACKBONE.LAST_STRIDE has no effect here: test_vit always has a last stride of 1"


@pytest.mark.parametrize(
    ("keys", "trunk"),
    [
        ({"TIMM.NAME": "resnet18"}, "resnet18"),
        ({"NAME": "build_resnet_backbone"}, "build_resnet_backbone"),
        ({}, None),
        ({"NAME": "build_dnl_backbone", "DNL.TRUNK": "build_timm_backbone", "DNL.BLOCKS": [0, 0, 1, 0]}, None),
    ],
)
def test_switches_of_other_trunks_are_said(keys, trunk):
    said = list(without_effect(config(**{"TIMM.DROP_PATH": 0.1, "TIMM.CHECKPOINTING": True}, **keys)))
    of = [f"MODEL.BACKBONE.TIMM.{key} has no effect here: {trunk} is no plain vision transformer of timm's"
          for key in ("DROP_PATH", "CHECKPOINTING")]  # fmt: skip
    assert [line for line in said if "TIMM" in line] == (of if trunk else [])


def test_a_network_with_too_few_blocks_is_refused_at_the_start(monkeypatch):
    monkeypatch.setattr("fastreid_ext.modeling.token_trunk.STAGES", tuple(range(1, 8)))
    with pytest.raises(ConfigError, match="the model can't be built: a trunk has 7 stages, and this VisionTransformer"):
        cfg = config(FEAT_DIM=64)
        cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.HEADS.NUM_CLASSES = "Baseline", 4
        build_model(cfg)
