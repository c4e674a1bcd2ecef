"""Every project on plain vision transformers: its parts compose with maps of one size in all four stages."""

import copy
import math

import pytest
import torch
from fastreid.modeling import build_model
from token_networks import PROJECTS, config
from torch import nn

from fastreid_ext.engine.trained import load_trained
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.modeling.token_trunk import TokenTrunk
from fastreid_ext.visual.grad_cam import grad_cam, last_layer, similarity_to

REST = [pytest.param(project, marks=pytest.mark.slow) for project in PROJECTS if project != "DeepMiner"]
DNL = {
    "MODEL.BACKBONE.NAME": "build_dnl_backbone",
    "MODEL.BACKBONE.DNL.TRUNK": "build_timm_backbone",
    "MODEL.BACKBONE.DNL.BLOCKS": [0, 1, 1, 1],
}


def batch(count=4, size=(64, 32)):
    return {
        "images": torch.randint(0, 256, (count, 3, *size)).float(),
        "targets": torch.tensor([3, 3, 7, 7])[:count],
        "camids": torch.tensor([0, 1, 0, 1])[:count],
        "joints": torch.rand(count, 17, 3) * 0.5 + 0.25,
    }


def copy_of(inputs):
    return {key: value.clone() for key, value in inputs.items()}


CASES = [
    *(pytest.param(project, {}, id=project) for project in PROJECTS),
    *(
        pytest.param(project, DNL, id=f"{project} with DNL", marks=[pytest.mark.slow] * (project != "DeepMiner"))
        for project in PROJECTS
    ),
]


@pytest.mark.parametrize(("project", "settings"), CASES)
def test_it_trains_is_tested_and_is_loaded(project, settings, storage):
    model, inputs = build_model(config(project, **settings)), batch()
    other = copy.deepcopy(model)
    losses = model(copy_of(inputs))
    assert losses and all(loss.shape == () and loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:  # a module that nothing reads would stop DDP
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 1e-4 * parameter.grad
        feature = model.eval()(copy_of(inputs))
        assert torch.equal(model(copy_of(inputs)), feature) and feature.isfinite().all()
        assert not torch.equal(feature[0], feature[1])
        alone = model({key: value[:1] for key, value in inputs.items()})
        assert torch.allclose(alone, feature[:1], atol=1e-4)
        other.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(other.eval()(copy_of(inputs)), feature)
        assert model(batch(2, (96, 48))).shape == (2, feature.shape[1])  # images of another size


@pytest.mark.parametrize("name", ["vit_tiny_patch16_dinov3_qkvb", "eva02_tiny_patch14_224"])
@pytest.mark.parametrize("project", PROJECTS)
@pytest.mark.slow
def test_rotary_positions_and_patches_of_14(project, name, storage):
    model, inputs = build_model(config(project, name)), batch()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model(copy_of(inputs))
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model.eval()(copy_of(inputs)).isfinite().all()


def test_deep_miners_side_branches_have_the_prefix_tokens():
    """Behind block 3, erasing nothing, the branch's blocks give the trunk's own last map: all tokens arrive there."""
    settings = {"MODEL.DEEPMINER.ERASE_THRESHOLD": 1.0, "MODEL.DEEPMINER.ATTENTION_BLOCKS": []}
    cfg = config("DeepMiner", **settings, **{"MODEL.DEEPMINER.SAM.REDUCTION": 8})
    model = build_model(cfg).eval()
    with torch.no_grad():
        maps = model.maps(torch.randn(2, 3, 64, 32))
        for name in ("ie2", "ie3", "local"):
            assert torch.allclose(maps[name], maps["global"], atol=1e-6)
        model.backbone.cls_token += 1.0
        model.backbone.pos_embed[:, 0] += torch.randn(64)
        changed = model.maps(torch.randn(2, 3, 64, 32))
        assert torch.allclose(changed["ie2"], changed["global"], atol=1e-6)
    assert isinstance(model.backbone, TokenTrunk)


def test_grad_cam_of_the_last_map():
    model = build_model(config("OccludedReID")).eval()
    assert last_layer(model) == "backbone.last"
    found = grad_cam(model, last_layer(model), batch()["images"], similarity_to(torch.randn(64)))
    assert found.shape == (4, 64, 32) and found.amax() == 1


@pytest.fixture
def alone(tmp_path):
    """A process group of this process alone."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_checkpointing_in_ddp(alone, storage):
    """Blocks that run again in the backward pass, in the trunk and in copies of it, and gradients as without DDP."""
    settings = {"MODEL.BACKBONE.TIMM.CHECKPOINTING": True, "MODEL.BACKBONE.TIMM.DROP_PATH": 0.2}
    model, inputs = build_model(config("DeepMiner", **settings)), batch()
    plain = copy.deepcopy(model)
    parallel = nn.parallel.DistributedDataParallel(model)
    for one in (plain, parallel):
        for _ in range(2):
            torch.manual_seed(1)
            one.zero_grad()
            sum(one(copy_of(inputs)).values()).backward()
    for (name, ours), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        if ours.requires_grad:
            assert torch.allclose(ours.grad, other.grad, atol=1e-6), name


@pytest.mark.parametrize("project", ["DeepMiner", *REST])
def test_in_the_trainer(project, synth_root, tmp_path, monkeypatch):
    """One epoch with every switch, an evaluation, and the checkpoint in a fresh model that gives the same features."""
    monkeypatch.setenv("FASTREID_DATASETS", str(synth_root))
    settings = {
        "MODEL.BACKBONE.TIMM.DROP_PATH": 0.1,
        "MODEL.BACKBONE.TIMM.CHECKPOINTING": True,
        "MODEL.CHANNELS_LAST": True,
        "MODEL.HEADS.NUM_CLASSES": 0,
        "OUTPUT_DIR": str(tmp_path),
        "DATASETS.NAMES": ("SynthReIDTiny",),
        "DATASETS.TESTS": ("SynthReIDTiny",),
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.AMP.ENABLED": False,
        "SOLVER.EMA.ENABLED": True,
        "SOLVER.OPT": "AdamW",
        "SOLVER.LAYER_DECAY": 0.75,
        "SOLVER.IMS_PER_BATCH": 16,
        "SOLVER.WARMUP_EPOCHS": 0,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.WARMUP_METHOD": "linear",
        "TEST.EVAL_PERIOD": 1,
        "TEST.RANK_LIST.ENABLED": False,
    }
    cfg = config(project, **settings)
    trainer = Trainer(cfg)
    rates = {group["initial_lr"] for group in trainer.optimizer.param_groups}
    layers = [cfg.SOLVER.BASE_LR * 0.75 ** (7 - layer) for layer in range(8)]
    assert all(any(rate == pytest.approx(expected) for rate in rates) for expected in layers)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    results = trainer.train()
    assert 0 <= results["Rank-1"] <= 100 and math.isfinite(results["mAP"])
    moved = [name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])]
    assert {"backbone.cls_token", "backbone.pos_embed", "backbone.blocks.5.attn.qkv.weight"} <= set(moved)
    cfg.merge_from_list(["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")])
    loaded, inputs = load_trained(cfg).eval(), batch()
    with torch.no_grad():
        assert loaded(copy_of(inputs)).isfinite().all()


def test_weights_of_a_run_with_smaller_images(tmp_path):
    """MODEL.WEIGHTS: the positions are resampled, once for good, as a test of another size resamples them."""
    cfg = config("OccludedReID")
    model = build_model(cfg).eval()
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    cfg.merge_from_list(["INPUT.SIZE_TRAIN", [96, 32], "MODEL.WEIGHTS", str(tmp_path / "model.pth")])
    higher, inputs = load_trained(cfg).eval(), batch(2, (96, 32))
    assert higher.backbone.grid == (6, 2) and model.backbone.grid == (4, 2)
    with torch.no_grad():
        assert torch.allclose(higher(copy_of(inputs)), model(copy_of(inputs)), atol=1e-5)
