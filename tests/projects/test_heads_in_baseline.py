"""Heads that read one map in FastReID's own Baseline: four steps and an evaluation with its trainer and with ours."""

import logging
from types import SimpleNamespace

import pytest
import torch
from fastreid.engine import DefaultTrainer
from fastreid.modeling import build_model
from torch.nn import functional as F

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.distillation import Distillation
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.losses import relational_distance_loss
from fastreid_ext.occluded import MomentumEliminationHook

HEADS = ("OccludedHead", "PairVerificationHead")
SETTINGS = {
    "MODEL.META_ARCHITECTURE": "Baseline",
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_osnet_backbone",
    "MODEL.BACKBONE.DEPTH": "x0_25",
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "MODEL.PIXEL_MEAN": [123.675, 116.28, 103.53],
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "DATASETS.NAMES": ("SynthReIDTiny",),
    "DATASETS.TESTS": ("SynthReIDTiny",),
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
    "DATALOADER.NUM_INSTANCE": 4,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_ITERS": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "TEST.EVAL_PERIOD": 1,
    "TEST.IMS_PER_BATCH": 32,
}


def config(head, **overrides):
    cfg = get_cfg()
    pairs = {**SETTINGS, "MODEL.HEADS.NAME": head}
    if head == "PairVerificationHead":
        pairs["MODEL.MULTITASK.DESCRIPTOR"] = "linear64"
    pairs |= {key.replace("__", "."): value for key, value in overrides.items()}
    cfg.merge_from_list([item for pair in pairs.items() for item in pair])
    return cfg


class HostTrainer(DefaultTrainer):
    """FastReID's trainer, with momentum elimination where the model has it."""

    def build_hooks(self):
        hooks = super().build_hooks()
        return [MomentumEliminationHook(self.model), *hooks] if self.cfg.MODEL.HEADS.NAME == "OccludedHead" else hooks


@pytest.fixture
def train(synth_tiny, monkeypatch, tmp_path):
    """``train(Trainer, head)``: (trainer, its weights before, results) of one epoch of four steps."""
    monkeypatch.setattr("fastreid.data.build._root", str(synth_tiny))

    def run(kind, head, **overrides):
        (tmp_path / "out").mkdir(exist_ok=True)
        quiet = {} if kind is not Trainer else {"TEST__RANK_LIST__ENABLED": False}
        trainer = kind(config(head, OUTPUT_DIR=str(tmp_path / "out"), **quiet, **overrides))
        trainer.resume_or_load(resume=False)
        before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
        return trainer, before, trainer.train()

    return run


@pytest.mark.slow
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", [HostTrainer, Trainer])
def test_they_train_and_are_tested(kind, head, train):
    trainer, before, results = train(kind, head)
    assert trainer.max_iter == 4
    results = results.get("SynthReIDTiny", results)
    assert {"Rank-1", "mAP"} <= set(results) and 0 < results["mAP"] <= 100
    assert type(trainer.model).__name__ == "Baseline" and type(trainer.model.heads).__name__ == head
    for name, value in trainer.model.named_parameters():
        learns = value.grad is not None and value.grad.any()  # some gates of so small a trunk are shut
        assert not learns or not torch.equal(value, before[name]), name
    assert all(value.grad.any() for value in trainer.model.heads.parameters() if value.requires_grad)
    assert {"loss_cls", "loss_triplet"} <= set(trainer.storage.histories())
    dim = {"OccludedHead": 128, "PairVerificationHead": 64}[head]
    with torch.no_grad():
        images = torch.rand(3, 3, 64, 32) * 255
        feature = trainer.model.eval()(images.clone())
        maps = trainer.model.backbone((images - trainer.model.pixel_mean) / trainer.model.pixel_std)
    assert feature.shape == (3, dim) and feature.dtype == torch.float32
    if head == "OccludedHead":
        mu = trainer.model.heads.momentum_elimination.mu
        pooled = trainer.model.heads.pool(maps).flatten(1)
        assert mu.norm() > 0.01
        torch.testing.assert_close(feature, F.normalize(pooled) - mu, rtol=1e-4, atol=1e-5)


def test_without_the_hook_mu_stays_at_zero(train):
    trainer, _, _ = train(DefaultTrainer, "OccludedHead")
    assert not trainer.model.heads.momentum_elimination.mu.any()


@pytest.mark.slow
def test_weights_of_a_baseline_are_tested_without_its_classifier(train, tmp_path):
    """As load_trained has it: the classifier's size is that of no data set at hand."""
    trainer, _, _ = train(Trainer, "PairVerificationHead")
    loaded = load_trained(config("PairVerificationHead", MODEL__WEIGHTS=str(tmp_path / "out" / "model_final.pth")))
    images = torch.rand(3, 3, 64, 32) * 255
    with torch.no_grad():
        assert torch.equal(trainer.model.eval()(images.clone()), loaded.eval()(images.clone()))


@pytest.mark.parametrize("mode", ["per_head", "summed", "circle"])
def test_what_baseline_reads_of_the_classifier(mode, storage):
    """The sum of the heads' logits, as Tang et al. train it; a margin softmax as it is."""
    cfg = config("OccludedHead", MODEL__OCCLUDED__CLASSIFIER__MODE=mode, MODEL__HEADS__NUM_CLASSES=5)
    model = build_model(cfg)
    targets = torch.tensor([0, 0, 3, 3])
    maps = torch.rand(4, 128, 4, 2)
    outputs, branch = model.heads(maps, targets), model.heads.branches(maps, targets)["global"]
    assert set(outputs) == {"cls_outputs", "pred_class_logits", "features"}
    logits = branch["logits"].sum(dim=1) if mode == "per_head" else branch["logits"]
    assert outputs["cls_outputs"].shape == (4, 5) and torch.equal(outputs["cls_outputs"], logits)
    assert torch.equal(outputs["features"], branch["feature"])


@pytest.mark.parametrize(
    ("head", "part", "said"),
    [
        ("OccludedHead", "reconstructive_pooling", "Baseline has no loss for reconstructive pooling"),
        ("PairVerificationHead", "verification", "Baseline has no loss for pairs"),
    ],
)
def test_what_baseline_has_no_loss_for_is_left_out_and_said(head, part, said, caplog):
    logging.getLogger("fastreid_ext").propagate = True
    with caplog.at_level(logging.WARNING, logger="fastreid_ext"):
        model = build_model(config(head, MODEL__HEADS__NUM_CLASSES=5))
    assert getattr(model.heads, part) is None
    (message,) = {record.getMessage() for record in caplog.records}
    assert said in message and f"{head} leaves" in message


def test_precise_bn_is_no_step_in_baseline_either(storage):
    """It marks its targets with -1, which Baseline makes zeros, and takes no gradients."""
    model = build_model(config("OccludedHead", MODEL__HEADS__NUM_CLASSES=5))
    images = torch.rand(4, 3, 64, 32) * 255
    with torch.no_grad():
        model({"images": images.clone(), "targets": torch.full((4,), -1)})
    elimination = model.heads.momentum_elimination
    elimination.after_step()
    assert not elimination.mu.any()
    model({"images": images, "targets": torch.tensor([0, 0, 3, 3])})
    elimination.after_step()
    assert elimination.mu.any()


@pytest.mark.parametrize("head", HEADS)
def test_a_student_of_baseline_with_a_head_of_ours(head, storage):
    """Distillation takes the test feature out of the head, where Baseline's own forward has none in training."""
    model = build_model(config(head, MODEL__HEADS__NUM_CLASSES=12, MODEL__OCCLUDED__RP__ENABLED=False))
    teacher = SimpleNamespace(record=SimpleNamespace(size=(), crop=()), features=lambda images: images.flatten(1))
    distillation = Distillation(model, teacher, {"loss_kd": (1.0, relational_distance_loss)})
    assert distillation.try_on((64, 32)) == (128 if head == "OccludedHead" else 64, 3 * 64 * 32)
    batch = {"images": torch.rand(4, 3, 64, 32) * 255, "targets": torch.tensor([0, 0, 1, 1])}
    losses = distillation.losses(model.train(), batch)
    losses["loss_kd"].backward()
    assert {"loss_cls", "loss_triplet", "loss_kd"} <= set(losses) and model.backbone.conv1.conv.weight.grad.any()
    assert "branches" not in vars(model.heads)
