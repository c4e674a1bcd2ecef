"""Checkpoints written before heads were plug-ins: they load whole, and give the same features and the same run."""

import logging
from pathlib import Path

import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
import yaml
from fastreid.modeling import build_model

from fastreid_ext.cli import main
from fastreid_ext.engine import hooks
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.renamed import renamed_settings, renamed_state

NAMES = Path(__file__).parent / "earlier_names.txt"
# What the models of the file were built with, beside the demo's config.
OVERRIDES = {
    "deepminer": ["MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP", "MODEL.HEADS.EMBEDDING_DIM", 64],
    "msreid": [],
    "mgre": [],
    "occluded": ["MODEL.HEADS.EMBEDDING_DIM", 64],
    "res2net": [],
}


def config(project, *overrides):
    cfg = get_config(f"demo/{project}.yml")
    sizes = ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "MODEL.BACKBONE.LAST_STRIDE", 1]
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 12, *sizes, *OVERRIDES[project], *overrides])
    return cfg


def earlier_names(project, model):
    """The names that the weights of a model had, in their order."""
    names, found = [], False
    for line in NAMES.read_text().splitlines():
        if line.startswith("["):
            found = line == f"[{project}]"
        elif found:
            module, leaves = line.split(": ")
            names += [f"{module}.{leaf}" for leaf in leaves.split()]
    first = sum(name.startswith("criterion.") for name in names)
    backbone = [f"backbone.{name}" for name in model.backbone.state_dict()]
    return [*names[:first], *backbone, *names[first:]]


def as_earlier(project, model, state):
    """The state dict as it was written then: the order of the weights is the same."""
    return dict(zip(earlier_names(project, model), state.values(), strict=True))


def features(model):
    torch.manual_seed(3)
    with torch.no_grad():
        return model.eval()(torch.rand(2, 3, 64, 32) * 255)


@pytest.mark.parametrize("project", OVERRIDES)
def test_they_load_whole_and_give_the_same_features(project, tmp_path, caplog):
    logging.getLogger("fastreid_ext").propagate = True
    model = build_model(config(project))
    for name, buffer in model.named_buffers():  # or any order of the branches would do
        if name.endswith("running_mean"):
            buffer.normal_()
    state = model.state_dict()
    earlier = as_earlier(project, model, state)
    count = sum(old != new for old, new in zip(earlier, state, strict=True))
    assert count and not earlier.keys() - state.keys() <= set()
    torch.save({"model": {f"module.{key}": value for key, value in earlier.items()}}, tmp_path / "model.pth")
    with caplog.at_level(logging.INFO, logger="fastreid_ext"):
        loaded = load_trained(config(project, "MODEL.WEIGHTS", str(tmp_path / "model.pth")))
    own = sum(not key.endswith("num_batches_tracked") for key in state)
    said = [record.getMessage() for record in caplog.records]
    assert f"{count} of the checkpoint's {len(state)} weights and buffers had an earlier name and were renamed" in said
    assert f"loaded {own} of the model's {own} weights and buffers" in said
    assert not any("missing" in message for message in said)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert torch.equal(features(loaded), features(model))


@pytest.mark.parametrize("project", OVERRIDES)
def test_weights_of_today_keep_their_names(project, tmp_path, caplog):
    with torch.device("meta"):
        model = build_model(config(project, "MODEL.DEVICE", "meta"))
    state = model.state_dict()
    again, count = renamed_state(state, model)
    assert count == 0 and list(again) == list(state)


def test_training_starts_from_them(tmp_path):
    """MODEL.WEIGHTS of a run that trains, which nothing has to be complete for."""
    model, other = build_model(config("occluded")), build_model(config("occluded"))
    earlier = as_earlier("occluded", model, model.state_dict())
    del earlier["heads.weight"]
    torch.save(earlier, tmp_path / "model.pth")
    AtomicCheckpointer(other).resume_or_load(str(tmp_path / "model.pth"), resume=False)
    assert torch.equal(other.heads.neck.reduce.weight, model.heads.neck.reduce.weight)
    assert not torch.equal(other.heads.neck.weight, model.heads.neck.weight)


# ---- a run that was stopped then goes on now ------------------------------------------------------------------------


@pytest.fixture
def train(synth_tiny):
    def run(project, output, *args, max_epoch=2):
        pairs = {
            "MODEL.DEVICE": "cpu",
            "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",  # any will do for a head that reads one map
            "MODEL.BACKBONE.DEPTH": "50x",  # the default: the tiny one reads none
            "MODEL.BACKBONE.LAST_STRIDE": 1,
            "INPUT.SIZE_TRAIN": [64, 32],
            "INPUT.SIZE_TEST": [64, 32],
            "DATASETS.NAMES": ("SynthReIDTiny",),
            "DATASETS.TESTS": ("SynthReIDTiny",),
            "DATALOADER.NUM_WORKERS": 0,
            "SOLVER.IMS_PER_BATCH": 16,
            "SOLVER.AMP.ENABLED": False,
            "SOLVER.WARMUP_EPOCHS": 0,
            "SOLVER.WARMUP_ITERS": 0,
            "SOLVER.SCHED": "MultiStepLR",
            "SOLVER.STEPS": [],
            "SOLVER.MAX_EPOCH": max_epoch,
            "SEED": 0,
            "TEST.RANK_LIST.ENABLED": False,
            "OUTPUT_DIR": output,
        }
        if project == "res2net":
            pairs["SOLVER.WARMUP_METHOD"] = "linear"
        else:
            pairs["MODEL.BACKBONE.DNL.BLOCKS"] = [0, 2, 3, 0]
        overrides = [str(x) for pair in pairs.items() for x in pair]
        assert main(["train", "--config-file", f"demo/{project}.yml", *args, *overrides]) == 0
        return output

    return run


@pytest.fixture
def stopped_after_an_epoch(train, monkeypatch):
    write = hooks.WriteEvents.after_epoch

    def stop(self):
        write(self)
        raise KeyboardInterrupt

    def run(project, output):
        with monkeypatch.context() as patch:
            patch.setattr(hooks.WriteEvents, "after_epoch", stop)
            with pytest.raises(AssertionError, match="130"):  # the exit status of Ctrl-C
                train(project, output)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("project", ["res2net", "occluded"])
def test_a_run_of_then_is_resumed(project, train, stopped_after_an_epoch, tmp_path, monkeypatch):
    """Weights, optimiser and settings as they were written then: the rest of the run is the same, bit for bit."""
    monkeypatch.setitem(OVERRIDES, project, [])
    whole = train(project, tmp_path / "whole")
    output = tmp_path / "stopped"
    stopped_after_an_epoch(project, output)
    checkpoint = torch.load(output / "model_latest.pth", weights_only=True)
    tiny = config(project, "MODEL.BACKBONE.NAME", "build_tiny_resnet_backbone", "MODEL.BACKBONE.DEPTH", "50x")
    state, names = checkpoint["model"], earlier_names(project, build_model(tiny))
    if project == "occluded":
        names.remove("heads.reduce.weight")  # the file's has an embedding
    checkpoint["model"] = dict(zip(names, state.values(), strict=True))
    assert checkpoint["model"].keys() != state.keys()
    torch.save(checkpoint, output / "model_latest.pth")
    settings = yaml.safe_load((output / "config.yaml").read_text())
    settings["MODEL"]["HEADS"]["NAME"] = "EmbeddingHead"
    factors = [[name.removeprefix("heads."), factor] for name, factor in settings["SOLVER"]["LR_FACTORS"]]
    settings["SOLVER"]["LR_FACTORS"] = factors
    (output / "config.yaml").write_text(yaml.safe_dump(settings))

    train(project, output, "--resume")
    assert "had an earlier name and were renamed" in (output / "log.txt").read_text()
    runs = [torch.load(path / "model_final.pth", weights_only=True) for path in (whole, output)]
    for key, value in runs[0]["model"].items():
        assert torch.equal(value, runs[1]["model"][key]), key


def test_settings_of_then():
    moved = {"MODEL.META_ARCHITECTURE": "Res2NetMultiTask", "MODEL.HEADS.NAME": "EmbeddingHead", "SOLVER.BASE_LR": 0.1}
    moved["SOLVER.LR_FACTORS"] = [["backbone", 0.1], ["verification", 0.2]]
    assert renamed_settings(moved) == {
        "MODEL.META_ARCHITECTURE": "Res2NetMultiTask",
        "SOLVER.BASE_LR": 0.1,
        "SOLVER.LR_FACTORS": [["backbone", 0.1], ["heads.verification", 0.2]],
    }
    now = moved | {"MODEL.HEADS.NAME": "PairVerificationHead"}
    host = moved | {"MODEL.META_ARCHITECTURE": "Baseline"}
    assert renamed_settings(now) == now and renamed_settings(host) == host
