"""SOLVER.COMPILE: the same model and numbers by compiled kernels, and a sentence where that can't work.

Backend "eager" of torch.compile captures the graphs and runs them as they are: the wiring, to the bit. One test has the
kernels that a user gets.
"""

import copy
import importlib.util
import json
import logging
import sysconfig
import types

import pytest
import torch
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine import compiling
from fastreid_ext.engine.checks.compiler import compiler_mistakes
from fastreid_ext.engine.compiling import Compiled, compile_model
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.head_plugins import BranchHead
from fastreid_ext.modeling.loss_table import Term
from fastreid_ext.modeling.student_features import StudentFeatures


class Head(BranchHead):
    takes, dims = "map", {"global": 8}

    def __init__(self):
        super().__init__()
        self.neck, self.classifier = nn.BatchNorm1d(8), nn.Linear(8, 2)

    def branches(self, maps, targets=None):
        feature = self.neck(maps.mean(dim=(2, 3)))
        return {"global": {"feature": feature, "neck": feature, "logits": self.classifier(feature)}}


class Small(BranchedReID):
    """One convolution; counts how often its Python code runs, which in a graph it does not."""

    def __init__(self):
        term = Term("CE", "ce", "logits", 1.0, lambda classes, dim: nn.CrossEntropyLoss())
        head = Head()
        super().__init__(head, num_classes=2, loss_terms=[term], pixel_mean=[100.0] * 3, pixel_std=[50.0] * 3)
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5))
        self.heads = head

    def branches(self, images, targets, **labels):
        if not torch.compiler.is_compiling():
            CALLS.append(len(images))
        return self.heads.branches(self.backbone(images), targets)


CALLS = []


@pytest.fixture
def on(monkeypatch):
    """A config with SOLVER.COMPILE, and a torch.compile that has captured nothing yet."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    torch._dynamo.reset()
    CALLS.clear()
    cfg = get_cfg()
    cfg.SOLVER.COMPILE = True
    return cfg


@pytest.fixture
def batch():
    return {"images": torch.rand(6, 3, 12, 8) * 255, "targets": torch.tensor([0, 1, 1, 0, 1, 0])}


def cut(batch, count):
    return {key: value[:count] for key, value in batch.items()}


def test_off_is_the_model_as_it_was():
    assert "branches" not in vars(compile_model(get_cfg(), Small()))


def test_the_same_numbers_names_and_copies(on, batch, storage, caplog):
    plain = Small()
    model = compile_model(on, copy.deepcopy(plain))
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in model.named_modules()] == [name for name, _ in plain.named_modules()]
    other = copy.deepcopy(model)
    assert other.branches.module is other and model.branches.module is model
    with caplog.at_level(logging.INFO, compiling.logger.name):
        for count in (6, 4, 6):  # the smaller one runs as it is
            found = []
            for each in (plain, model):
                torch.manual_seed(count)  # of dropout
                found.append(each(cut(batch, count))["loss_ce_global"])
                found[-1].backward()
            assert torch.equal(*found)
        assert all(torch.equal(p.grad, q.grad) for p, q in zip(plain.parameters(), model.parameters(), strict=True))
        for each in (plain, model):
            each.eval()
        with torch.no_grad():
            assert all(torch.equal(plain(batch["images"][:n]), model(batch["images"][:n])) for n in (6, 5, 6))
    assert CALLS == [6, 4, 4, 6, 6, 5, 5, 6]  # of the model itself the odd ones alone
    said = [r.getMessage().partition(" in ")[0] for r in caplog.records if r.name == compiling.logger.name]
    assert said == [
        "SOLVER.COMPILE: compiled for training with batches of 6 images",
        "SOLVER.COMPILE: compiled for the test with batches of 6 images",
    ]


def test_what_is_neither_training_nor_a_test_runs_as_it_is(on, batch, storage):
    model = compile_model(on, Small())
    with torch.no_grad():
        assert model({**batch, "targets": torch.full((6,), -1)}) == {}  # FastReID's PreciseBN
    model.eval()(batch["images"])  # with gradients, as Grad-CAM has them
    assert CALLS == [6, 6]


def test_checks_of_a_batch_stay(on, batch, storage):
    model = compile_model(on, Small())
    model(batch)
    with pytest.raises(ConfigError, match="targets outside 0 to 1"):
        model({**batch, "targets": batch["targets"] + 1})


def test_the_limit_of_torch_is_said_and_not_an_end(on, batch, storage, caplog):
    model, limit = compile_model(on, Small()), torch._dynamo.config.patch(recompile_limit=1)
    with caplog.at_level(logging.INFO, compiling.logger.name), limit:
        for count in (2, 4, 6):
            model(cut(batch, count))
    assert CALLS == [4, 6]
    (said,) = [record.getMessage() for record in caplog.records if record.name == compiling.logger.name][1:]
    assert "compiled as often as torch allows (1 times)" in said


def test_what_torch_stops_at_is_a_sentence(on, batch, storage, monkeypatch):
    def broken(graph, inputs):
        raise OSError("no space left")

    monkeypatch.setattr(compiling, "BACKEND", broken)
    with pytest.raises(ConfigError, match="torch.compile stops at this model .*no space left.*SOLVER.COMPILE False"):
        compile_model(on, Small())(batch)


def test_the_trunk_of_a_model_of_another_make(on):
    model = nn.Sequential()
    with pytest.raises(ConfigError, match="Sequential has no module `backbone`"):
        compile_model(on, model)
    model.backbone = nn.Conv2d(3, 4, 1)
    images = torch.rand(2, 3, 4, 4)
    expected = model.backbone(images)
    assert torch.equal(compile_model(on, model).backbone(images), expected)
    assert isinstance(model.backbone.forward, Compiled)


def test_distillation_sees_the_feature_and_leaves_it_compiled(on, batch, storage):
    model = compile_model(on, Small())
    with StudentFeatures(model).watching(batch) as watched:
        model(batch)
    assert watched.feature.shape == (6, 8) and watched.feature.requires_grad
    assert isinstance(vars(model)["branches"], Compiled) and CALLS == []


SHORT = {"SOLVER__STEPS": "[]", "TEST__IMS_PER_BATCH": 25}


@pytest.mark.slow
def test_a_run_ends_as_it_does_without(on, run_main, differences, tmp_path):
    """Also one that began without, is continued and evaluated by itself, and has odd last batches."""
    without = run_main(OUTPUT_DIR=tmp_path / "without", SOLVER__MAX_EPOCH=2, **SHORT)
    run_main(OUTPUT_DIR=tmp_path / "with", SOLVER__MAX_EPOCH=1, **SHORT)
    compiling_too = {**SHORT, "SOLVER__COMPILE": True}
    compiled = run_main("--resume", OUTPUT_DIR=tmp_path / "with", SOLVER__MAX_EPOCH=2, **compiling_too)
    assert "compiled for training with batches of 16 images" in (compiled / "log.txt").read_text()
    models = [torch.load(path / "model_final.pth", weights_only=True)["model"] for path in (without, compiled)]
    assert differences(*map(dict, models)) == []
    weights = compiled / "model_final.pth"
    alone = run_main("--eval-only", MODEL__WEIGHTS=weights, OUTPUT_DIR=tmp_path / "alone", **compiling_too)
    assert "compiled for the test with batches of 25 images" in (alone / "log.txt").read_text()
    results = [json.loads((path / "results.json").read_text())["results"] for path in (without, compiled, alone)]
    assert results[0] == results[1] == results[2]


@pytest.mark.slow
def test_two_ranks_train_to_the_same_weights(command_line, differences, tmp_path):
    env = {"FORK_RANKS": "1", "COMPILE_BACKEND": "eager"}
    overrides = {"SOLVER.MAX_EPOCH": 1, "SOLVER.STEPS": "[]", "SOLVER.COMPILE": True}
    ranks = ("--num-gpus", 2, "--dist-url", "auto")
    result = command_line.run(tmp_path / "out", *ranks, overrides=overrides, env=env)
    assert result.returncode == 0, result.stdout + result.stderr
    states = [torch.load(tmp_path / "out" / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]
    assert differences(*states) == []
    assert "compiled for training with batches of 8 images" in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.slow
def test_the_kernels_of_a_user(on, batch, storage, monkeypatch):
    """Inductor's: losses, gradients and features within 1e-5 of the largest number, float32, dropout included."""
    inductor = importlib.import_module("torch._inductor.config")
    monkeypatch.setattr(compiling, "BACKEND", "inductor")
    plain = Small()
    models, found = (plain, compile_model(on, copy.deepcopy(plain))), []
    for model in models:
        torch.manual_seed(1)
        with inductor.patch(compile_threads=1):
            loss = model(batch)["loss_ce_global"]
            loss.backward()
            with torch.no_grad():
                found.append([loss, model.eval()(batch["images"]), *(p.grad for p in model.parameters())])
    for first, second in zip(*found, strict=True):
        assert torch.allclose(first, second, rtol=0, atol=1e-5 * max(1.0, first.abs().max().item()))
    assert CALLS == [6, 6]


def on_device(device, compile=True):
    return types.SimpleNamespace(
        SOLVER=types.SimpleNamespace(COMPILE=compile), MODEL=types.SimpleNamespace(DEVICE=device)
    )


def test_what_the_machine_lacks_is_said_at_the_start(monkeypatch):
    inductor = importlib.import_module("torch._inductor.config")
    assert list(compiler_mistakes(on_device("cpu"))) == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(compiler_mistakes(on_device("cpu"))) == []
    (said,) = compiler_mistakes(on_device("cuda"))
    assert said == "SOLVER.COMPILE needs triton on a GPU, which is not installed: pip install triton, or set it False"
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": "/no/such"})
    (said,) = compiler_mistakes(on_device("cpu"))
    assert "install the headers of Python (/no/such/Python.h is missing), or set it False" in said
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        (said,) = compiler_mistakes(on_device("cpu"))
    assert said.startswith("SOLVER.COMPILE needs a compiler of C++: install g++") and "\n" not in said
    assert list(compiler_mistakes(on_device("cpu", compile=False))) == []
