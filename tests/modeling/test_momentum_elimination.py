"""Momentum elimination of every project's test feature: MODEL.TEST_FEATURE.MOMENTUM_ELIMINATION (Yan et al., eq. 6)."""

import copy
import logging

import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.modeling import build_model

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.effects import without_effect
from fastreid_ext.engine.key_tracking import check_all_read, track
from fastreid_ext.engine.weight_search import check_parts
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.student_features import StudentFeatures

ME = "MODEL.TEST_FEATURE.MOMENTUM_ELIMINATION"
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.HEADS.NUM_CLASSES": 12,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    f"{ME}.ENABLED": True,
}
PROJECTS = {
    "deepminer": {},
    "msreid": {"MODEL.MSREID.DIM": 16},
    "mgre": {"MODEL.HEADS.EMBEDDING_DIM": 16},
    "occluded": {"MODEL.HEADS.NAME": "PairVerificationHead", "MODEL.MULTITASK.DESCRIPTOR": "none"}
    | {"MODEL.MULTITASK.VERIFICATION": False, "MODEL.OCCLUDED.RP.ENABLED": False},
    "res2net": {"MODEL.MULTITASK.DESCRIPTOR": "none", "MODEL.MULTITASK.VERIFICATION": False},
}


def config(project, **overrides):
    cfg = get_config(f"demo/{project}.yml")
    settings = {**SMALL, **PROJECTS[project], **{key.replace("__", "."): value for key, value in overrides.items()}}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    return cfg


def batch():
    return {
        "images": torch.randint(0, 256, (4, 3, 64, 32)).float(),
        "targets": torch.tensor([3, 3, 7, 7]),
        "joints": torch.rand(4, 17, 3) * 0.5 + 0.25,
    }


def before_bnneck(model, branches):
    """What the test feature is made of, in float64: the features side by side, of MGRe each of length lambda^F."""
    parts = {name: outputs["feature"].detach().double() for name, outputs in branches.items()}
    if type(model).__name__ == "MGRe":
        parts = {name: model.test_weights[name] * unit(x) for name, x in parts.items()}
    return unit(torch.cat(list(parts.values()), dim=1))


def unit(x):
    return x / x.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("project", PROJECTS)
def test_mu_follows_the_steps_and_is_subtracted(project, storage, monkeypatch):
    """Eq. 6 in float64; a forward that is no step leaves mu as it is."""
    model, seen = build_model(config(project, **{f"{ME}.BETA": 0.7})), []
    branches = model.branches
    monkeypatch.setattr(model, "branches", lambda *a, **labels: seen.append(branches(*a, **labels)) or seen[-1])
    mu = torch.zeros_like(model.elimination.mu, dtype=torch.float64)
    for _ in range(3):
        model(batch())
        mu = 0.7 * mu + 0.3 * before_bnneck(model, seen[-1]).mean(dim=0)
        model.elimination.after_step()
    torch.testing.assert_close(model.elimination.mu.double(), mu, rtol=1e-4, atol=1e-6)
    model({**batch(), "targets": torch.full((4,), -1)})  # FastReID's PreciseBN
    with torch.no_grad():
        model(batch())
    model.elimination.after_step()
    torch.testing.assert_close(model.elimination.mu.double(), mu, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        feature = model.eval()(batch())
    torch.testing.assert_close(feature.double(), before_bnneck(model, seen[-1]) - mu, rtol=1e-4, atol=1e-5)
    assert len(seen) == 6 and mu.norm() > 0.01


@pytest.mark.parametrize("project", PROJECTS)
def test_off_it_leaves_no_trace(project):
    model = build_model(config(project, **{f"{ME}.ENABLED": False}))
    assert model.elimination is None and not [key for key in model.state_dict() if "elimination" in key]


def test_it_is_saved_and_copied(storage):
    model = build_model(config("mgre"))
    model(batch())
    model.elimination.after_step()
    other, inputs = build_model(config("mgre")), batch()
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    assert "elimination.mu" in model.state_dict() and model.elimination.mu.any()
    with torch.no_grad():
        assert torch.equal(model.eval()(inputs), other.eval()(inputs))


def test_a_student_is_compared_by_the_same_feature(storage):
    model, inputs = build_model(config("deepminer")), batch()
    model.elimination.mu.fill_(0.5)
    with StudentFeatures(model).watching(inputs) as watched:
        model(inputs)
    lengths = (watched.feature + 0.5).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(4), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("project", "overrides", "message"),
    [
        (
            "occluded",
            {"MODEL.HEADS.NAME": "OccludedHead"},
            "OccludedHead has .* own: set MODEL.OCCLUDED.ME.ENABLED True",
        ),
        (
            "res2net",
            {"MODEL.MULTITASK.VERIFICATION": True},
            "verification of pairs compares f as it was trained, which MODEL.TEST_FEATURE",
        ),
        ("mgre", {f"{ME}.BETA": 1.0}, r"needs beta in \[0, 1\)"),
    ],
)
def test_what_it_does_not_go_with(project, overrides, message):
    with pytest.raises(ConfigError, match=message):
        build_model(config(project, **overrides))


def test_the_weights_of_parts_are_not_searched_under_it():
    with pytest.raises(ConfigError, match="set its ENABLED False in the training of the MGRe"):
        check_parts(build_model(config("mgre")))
    check_parts(build_model(config("mgre", **{f"{ME}.ENABLED": False})))


def test_a_distance_that_it_does_not_change_is_a_warning(caplog):
    for metric, said in (("euclidean", True), ("cosine", False)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            build_model(config("msreid", **{"TEST.METRIC": metric}))
        assert ("leaves euclidean distances" in caplog.text) is said


def test_a_key_without_effect_is_said():
    """BETA without ENABLED; and both in FastReID's Baseline, which knows neither."""
    cfg = get_cfg()
    cfg.merge_from_list([f"{ME}.BETA", 0.5])
    assert f"{ME}.BETA has no effect here: {ME}.ENABLED is False" in list(without_effect(cfg))
    cfg = get_config("demo/baseline.yml")
    settings = {**SMALL, "MODEL.BACKBONE.FEAT_DIM": 64}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    tracked, log = track(cfg)
    build_model(tracked)
    with pytest.raises(ConfigError, match=f"{ME}.ENABLED"):
        check_all_read(tracked, get_cfg(), log, ("MODEL",))
