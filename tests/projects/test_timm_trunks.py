"""Every project on networks of timm's: a step of the trainer, a test, and its weights saved and loaded."""

import math

import pytest
import shapes
import small_training
import torch
from fastreid.modeling import build_model
from small_training import batch, copy_of

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.model_zoo import get_config_file

# MODEL.META_ARCHITECTURE -> demo config, other settings
PROJECTS = {
    "DeepMiner": ("deepminer", {"MODEL.DEEPMINER.LOCAL_STRIPES": 2}),
    "MSReID": ("msreid", {"MODEL.MSREID.DIM": 32}),
    "MGRe": ("mgre", {"MODEL.HEADS.EMBEDDING_DIM": 16}),
    "OccludedReID": ("occluded", {}),
    "Res2NetMultiTask": ("res2net", {"MODEL.MULTITASK.DESCRIPTOR": "linear64"}),
}
DNL = "DeepMiner with DNL"
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.HEADS.NUM_CLASSES": 12,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
}
# timm's network -> MODEL.BACKBONE.DNL.BLOCKS: the first two stages of a MobileNetV4 have no residual blocks
NETWORKS = {
    "test_convnext": [0, 1, 1, 1],
    "mobilenetv4_conv_small": [0, 0, 1, 1],
    "convnextv2_atto": [0, 1, 1, 1],
    "regnety_002": [0, 1, 1, 1],
    "densenet121": [0, 0, 0, 0],
}
IN_MATRIX = ("mobilenetv4_conv_small", "convnextv2_atto")  # of test_trunks.py
QUICK = {("MGRe", "test_convnext"), (DNL, "mobilenetv4_conv_small")}


def settings_of(project, name, **others):
    file, own = PROJECTS[project.removesuffix(" with DNL")]
    node = {"NAME": "build_timm_backbone", "TIMM.NAME": name, "PRETRAIN": False}
    if project == DNL:
        node |= {"NAME": "build_dnl_backbone", "DNL.TRUNK": node["NAME"], "DNL.BLOCKS": NETWORKS[name]}
    if name == "densenet121":  # it has no residual blocks
        own = {**own, "MODEL.MGRE.FE.BLOCKS": 0}
    settings = {**SMALL, **own, **{f"MODEL.BACKBONE.{key}": value for key, value in node.items()}, **others}
    cfg = get_cfg()  # merged as for a user, whose keys are checked
    merge_config(cfg, get_config_file(f"demo/{file}.yml"), [str(item) for pair in settings.items() for item in pair])
    return cfg


@pytest.mark.parametrize(
    ("project", "name"),
    [
        pytest.param(project, name, marks=() if (project, name) in QUICK else pytest.mark.slow)
        for project in (*PROJECTS, DNL)
        for name in NETWORKS
        if project == DNL or name not in IN_MATRIX
    ],
)
def test_it_learns_is_tested_and_is_loaded(project, name, storage):
    cfg, inputs = settings_of(project, name), batch()
    model = build_model(cfg)
    losses = model(copy_of(inputs))
    assert losses and all(loss.shape == () and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        if parameter.requires_grad:  # a module that nothing reads would stop DDP
            assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    with torch.no_grad():
        feature = model.eval()(copy_of(inputs))
        assert feature.shape[0] == 4 and feature.dim() == 2 and feature.isfinite().all()
        assert not torch.equal(feature[0], feature[1])
        with shapes.WithoutDraws():
            other = build_model(cfg)
        other.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(other.eval()(copy_of(inputs)), feature)


@pytest.mark.parametrize(
    ("project", "name"),
    [
        ("OccludedReID", "test_convnext"),
        *(
            pytest.param(project, name, marks=pytest.mark.slow)
            for project in PROJECTS
            for name in ("mobilenetv4_conv_small", "convnextv2_atto")
        ),
    ],
)
def test_in_the_trainer(project, name, synth_root, tmp_path, monkeypatch):
    """An epoch, an evaluation, and the checkpoint in a fresh model that gives the same features."""
    monkeypatch.setenv("FASTREID_DATASETS", str(synth_root))
    settings = {
        **small_training.RUN,
        "MODEL.HEADS.NUM_CLASSES": 0,
        "OUTPUT_DIR": str(tmp_path),
    }
    cfg = settings_of(project, name, **settings)
    trainer = Trainer(cfg)
    before = {key: value.detach().clone() for key, value in trainer.model.backbone.named_parameters()}
    results = trainer.train()
    assert 0 <= results["Rank-1"] <= 100 and math.isfinite(results["mAP"])
    for key, value in trainer.model.backbone.named_parameters():
        learns = value.grad is not None and value.grad.abs().max() > 1e-9
        assert not (learns and torch.equal(value, before[key])), key
    cfg.merge_from_list(["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")])
    loaded, inputs = load_trained(cfg).eval(), batch()
    with torch.no_grad():
        assert torch.equal(loaded(copy_of(inputs)), trainer.model.eval()(copy_of(inputs)))
