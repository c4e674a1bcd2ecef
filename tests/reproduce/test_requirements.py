"""What is said of weights before runs begin: what is here, what is downloaded, and what can't be had."""

import pytest

from fastreid_ext.config import get_cfg
from fastreid_ext.reproduce.requirements import weights_to_download

pytest.importorskip("timm", reason="needs timm")
TIMM = {"NAME": "build_timm_backbone", "PRETRAIN": True}


@pytest.fixture(autouse=True)
def empty_hub(monkeypatch):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *given, **named: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def found(name="vit_tiny_patch16_224", **keys):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.TIMM.NAME = name
    for key, value in (TIMM | keys).items():
        cfg.MODEL.BACKBONE[key] = value
    return weights_to_download([cfg])


def test_weights_of_the_hub_are_to_come():
    (coming,), impossible = found()
    assert coming.startswith("the weights of vit_tiny_patch16_224 are downloaded when they are first needed, from timm")
    assert not impossible


def test_so_are_those_of_a_trunk_below_another():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.DNL.TRUNK = "build_timm_backbone"
    (coming,), impossible = found("convnextv2_atto", NAME="build_dnl_backbone", DNL=cfg.MODEL.BACKBONE.DNL)
    assert "the weights of convnextv2_atto are downloaded" in coming and not impossible


def test_so_are_those_of_another_repository():
    (coming,), impossible = found(PRETRAIN_PATH="hf-hub:someone/else")
    assert "hf-hub:someone/else are downloaded" in coming and not impossible
    assert found(PRETRAIN_PATH="a.pth") == ([], [])


def test_they_cannot_be_had_where_the_hub_must_not_be_asked(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    coming, (impossible,) = found()
    assert "are not on this machine, and HF_HUB_OFFLINE forbids to ask the hub for timm/vit_tiny" in impossible
    assert not coming


@pytest.mark.parametrize("name", ["hf-hub:a/b/c", "", "resnet18.nope"])
def test_a_name_that_timm_has_not(name):
    coming, (impossible,) = found(name)
    assert impossible.startswith("MODEL.BACKBONE.TIMM.NAME is ") and not coming
