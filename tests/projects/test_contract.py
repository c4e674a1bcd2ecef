"""One contract for every project: config -> model -> losses -> gradients -> training -> features -> saved state."""

import copy
import functools
import json
import keyword
import math
import types
from dataclasses import dataclass, field

import pytest
import shapes
import small_training
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
import yaml
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from small_training import batch, copy_of
from torch import nn
from torch.nn import functional as F

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.distillation import Distillation
from fastreid_ext.engine.key_tracking import check_all_read, leaves, track
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.layers import DisentangledNonLocal2d
from fastreid_ext.model_zoo import get_config, list_config_files
from fastreid_ext.modeling.backbones import trunk_builder
from fastreid_ext.modeling.distillation_table import DISTILLATION_LOSSES, distillation_terms


@dataclass(frozen=True)
class Project:
    """One row of the table.

    Attributes:
        config: a shipped config.
        losses: the exact keys of the loss dict.
        dim: length of the test feature.
        overrides: on top of SMALL.
        tiny: a trunk that trains in a second, where there is one.
        writes_into_the_batch: the model is known to normalise the caller's images in place.
    """

    config: str
    losses: set[str]
    dim: int
    overrides: dict = field(default_factory=dict)
    tiny: dict = field(default_factory=lambda: TINY)
    writes_into_the_batch: bool = False


TINY = {"MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone", "MODEL.BACKBONE.DEPTH": "50x"}  # reads no depth
PROJECTS = {
    "MGRe": Project(
        "demo/mgre.yml",
        {f"loss_{what}_stage{i}" for what in ("cls", "triplet") for i in (1, 2, 3, 4)}
        | {f"loss_location_stage{i}" for i in (1, 2, 3)},
        256 * 4,
        tiny={**TINY, "MODEL.HEADS.EMBEDDING_DIM": 16, "MODEL.BACKBONE.WITH_IBN": False},
    ),
    "Res2NetMultiTask": Project(
        "demo/res2net.yml",
        {"loss_cls_global", "loss_verification_global"},
        4096,
        {"SOLVER.WARMUP_METHOD": "linear"},  # FastReID's default again: SMALL has no warm-up that would read another
        tiny={},
    ),
    "MSReID": Project(
        "demo/msreid.yml",
        {f"loss_{what}_{b}" for what in ("cls", "triplet", "center") for b in ("global", "local")},
        512 * 2,
        tiny={},  # its attention divides the channels by 16, and the first stage would have 8
    ),
    "OccludedReID": Project(
        "demo/occluded.yml",
        {"loss_cls_global", "loss_bed_global", "loss_bed_rp"},
        512,
        tiny={**TINY, "MODEL.BACKBONE.NAME": "build_tiny_dnl_backbone", "MODEL.BACKBONE.DNL.BLOCKS": [0, 1, 1, 0]},
    ),
    "DeepMiner": Project(
        "demo/deepminer.yml",
        {f"loss_{what}_{b}" for what in ("cls", "triplet", "center") for b in ("global", "ie2", "ie3", "local")},
        512 * (3 + 4),
    ),
    "Baseline": Project(
        "demo/baseline.yml",
        {"loss_cls", "loss_triplet"},
        512,
        tiny={**TINY, "MODEL.BACKBONE.FEAT_DIM": 64},
        writes_into_the_batch=True,  # FastReID's own images.sub_(mean)
    ),
}
SMALL = {
    **small_training.RUN,
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.LAST_STRIDE": 1,  # four rows for four stripes
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "DATASETS.TESTS": ("SynthReIDTiny", "SynthReIDOccludedTiny"),
}


def merged(config, *overrides):
    cfg = get_config(config)
    for settings in overrides:
        cfg.merge_from_list([item for pair in settings.items() for item in pair])
    return cfg


@pytest.fixture(params=PROJECTS, scope="module")
def project(request):
    return PROJECTS[request.param]


@pytest.fixture(scope="module")
def build(project):
    """``build()``: a model of its own random weights."""
    cfg = merged(project.config, SMALL, project.overrides, {"MODEL.HEADS.NUM_CLASSES": 12})
    return lambda: build_model(cfg)


@pytest.fixture(scope="module")
def build_tiny(project):
    """``build_tiny()``: a model such as the trained one."""
    cfg = merged(project.config, SMALL, project.overrides, project.tiny, {"MODEL.HEADS.NUM_CLASSES": 12})
    return lambda: build_model(cfg)


@pytest.fixture(scope="module")
def built(build):
    return build()


@pytest.fixture
def model(built):
    """A copy that a test may change: to draw millions of weights takes longer."""
    return copy.deepcopy(built)


@pytest.fixture(scope="module")
def trained(project, synth_root, tmp_path_factory):
    """(trainer, weights before, results) of one epoch of the real trainer."""
    out = tmp_path_factory.mktemp("contract")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(synth_root))
        trainer = Trainer(merged(project.config, SMALL, project.overrides, project.tiny, {"OUTPUT_DIR": str(out)}))
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        return trainer, before, trainer.train()


def wake_zeros(model):
    """What starts at 0 (SAM's gamma, the last projection of DNL) hides what lies behind it from the gradient."""
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.1)
    for module in model.modules():
        if isinstance(module, DisentangledNonLocal2d):
            nn.init.normal_(module.last_projection.weight, std=0.1)


def test_losses_and_gradients(project, model, storage):
    wake_zeros(model)
    for _ in range(2):  # the one channel of MSReID's spatial attention may be off at every place of a batch so small
        losses = model(batch())
        assert set(losses) == project.losses
        assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
        sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def ours_only(project):
    if project.writes_into_the_batch:
        pytest.skip("FastReID's own model: the trainer keeps its losses in float32, see tests/engine/test_step.py")


def test_precise_bn_batches_feed_the_batch_norms_alone(project, model, storage):
    ours_only(project)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert model({**batch(), "targets": torch.full((4,), -1)}) == {}
    after = model.state_dict()
    changed = {key.rsplit(".", 1)[-1] for key in after if not torch.equal(after[key], before[key])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
def test_losses_and_features_are_float32_under_autocast(project, storage, dtype):
    """With a last map of two columns.

    Of maps with one column oneDNN's bfloat16 convolutions make weight gradients out of memory that was never written
    (torch 2.15.0): NaN now and then, whatever the model.
    """
    ours_only(project)
    size = {"MODEL.HEADS.NUM_CLASSES": 12, "MODEL.BACKBONE.LAST_STRIDE": 2}
    size |= {"INPUT.SIZE_TRAIN": [64, 64], "INPUT.SIZE_TEST": [64, 64], "MODEL.DEEPMINER.LOCAL_STRIPES": 2}
    model, inputs = build_model(merged(project.config, SMALL, project.overrides, size)), batch(width=64)
    with torch.autocast("cpu", dtype=dtype):
        losses = model(copy_of(inputs))
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert not [name for name, p in model.named_parameters() if p.requires_grad and not p.grad.isfinite().all()]
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        feature = model.eval()(inputs)
    assert feature.dtype == torch.float32 and feature.isfinite().all()


def test_no_module_is_named_by_a_python_keyword(model):
    """torch.export writes the names into Python code."""
    names = [name for name, _ in (*model.named_modules(), *model.named_parameters(), *model.named_buffers())]
    assert [name for name in names if any(keyword.iskeyword(part) for part in name.split("."))] == []


def test_features(project, model):
    model, inputs = model.eval(), batch()
    with torch.no_grad():
        first, again = model(copy_of(inputs)), model(copy_of(inputs))
    assert first.shape == (4, project.dim) and first.isfinite().all()
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("training", [True, False])
def test_the_callers_batch_is_left_alone(project, model, storage, training):
    inputs = batch()
    before = copy_of(inputs)
    model.train(training)(inputs)
    untouched = all(torch.equal(inputs[key], before[key]) for key in before)
    assert untouched is not project.writes_into_the_batch


def test_saved_state_gives_the_same_features(model, build, storage, tmp_path):
    inputs = batch()
    model(copy_of(inputs))  # moves what training moves: batch statistics, centers
    torch.save(model.state_dict(), tmp_path / "model.pth")
    other = build()
    other.load_state_dict(torch.load(tmp_path / "model.pth"), strict=True)
    with torch.no_grad():
        assert torch.equal(model.eval()(copy_of(inputs)), other.eval()(copy_of(inputs)))


def test_a_teacher_is_followed(project, model, storage):
    """Distillation watches what the test feature is made of, in every model, and leaves no trace in it."""
    teacher = types.SimpleNamespace(record=types.SimpleNamespace(size=(32, 16), crop=()), seen=[])
    teacher.features = lambda images: teacher.seen.append(images) or images.flatten(1)[:, ::97]
    cfg = get_cfg()
    cfg.KD.LOSSES.NAME = list(DISTILLATION_LOSSES)
    keys, inputs = set(model.state_dict()), batch()
    distillation = Distillation(model, teacher, distillation_terms(cfg))
    assert distillation.try_on((64, 32))[0] == project.dim
    pixels = F.interpolate(inputs["images"], (32, 16), mode="bicubic", antialias=True).clamp(0, 255)
    losses = distillation.losses(model.train(), copy_of(inputs))
    assert set(losses) == project.losses | {"loss_kd_distance", "loss_kd_similarity"}
    if project.config != "demo/occluded.yml":  # its batches are doubled and erased, the teacher's too
        assert torch.allclose(teacher.seen[-1], pixels, atol=1e-2)
    else:
        assert teacher.seen[-1].shape == (8, 3, 32, 16)
    trunk = next(p for p in model.backbone.parameters() if p.dim() == 4)
    for key in ("loss_kd_distance", "loss_kd_similarity"):
        (gradient,) = torch.autograd.grad(losses[key], trunk, retain_graph=True)
        assert gradient.isfinite().all() and gradient.any()
    assert set(model.state_dict()) == keys and "branches" not in vars(model) | vars(model.heads)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.slow
def test_training_moves_the_weights(project, trained):
    trainer, before, results = trained
    for name, parameter in trainer.model.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == parameter.requires_grad, name
    assert set(results) == {"SynthReIDTiny", "SynthReIDOccludedTiny"}
    for metrics in results.values():
        assert 0 <= metrics["mAP"] <= 100 and 0 <= metrics["Rank-1"] <= 100


@pytest.mark.slow
def test_training_logs_the_losses(project, trained):
    trainer, _, _ = trained
    logged = set(trainer.storage.histories())
    assert {name for name in logged if name.startswith("loss_")} == project.losses
    for name in project.losses:
        assert all(math.isfinite(value) for value, _ in trainer.storage.history(name).values())


@pytest.mark.slow
def test_a_trained_state_fits_a_fresh_model(trained, build_tiny):
    trainer, _, _ = trained
    other, inputs = build_tiny().eval(), batch()
    other.load_state_dict(trainer.model.state_dict())
    with torch.no_grad():
        assert torch.equal(trainer.model.eval()(copy_of(inputs)), other(copy_of(inputs)))


# ---- every shipped yaml -------------------------------------------------------------------------------------------

FILES = list_config_files()


@functools.cache
def settings_of(file):
    """All that a config says: (key, value)."""
    with pytest.MonkeyPatch.context() as patch:
        # Every process of the tests reads all files before its first test: libyaml nearly halves its time.
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        try:
            return list(leaves(get_config(file)))
        except (KeyError, ValueError):
            return [("file", file)]  # a broken yaml is the business of its own test, not of the collection


def one_of_each(*skipped):
    """The first of all files that say the same but for these keys and those below them."""
    said = {file: [pair for pair in settings_of(file) if not pair[0].startswith(skipped)] for file in FILES}
    return sorted({json.dumps(said[file], default=str): file for file in reversed(FILES)}.values())


def test_the_papers_configs_are_shipped():
    datasets = ("Market1501", "DukeMTMC", "CUHK03Labeled", "CUHK03Detected", "MSMT17")
    assert {f"DeepMiner/{name}_R50.yml" for name in datasets} < set(FILES)
    assert {f"MSReID/{name}_R50.yml" for name in datasets} < set(FILES)
    assert {f"MGRe/{name}_R50.yml" for name in datasets} < set(FILES)
    assert {f"MSReID/ablation/{name}.yml" for name in ("ALM", "AL", "AM", "LM", "A", "L", "M", "none")} < set(FILES)
    rows = ("baseline", "s1", "s2", "s3", "s23", "s123")  # of MGRe's table 4; then those of tables 5 to 7 and figure 5
    rows = [f"table4_{row}" for row in rows] + ["table5_single_features", "table5_single_regions", "table6_occlusion"]
    rows += [f"table8_{trunk}" for trunk in ("r101", "r152", "resnest101", "resnest200", "resnest269")]
    rows += ["table7_baseline_jo", "table7_without_jo", *(f"fig5_dim{n}" for n in (256, 512, 1024, 2048, 4096))]
    assert {f"MGRe/ablation/{row}.yml" for row in rows} < set(FILES)
    occluded = ("OccludedDuke", "OPReID", "Market1501", "DukeMTMC", "PDukeMTMC")
    rows = ("baseline", "cbe", "bed", "dnl", "rp")  # of table 5; the sixth is the full model
    assert {f"OccludedReID/{name}_R50.yml" for name in occluded} < set(FILES)
    assert {f"OccludedReID/ablation/{name}_{row}.yml" for name in occluded for row in rows} < set(FILES)
    rows = [
        f"{name}_{trunk}" for name in ("Market1501", "DukeMTMC") for trunk in ("R50", "R101", "Res2Net50", "Res2Net101")
    ]
    rows += [f"ablation/table2_er{n:02d}" for n in range(11)]  # tables 3 and 2
    assert {f"Res2NetMultiTask/{row}.yml" for row in rows} < set(FILES)
    light_and_modern = dict.fromkeys(PROJECTS, ("OSNet", "ConvNeXtV2T", "ConvNeXtV2A"))
    light_and_modern |= dict.fromkeys(("Res2NetMultiTask", "Baseline"), ("OSNet", "DINOv2S", "ViTTi"))
    for project, (light, modern, small) in light_and_modern.items():
        pairs = {("Market1501", light), ("SynthReID", light), ("Market1501", modern), ("SynthReID", small)}
        assert {f"{project}/{name}_{trunk}.yml" for name, trunk in pairs} < set(FILES)
    assert {project.config for project in PROJECTS.values()} < set(FILES)


@pytest.mark.slow
@pytest.mark.parametrize("file", one_of_each("DATASETS", "OUTPUT_DIR", "SOLVER", "TEST"))  # which make no other model
def test_every_config_builds_and_reads_its_model_keys(file):
    """On the meta device: the full-size model without its memory."""
    cfg = merged(file, {"MODEL.BACKBONE.PRETRAIN": False, "MODEL.DEVICE": "meta", "MODEL.HEADS.NUM_CLASSES": 10})
    cfg, reads = track(cfg)
    with shapes.OnMeta():
        model = build_model(cfg)
    assert any(p.requires_grad for p in model.parameters())
    by_engine = {"MODEL.FREEZE_LAYERS"}
    check_all_read(cfg, get_cfg(), reads | by_engine, nodes=("MODEL",))


def test_output_folders_are_apart():
    folders = [dict(settings_of(file))["OUTPUT_DIR"] for file in FILES]
    assert len(set(folders)) == len(folders)
    assert folders == [f"logs/{file.removesuffix('.yml')}" for file in FILES]


RECIPES = one_of_each(  # beside the model's shape, its data and its output folder
    "MODEL.BACKBONE",
    "MODEL.HEADS.EMBEDDING_DIM",
    "MODEL.DEEPMINER",
    "MODEL.MSREID",
    "MODEL.MGRE",
    "MODEL.OCCLUDED.ME.BETA",
    "MODEL.LOSSES.BED.ALPHA",
    "INPUT.BATCH_AUGMENT.REA.PROB",
    "DATASETS",
    "OUTPUT_DIR",
)


# Builder of a trunk -> the keys of a small one, and its channels.
SMALLER = {
    **dict.fromkeys(("build_resnet_backbone", "build_dnl_resnet_backbone"), ({"DEPTH": "18x"}, 512)),
    "build_narrow_resnet_backbone": ({"DEPTH": "10x"}, 256),
    "build_res2net_backbone": ({"DEPTH": "26x"}, 2048),
    "build_osnet_backbone": ({"DEPTH": "x0_25"}, 128),
    "build_timm_backbone": ({"TIMM.NAME": "convnextv2_atto"}, 320),
}


@pytest.mark.slow
@pytest.mark.parametrize("file", RECIPES)
def test_every_recipe_is_read_by_the_trainer(file, synth_tiny, tmp_path):
    """One file a recipe: the trainer itself refuses a key that nothing reads. Model and data are small."""
    small = {
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.DEVICE": "cpu",
        "DATASETS.NAMES": ("SynthReIDTiny",),
        "DATASETS.TESTS": ("SynthReIDTiny",),
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 16,
        "OUTPUT_DIR": str(tmp_path),
    }
    cfg = merged(file, small)
    smaller, channels = SMALLER[trunk_builder(cfg)]
    if cfg.MODEL.BACKBONE.TIMM.NAME.startswith("vit"):
        smaller, channels = {"TIMM.NAME": "vit_tiny_patch16_224"}, 192
    if cfg.MODEL.META_ARCHITECTURE == "MGN":
        smaller = {}  # FastReID builds its branches from the blocks of a ResNet-50
    cfg.merge_from_list([item for key, value in smaller.items() for item in (f"MODEL.BACKBONE.{key}", value)])
    if cfg.MODEL.META_ARCHITECTURE == "Baseline":
        cfg.MODEL.BACKBONE.FEAT_DIM = channels
    if cfg.MODEL.BACKBONE.NAME == "build_dnl_resnet_backbone":
        cfg.MODEL.BACKBONE.DNL.BLOCKS = [0, 2, 2, 0]  # all that a ResNet-18 has
    if cfg.SOLVER.WARMUP_ITERS > 1000:
        cfg.SOLVER.WARMUP_ITERS = 8  # the miniature's epochs are short, and a warm-up must end before the run does
    if cfg.DATALOADER.NUM_INSTANCE > 8:
        cfg.DATALOADER.NUM_INSTANCE = 8
    with EventStorage(), shapes.WithoutDraws():
        trainer = Trainer(cfg)
    assert trainer.max_epoch == cfg.SOLVER.MAX_EPOCH
    assert trainer.warmup_iters == (
        cfg.SOLVER.WARMUP_EPOCHS * trainer.iters_per_epoch if cfg.SOLVER.WARMUP_EPOCHS else cfg.SOLVER.WARMUP_ITERS
    )
