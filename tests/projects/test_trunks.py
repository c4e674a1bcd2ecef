"""Every project on every trunk: it trains, it is evaluated, and its weights are saved and loaded; or one sentence."""

import copy
import itertools
import math

import pytest
import shapes
import small_training
import torch
from fastreid.modeling import build_model
from small_training import batch, copy_of
from trunk_list import PROJECTS as TABLE
from trunk_list import TRUNKS, needs_stages
from trunk_models import MATRIX, PROJECTS, VECTOR, settings_of, short_stages

from fastreid_ext.engine.model import build_model as build_checked
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.evaluator import RankListEvaluator

OSNET = "OSNet x0.5, IBN"
REST = ("MSReID", "MGRe", "OccludedReID", "Res2NetMultiTask", "Baseline")
QUICK = {  # the diagonal of the fast tier
    "DeepMiner": ("Narrow ResNet-10", "MobileNetV4 Small"),
    "MSReID": ("MobileNetV3 Small", "ConvNeXtV2 Atto"),
    "MGRe": ("ShuffleNetV2 1.0x", OSNET),
    "OccludedReID": ("EdgeNeXt XX-Small",),
    "Res2NetMultiTask": ("RegNetY-400MF",),
    "Baseline": ("MobileNetV2",),
}


CASES = [
    *((project, trunk) for project in TABLE for trunk in MATRIX),
    *((project, VECTOR) for project in TABLE if not needs_stages(project) and project != "Baseline"),
    *((project, OSNET) for project in PROJECTS if project not in TABLE),
]


def test_the_matrix_is_large_enough():
    assert len(MATRIX) >= 14 and len(TABLE) == 6 and set(TABLE) <= set(PROJECTS)
    kinds = {trunk.name for trunk in TRUNKS.values()}  # a narrow ResNet has the modules of FastReID's own
    assert kinds - {"resnet", "deep_resnet"} == {TRUNKS[name].name for name in (*MATRIX, VECTOR)}


def evaluate(cfg, features, inputs, folder):
    """Rank the first image of each identity against all others by their features, as a run does."""
    queries = [0, 2]
    order = [*queries, 1, 3]
    evaluator = RankListEvaluator(cfg, len(queries), "four images", str(folder))
    evaluator.reset()
    told = {key: inputs[key][order] for key in ("targets", "camids")}
    evaluator.process({**told, "img_paths": [f"{i}.jpg" for i in order]}, features[order])
    return evaluator.evaluate()


@pytest.mark.parametrize(
    ("project", "trunk"),
    [pytest.param(*case, marks=() if case[1] in QUICK.get(case[0], ()) else pytest.mark.slow) for case in CASES],
)
def test_it_trains_is_evaluated_and_is_loaded(project, trunk, storage, tmp_path):
    """Two steps of the trainer, an evaluation, and the weights in another model that gives the same features."""
    inputs = batch()
    with short_stages():
        cfg = settings_of(project, trunk)
        model = build_model(cfg)
        with shapes.WithoutDraws():
            other = build_model(cfg) if trunk == OSNET else copy.deepcopy(model)
    step = TrainingStep(model, map(copy_of, itertools.repeat(inputs)), build_optimizer(cfg, model))
    for step.iter in range(2):
        step.run_step()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:  # a module that nothing reads would stop DDP
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.isfinite().all(), name
    with torch.no_grad():
        feature = model.eval()(copy_of(inputs))
        assert feature.shape[0] == 4 and feature.dim() == 2 and feature.isfinite().all()
        assert not torch.equal(feature[0], feature[1])
        results = evaluate(cfg, feature, inputs, tmp_path)
        assert 0 < results["mAP"] <= 100 and 0 <= results["Rank-1"] <= 100
        other.load_state_dict(model.state_dict(), strict=True)
        assert torch.equal(other.eval()(copy_of(inputs)), feature)


@pytest.mark.parametrize("project", ["DeepMiner", "MSReID", "MGRe"])
def test_a_trunk_without_stages_is_refused_in_one_sentence(project):
    with shapes.WithoutDraws(), pytest.raises(ConfigError, match="VisionTransformer has no .*layer4") as error:
        build_checked(settings_of(project, VECTOR))
    assert "\n" not in str(error.value) and "set MODEL.BACKBONE.NAME to build_resnet_backbone" in str(error.value)


@pytest.mark.parametrize("project", ["DeepMiner", *(pytest.param(name, marks=pytest.mark.slow) for name in REST)])
def test_osnet_in_the_trainer(project, synth_root, tmp_path, monkeypatch):
    """One epoch, an evaluation, and the checkpoint in a fresh model that gives the same features."""
    monkeypatch.setenv("FASTREID_DATASETS", str(synth_root))
    cfg = settings_of(project, "OSNet x0.25")
    settings = {
        **small_training.RUN,
        "MODEL.BACKBONE.WITH_IBN": True,
        "MODEL.HEADS.NUM_CLASSES": 0,
        "OUTPUT_DIR": str(tmp_path),
        "SOLVER.WARMUP_METHOD": "linear",
    }
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    trainer = Trainer(cfg)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    results = trainer.train()
    assert 0 <= results["Rank-1"] <= 100 and math.isfinite(results["mAP"])
    for name, value in trainer.model.named_parameters():
        learns = value.grad is not None and value.grad.any()  # some gates of so small a trunk are shut
        assert not (learns and torch.equal(value, before[name])), name
    cfg.merge_from_list(["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")])
    loaded, inputs = load_trained(cfg).eval(), batch()
    with torch.no_grad():
        assert torch.equal(loaded(copy_of(inputs)), trainer.model.eval()(copy_of(inputs)))
