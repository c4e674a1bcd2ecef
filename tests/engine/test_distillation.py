"""A light student that learns from a trained teacher, by the command line, and what is refused at the start.

That every project's model can be the student is in tests/projects/test_contract.py.
"""

import json
from types import SimpleNamespace

import pytest
import torch
from fastreid.modeling.heads import EmbeddingHead
from torch import nn

from fastreid_ext import Extractor
from fastreid_ext.cli import main
from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.config import mistakes
from fastreid_ext.engine.checks.paths import teacher_mistakes
from fastreid_ext.engine.distillation import Distillation
from fastreid_ext.errors import ConfigError
from fastreid_ext.losses import relational_distance_loss

STUDENT = {
    "config": "demo/baseline.yml",
    "MODEL__BACKBONE__NAME": "build_mobilenetv2_backbone",
    "MODEL__BACKBONE__DEPTH": "0.1x",
    "MODEL__BACKBONE__FEAT_DIM": 1280,
    "MODEL__DEVICE": "cpu",
    "INPUT__SIZE_TRAIN": "[48, 24]",  # the teacher has [64, 32]
    "INPUT__SIZE_TEST": "[48, 24]",
    "DATASETS__NAMES": "('SynthReIDTiny',)",
    "DATASETS__TESTS": "('SynthReIDTiny',)",
    "DATALOADER__NUM_WORKERS": 0,
    "SOLVER__AMP__ENABLED": False,
    "SOLVER__IMS_PER_BATCH": 16,
    "SOLVER__WARMUP_EPOCHS": 1,
    "SOLVER__MAX_EPOCH": 2,
    "SOLVER__EMA__ENABLED": True,
    "SOLVER__EMA__DECAY": 0.8,
    "KD__LOSSES__NAME": "['RelationalDistanceLoss', 'SimilarityPreservingLoss']",
    "TEST__EVAL_PERIOD": 1,
    "TEST__RANK_LIST__ENABLED": False,
    "SEED": 0,
}


@pytest.mark.slow
def test_a_light_student_of_deep_miner(run_main, stopped, differences, capsys, tmp_path):
    folder = run_main(OUTPUT_DIR=tmp_path / "teacher", SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0, SOLVER__STEPS="[]")
    settings = {**STUDENT, "KD__TEACHER": folder}
    stopped(run_main, **settings)
    output = run_main("--resume", **settings)
    # The same teacher as one file, whose weights are the same bits.
    pairs = ["MODEL.WEIGHTS", str(folder / "model_best.pth")]
    file = tmp_path / "teacher.safetensors"
    config = ["--config-file", str(folder / "config.yaml")]
    assert main(["export", *config, "--format", "weights", "--output", str(file), *pairs]) == 0
    straight = run_main(OUTPUT_DIR=tmp_path / "straight", **{**settings, "KD__TEACHER": file})
    for name in ("model_latest.pth", "model_final.pth", "model_best.pth"):
        assert differences(straight / name, output / name) == [], name

    log = (output / "log.txt").read_text()
    assert f"the teacher is {folder}, DeepMiner, with features of 256 numbers, and the student's have 1280" in log
    metrics = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert {"loss_kd_distance", "loss_kd_similarity", "loss_cls", "loss_triplet"} <= set(metrics[-1])
    final = torch.load(output / "model_final.pth", weights_only=True)

    exported = tmp_path / "student.safetensors"
    config = ["--config-file", str(output / "config.yaml")]
    pairs = ["MODEL.WEIGHTS", str(output / "model_final.pth")]
    assert main(["export", *config, "--format", "weights", "--output", str(exported), *pairs]) == 0
    assert exported.stat().st_size < 2_000_000 and str(folder).encode() not in exported.read_bytes()
    student = Extractor(exported)
    assert student.dim == 1280
    own = student.model.model.state_dict().keys()
    assert own == final["model"].keys()  # nothing of the teacher's


# ---- what the teacher is given --------------------------------------------------------------------------------------


class Recording:
    """A teacher that keeps what it is given."""

    def __init__(self, size, crop=()):
        self.record, self.seen = SimpleNamespace(size=size, crop=crop, architecture="Recording"), []

    def features(self, images):
        self.seen.append(images)
        return images.flatten(1)


class Host(nn.Module):
    """As FastReID's Baseline: it normalises the batch in place; a test gives another feature if asked to."""

    def __init__(self, test=lambda feature: feature):
        super().__init__()
        self.backbone, self.test = nn.Conv2d(3, 4, 3), test
        self.heads = EmbeddingHead(
            feat_dim=4,
            embedding_dim=0,
            num_classes=5,
            neck_feat="before",
            pool_type="GlobalAvgPool",
            cls_type="Linear",
            scale=1,
            margin=0.0,
            with_bnneck=True,
            norm_type="BN",
        )

    def forward(self, batch):
        features = self.backbone(batch["images"].sub_(100).div_(50))
        if not self.training:
            return self.test(self.heads(features))
        return {"loss_cls": self.heads(features, batch["targets"])["cls_outputs"].logsumexp(1).mean()}


TERMS = {"loss_kd_distance": (2.0, relational_distance_loss)}


@pytest.mark.parametrize(
    ("size", "crop", "shape"),
    [
        ((16, 8), (), (16, 8)),
        ((), (), (16, 8)),
        ((32, 20), (), (32, 20)),
        ((12,), (), (24, 12)),
        ((18, 9), (8, 8), (8, 8)),
    ],
)
def test_the_teacher_sees_the_students_pixels_at_its_own_size(size, crop, shape):
    images = torch.rand(4, 3, 16, 8) * 255
    teacher, model = Recording(size, crop), Host()
    batch = {"images": images.clone(), "targets": torch.tensor([0, 0, 1, 1])}
    losses = Distillation(model, teacher, TERMS).losses(model, batch)
    assert set(losses) == {"loss_cls", "loss_kd_distance"}
    (seen,) = teacher.seen
    assert seen.shape == (4, 3, *shape) and seen.min() >= 0 and seen.max() <= 255
    assert torch.equal(seen, images) == (shape == (16, 8))
    losses["loss_kd_distance"].backward()
    assert model.backbone.weight.grad.any()
    neck = model.heads.bottleneck(model.heads.pool_layer(model.backbone((images - 100) / 50))).flatten(1)
    expected = 2 * relational_distance_loss(neck, seen.flatten(1))
    assert torch.allclose(losses["loss_kd_distance"], expected, rtol=1e-4)


def test_a_test_feature_of_something_else_is_refused():
    assert Distillation(Host(), Recording(()), TERMS).try_on((16, 8)) == (4, 3 * 16 * 8)
    Distillation(Host(lambda feature: feature.flip(1)), Recording(()), TERMS).try_on((16, 8))  # the order is no matter
    for test in (lambda feature: feature[:, :3], lambda feature: feature.pow(3)):
        with pytest.raises(ConfigError, match="test feature of Host, [34] numbers, is not what its heads give"):
            Distillation(Host(test), Recording(()), TERMS).try_on((16, 8))
    without = Host()
    without.heads.forward = lambda features, targets=None: features.mean(dim=(2, 3))
    with pytest.raises(ConfigError, match="4 numbers, is not what its heads give in training, nothing, so"):
        Distillation(without, Recording(()), TERMS).try_on((16, 8))
    with pytest.raises(ConfigError, match="Linear does not say what its test feature is made of"):
        Distillation(nn.Linear(2, 2), Recording(()), TERMS)


class Auxiliary(Host):
    """With a second head that only training asks."""

    def __init__(self):
        super().__init__()
        self.other = Host().heads

    def forward(self, batch):
        if self.training:
            self.other(self.backbone(batch["images"]), batch["targets"])
        return super().forward(batch)


def test_a_head_of_training_alone_is_refused():
    distillation = Distillation(Auxiliary(), Recording(()), TERMS)
    assert distillation.try_on((16, 8))[0] == 4
    batch = {"images": torch.rand(4, 3, 16, 8), "targets": torch.tensor([0, 0, 1, 1])}
    with pytest.raises(ConfigError, match="Auxiliary, 4 numbers, is not what its heads give in training, 8 numbers"):
        distillation.losses(distillation.student.model, batch)


def test_attributes_of_a_users_head_are_not_taken_for_our_methods():
    model = Host()
    model.heads.branches, model.heads.embed = nn.ModuleList(), nn.Identity()
    assert Distillation(model, Recording(()), TERMS).try_on((16, 8))[0] == 4
    model.branches, model.embed = ("global",), 4
    assert Distillation(model, Recording(()), TERMS).try_on((16, 8))[0] == 4


def test_a_teacher_that_diverged_is_refused():
    teacher = Recording(())
    teacher.features = lambda images: images.flatten(1) * float("nan")
    with pytest.raises(ConfigError, match="its features are not finite"):
        Distillation(Host(), teacher, TERMS).try_on((16, 8))


# ---- refused at the start -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"KD.TEACHER": "gone"}, "there is no gone, which KD.TEACHER names: name a run's folder"),
        ({"KD.TEACHER": "demo/tiny.yml"}, "KD.TEACHER is demo/tiny.yml without KD.TEACHER_WEIGHTS: name"),
        ({"KD.TEACHER": __file__}, "without KD.TEACHER_WEIGHTS: name a run's folder"),
        (
            {"KD.TEACHER": "demo/tiny.yml", "KD.TEACHER_WEIGHTS": "gone.pth"},
            "there is no file gone.pth, which KD.TEACHER_WEIGHTS names",
        ),
        ({"KD.TEACHER": ".", "OUTPUT_DIR": "./"}, "KD.TEACHER is ., the folder that this run writes to"),
        ({"KD.TEACHER": "a\0b"}, "KD.TEACHER "),
        ({"KD.TEACHER_WEIGHTS": "x.pth"}, "KD.TEACHER_WEIGHTS has no effect here: KD.TEACHER is ''"),
        ({"KD.LOSSES.DISTANCE.SCALE": 2.0}, "KD.LOSSES.DISTANCE.SCALE has no effect here: KD.TEACHER is ''"),
        ({"KD.LOSSES.NAME": ["RelationalDistance"]}, "did you mean RelationalDistanceLoss?"),
        ({"KD.LOSSES.NAME": []}, "each once"),
        ({"KD.LOSSES.DISTANCE.SCALE": 0.0}, "KD.LOSSES.DISTANCE.SCALE is 0.0 and must be"),
        ({"SOLVER.EMA.DECAY": 0.5}, "SOLVER.EMA.DECAY has no effect here: SOLVER.EMA.ENABLED is False"),
        ({"SOLVER.EMA.ENABLED": True, "SOLVER.EMA.DECAY": 1.0}, "SOLVER.EMA.DECAY is 1.0 and must be"),
    ],
)
def test_what_can_not_work_is_said_at_the_start(settings, sentence):
    cfg = get_cfg()
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    found = [text for text in (*mistakes(cfg, 1), *teacher_mistakes(cfg)) if any(key in text for key in settings)]
    assert len(found) == 1 and sentence in found[0], found


@pytest.mark.parametrize(
    ("teacher", "weights", "key"),
    [
        ("run", "", "KD.TEACHER"),
        ("link", "", "KD.TEACHER"),
        ("run/config.yaml", "other/model_best.pth", "KD.TEACHER"),
        ("other/config.yaml", "run/model_best.pth", "KD.TEACHER_WEIGHTS"),
        ("other", "run/model_best.pth", "KD.TEACHER_WEIGHTS"),
        ("other", "link/model_0001.pth", "KD.TEACHER_WEIGHTS"),
        ("other", "model_best.pth", None),  # that of the teacher's folder
        ("run/teacher.yml", "run/teacher.pth", None),  # a run writes no such files
        ("run/teacher.safetensors", "", None),
    ],
)
def test_a_run_does_not_write_over_its_teacher(teacher, weights, key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("run", "other"):
        (tmp_path / folder).mkdir()
        for name in ("config.yaml", "model_best.pth", "model_0001.pth", "teacher.yml", "teacher.pth"):
            (tmp_path / folder / name).touch()
    (tmp_path / "run" / "teacher.safetensors").touch()
    (tmp_path / "link").symlink_to("run")
    cfg = get_cfg()
    cfg.merge_from_list(["KD.TEACHER", teacher, "KD.TEACHER_WEIGHTS", weights, "OUTPUT_DIR", "run"])
    found = list(teacher_mistakes(cfg))
    assert [text.split(" is ")[0] for text in found] == ([key] if key else []), found
    assert all("this run writes" in text for text in found)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ("", "the run run, KD.TEACHER, has no model_best.pth: name another file of it in KD.TEACHER_WEIGHTS"),
        ("teacher.onnx", "KD.TEACHER_WEIGHTS is teacher.onnx, a model by itself: name it in KD.TEACHER"),
        ("model_final.pth", None),
    ],
)
def test_a_teacher_is_named_by_keys_of_the_config(weights, sentence, tmp_path, monkeypatch):
    """And not by what a program calls :class:`Extractor` with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for name in ("run/config.yaml", "run/model_final.pth", "teacher.onnx"):
        (tmp_path / name).touch()
    cfg = get_cfg()
    cfg.merge_from_list(["KD.TEACHER", "run", "KD.TEACHER_WEIGHTS", weights, "OUTPUT_DIR", "out"])
    assert list(teacher_mistakes(cfg)) == ([sentence] if sentence else [])


def test_a_loss_that_is_not_chosen_has_no_scale(run_main, sentence_of, tmp_path):
    (tmp_path / "teacher").mkdir()
    settings = {"KD__TEACHER": tmp_path / "teacher", "KD__LOSSES__SIMILARITY__SCALE": 2.0}
    with pytest.raises(SystemExit) as stopped:
        run_main(**settings)
    sentence = sentence_of(stopped.value.code)
    assert "KD.LOSSES.SIMILARITY.SCALE has no effect here: KD.LOSSES.NAME has no SimilarityPreservingLoss" in sentence


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({}, "is not that of a run: it has no config.yaml"),
        ({"MODEL__META_ARCHITECTURE": "Nonsense"}, "Nonsense"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(overrides, sentence, run_main, sentence_of, tmp_path):
    (tmp_path / "teacher").mkdir()
    with pytest.raises(SystemExit) as stopped:
        run_main(KD__TEACHER=tmp_path / "teacher", **overrides)
    assert sentence in sentence_of(stopped.value.code)
