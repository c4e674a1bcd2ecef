"""Every set that a run evaluates is listed and built once, before training, and its workers wait in between."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import DataSetError
from fastreid_ext.engine.evaluation import build_evaluator
from fastreid_ext.engine.evaluation_sets import EvaluationSets
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation import blocks

TWO = {"DATASETS__TESTS": "('SynthReIDTiny','SynthReIDOccludedTiny')", "SOLVER__MAX_EPOCH": 2, "SOLVER__STEPS": "[]"}


@pytest.fixture
def listed(monkeypatch):
    """How often the data sets of a kind were listed."""
    counts = Counter()
    for name in ("SynthReIDTiny", "SynthReIDOccludedTiny"):
        kind = DATASET_REGISTRY.get(name)

        def counted(self, *args, init=kind.__init__, name=name, **settings):
            counts[name] += 1
            init(self, *args, **settings)

        monkeypatch.setattr(kind, "__init__", counted)
    return counts


@pytest.fixture
def built(monkeypatch):
    """(names of the sets, loaders) in the order in which test loaders are built."""
    found = []
    build = Trainer.build_test_loader.__func__

    def noted(cls, cfg, dataset_name):
        loader, num_query = build(cls, cfg, dataset_name)
        found.append((dataset_name, loader))
        return loader, num_query

    monkeypatch.setattr(Trainer, "build_test_loader", classmethod(noted))
    return found


def test_a_run_lists_each_test_set_once(run_main, listed, built):
    """At its start, for two evaluations of two sets."""
    output = run_main(**TWO, DATASETS__NAMES="('SynthReIDTiny',)", TEST__EVAL_PERIOD=1)
    assert listed == {"SynthReIDTiny": 2, "SynthReIDOccludedTiny": 1}  # the first is trained on too
    assert [name for name, _ in built] == ["SynthReIDTiny", "SynthReIDOccludedTiny"]
    log = (output / "log.txt").read_text()
    assert log.count("Evaluation results for SynthReIDOccludedTiny") == 2
    shown = "=> Loaded SynthReIDOccludedTiny"
    assert log.count(shown) == 1 and log.index(shown) < log.index("Starting training")


@pytest.mark.slow
def test_a_finished_run_is_evaluated_from_the_same_lists(run_main, listed):
    run_main(**TWO)
    listed.clear()
    run_main("--resume", **TWO)
    assert listed == {"SynthReIDTiny": 2, "SynthReIDOccludedTiny": 1}


@pytest.mark.slow
def test_an_evaluation_alone_keeps_nothing(run_main, built, tmp_path):
    output = run_main(**TWO, DATALOADER__NUM_WORKERS=1)
    assert all(loader.loader.persistent_workers for _, loader in built)
    built.clear()
    run_main("--eval-only", **TWO, DATALOADER__NUM_WORKERS=1, MODEL__WEIGHTS=output / "model_final.pth")
    assert [loader.loader.persistent_workers for _, loader in built] == [False, False]


def test_a_trainer_of_fastreids_signatures(datasets, monkeypatch, forget_logs, tmp_path):
    """A subclass overrides what FastReID's own projects override, and is asked in every run."""

    class Mine(Trainer):
        asked = []

        @classmethod
        def build_evaluator(cls, cfg, dataset_name, output_dir=None):
            cls.asked.append(dataset_name)
            return super().build_evaluator(cfg, dataset_name, output_dir)

    monkeypatch.setenv("FASTREID_DATASETS", str(datasets))
    cfg = get_cfg()
    cfg.merge_from_file(str(Path(__file__).parent / "tiny.yml"))
    cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path), "SOLVER.MAX_EPOCH", 2, "SOLVER.STEPS", []])
    trainer = Mine(cfg)
    kept = trainer.train()
    assert Mine.asked == ["SynthReIDTiny"]
    assert Mine.test(trainer.cfg, trainer.model) == kept and Mine.asked == ["SynthReIDTiny"] * 2


def test_a_set_that_is_missing_is_found_as_the_sets_are_built():
    def build(name):
        raise DataSetError(f"no data set is registered as {name!r}")

    with pytest.raises(DataSetError, match="'Nowhere'"):
        EvaluationSets(["Nowhere"], build)


@pytest.mark.parametrize(("key", "others"), [("", 4000), ("TEST.AQE.ENABLED", 5000)], ids=["gallery", "all by all"])
def test_too_little_memory_is_found_without_features(key, others, monkeypatch, tmp_path):
    """A row of distances of query expansion is to all images, not to the gallery alone."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 0)  # each of them sorts a copy of a row
    monkeypatch.setattr(blocks, "CHUNKS", 1)
    row = 8 * others / 2**20  # and its sorted copy
    cfg = get_cfg()
    cfg.merge_from_list([*(["MODEL.DEVICE", "cpu"]), *([key, True] if key else [])])
    build = partial(build_evaluator, cfg, "people", range(5000), 1000, str(tmp_path))
    cfg.TEST.EVAL_MEMORY_MB = row
    build()
    cfg.TEST.EVAL_MEMORY_MB = row - 1e-6
    with pytest.raises(EvaluationError, match=rf"to {others} gallery images.*raise TEST\.EVAL_MEMORY_MB"):
        build()


def test_the_row_that_takes_most_is_named_first(tmp_path):
    """What is enough for it is enough for all; with re-ranking, whose share grows with the memory, it is a bound."""
    cfg = get_cfg()
    switches = ["TEST.AQE.ENABLED", True, "TEST.RERANK.ENABLED", True, "TEST.EVAL_MEMORY_MB", 1]
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *switches])
    with pytest.raises(EvaluationError, match=r"to 3000000 gallery images, which takes at least .* MB: raise"):
        build_evaluator(cfg, "people", range(3_000_000), 1_000_000, str(tmp_path))


@pytest.mark.slow
def test_too_little_memory_stops_a_run_at_its_start(fails, monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1 << 20)  # each thread sorts a copy of a row
    sentence = fails(**TWO, DATASETS__NAMES="('SynthReIDTiny',)", TEST__EVAL_MEMORY_MB=4)
    assert "raise TEST.EVAL_MEMORY_MB" in sentence
    assert "Starting training" not in (tmp_path / "out/log.txt").read_text()
