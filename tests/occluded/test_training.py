"""The full model through the command line a user types, on SynthReIDTiny: mu follows training, and only training."""

import json
import multiprocessing
import os
import re
import socket

import numpy as np
import pytest
import torch

from fastreid_ext.layers import MomentumElimination

MU = "heads.momentum_elimination.mu"
ME = "MODEL.OCCLUDED.ME.ENABLED"
ONE_EPOCH = {"SOLVER.MAX_EPOCH": 1, "SOLVER.SCHED": "MultiStepLR"}
TWO_EPOCHS = {"SOLVER.MAX_EPOCH": 2, "SOLVER.SCHED": "MultiStepLR"}


def final(output):
    return torch.load(output / "model_final.pth", weights_only=True)["model"]


def results(output):
    return json.loads((output / "results.json").read_text())["results"]["SynthReIDTiny"]


def different(a, b):
    """The names of what differs in a bit."""
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def ema(steps, beta=0.9):
    """Eq. 6 in float64, with the features divided by their lengths."""
    mu = 0.0
    for features in steps:
        x = features.double().numpy()
        mu = beta * mu + (1 - beta) * (x / np.sqrt((x**2).sum(axis=1, keepdims=True))).mean(axis=0)
    return torch.tensor(mu)


@pytest.fixture
def recorded(monkeypatch):
    """The features of every training forward, and mu after every step."""
    record = {"features": [], "mu": []}
    observe, after_step = MomentumElimination.observe, MomentumElimination.after_step

    def observing(self, features):
        record["features"].append(features.detach().clone())
        observe(self, features)

    def stepping(self):
        after_step(self)
        record["mu"].append(self.mu.clone())

    monkeypatch.setattr(MomentumElimination, "observe", observing)
    monkeypatch.setattr(MomentumElimination, "after_step", stepping)
    return record


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Where the run of two epochs is kept, once a test has made it."""
    return tmp_path_factory.mktemp("trained") / "two_epochs"


@pytest.fixture
def two_epochs(trained, run_main):
    """OUTPUT_DIR of the full model after two epochs of four steps."""
    return trained if (trained / "results.json").is_file() else run_main(output=trained, overrides=TWO_EPOCHS)


def test_mu_is_the_running_mean_of_all_steps(run_main, recorded):
    """Four steps of 2 x 16 images, with FastReID's PreciseBN after the last: mu is that of the steps alone.

    Tolerance: float32 against float64.
    """
    precise = {"ENABLED": True, "DATASET": "SynthReIDTiny", "NUM_ITER": 2}
    precise = {f"TEST.PRECISE_BN.{key}": value for key, value in precise.items()}
    output = run_main(overrides={**ONE_EPOCH, **precise})
    assert [x.shape for x in recorded["features"]] == [(32, 64)] * 4
    for step, mu in enumerate(recorded["mu"], start=1):
        torch.testing.assert_close(mu.double(), ema(recorded["features"][:step]), rtol=1e-5, atol=1e-8)
    assert len(recorded["mu"]) == 4
    mu = final(output)[MU]
    assert torch.equal(mu, recorded["mu"][-1]) and mu.norm() > 0.05
    assert "Running precise-BN for 2 iterations" in (output / "log.txt").read_text()


@pytest.mark.slow
def test_total_batch_halves_the_samples(run_main, recorded):
    """16 images pass the network, 8 of them sampled: nine steps an epoch of 72 images."""
    run_main(overrides={**ONE_EPOCH, "INPUT.BATCH_AUGMENT.CBE.TOTAL_BATCH": True})
    assert [x.shape for x in recorded["features"]] == [(16, 64)] * 9


@pytest.mark.slow
def test_mu_acts_in_the_test_alone(two_epochs, run_main, tmp_path):
    """With and without momentum elimination the same seed gives the same weights, bit for bit; the metrics differ."""
    without = run_main(output=tmp_path / "without", overrides={**TWO_EPOCHS, ME: False})
    weights = final(two_epochs)
    assert weights.pop(MU).any()
    assert different(weights, final(without)) == set()
    metrics = results(two_epochs), results(without)
    assert metrics[0] != metrics[1] and all(0 < m["mAP"] <= 100 for m in metrics)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_never_was(two_epochs, run_main, stopped, tmp_path):
    stopped(run_main, overrides=TWO_EPOCHS)
    latest = torch.load(tmp_path / "out" / "model_latest.pth", weights_only=True)
    assert latest["epoch"] == 0 and latest["model"][MU].any()
    output = run_main("--resume", overrides=TWO_EPOCHS)
    assert "Starting training from epoch 1" in (output / "log.txt").read_text()
    assert different(final(two_epochs), final(output)) == set()  # mu is one of them
    assert results(output) == results(two_epochs)


def test_eval_only_gives_the_same_results(two_epochs, run_main, tmp_path, fails):
    weights = {"MODEL.WEIGHTS": two_epochs / "model_final.pth"}
    again = run_main("--eval-only", output=tmp_path / "again", overrides=weights)
    assert results(again) == results(two_epochs)
    # A saved mu counts: without it the metrics are others, and weights that have none are refused
    without = run_main("--eval-only", output=tmp_path / "without", overrides={**weights, ME: False})
    assert results(without) != results(two_epochs)
    state = final(two_epochs)
    del state[MU]
    torch.save({"model": state}, tmp_path / "no_mu.pth")
    sentence = fails("--eval-only", output=tmp_path / "none", overrides={"MODEL.WEIGHTS": tmp_path / "no_mu.pth"})
    assert re.search(rf"weights that the test feature needs .*'{MU}'", sentence)


def test_weights_trained_without_rp_can_be_tested(two_epochs, run_main, tmp_path):
    """RP is no part of the test feature: a file without it gives the same results."""
    state = {k: v for k, v in final(two_epochs).items() if not k.startswith("heads.reconstructive_pooling")}
    torch.save({"model": state}, tmp_path / "no_rp.pth")
    output = run_main("--eval-only", overrides={"MODEL.WEIGHTS": tmp_path / "no_rp.pth"})
    assert results(output) == results(two_epochs)


def rank_of_two(rank, port, output, arguments):
    """Torchrun's variables, the command line, and this rank's weights and buffers in OUTPUT_DIR."""
    from fastreid_ext.cli import main
    from fastreid_ext.engine import run

    class Dumping(run.Trainer):
        def train(self):
            trained = super().train()
            torch.save(self.checkpointer.model.state_dict(), output / f"rank{rank}.pth")
            return trained

    run.Trainer = Dumping
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({key: str(value) for key, value in ranks.items()}, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    assert main(["train", *arguments]) == 0


@pytest.mark.slow
def test_two_ranks_end_with_one_mu(command_line_arguments, synth_tiny, tmp_path):
    """Every rank has batches of its own; weights, batch norms and mu end the same, bit for bit."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = command_line_arguments(tmp_path, overrides=ONE_EPOCH)
    forked = multiprocessing.get_context("fork")  # nothing has to be imported again
    processes = [forked.Process(target=rank_of_two, args=(rank, port, tmp_path, arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    ranks = [torch.load(tmp_path / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]
    assert different(*ranks) == set() and ranks[0][MU].any()
    assert different(ranks[0], final(tmp_path)) == set()


@pytest.mark.parametrize("total", [False, True])
def test_a_model_that_augments_no_batches_is_told_so(total, fails):
    """FastReID's Baseline has no batch augmentation, and with TOTAL_BATCH would train on half the images."""
    plain = {"MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone", "MODEL.BACKBONE.FEAT_DIM": 64, **ONE_EPOCH}
    plain["MODEL.BACKBONE.DNL.BLOCKS"] = [0, 2, 3, 0]  # the default
    augment = {"INPUT.BATCH_AUGMENT.NAME": ["CompoundBatchErasing"], "INPUT.REA.ENABLED": False}
    augment["INPUT.BATCH_AUGMENT.CBE.TOTAL_BATCH"] = total
    assert "INPUT.BATCH_AUGMENT.NAME" in fails(overrides={**plain, **augment}, config="demo/baseline.yml")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MODEL.OCCLUDED.ME.BETA": 1.0}, "ME.BETA is 1.0 and must be a finite number, 0 or more and below 1"),
        ({"MODEL.OCCLUDED.TEST_FEATURE": "pooled"}, "MODEL.OCCLUDED.TEST_FEATURE has no effect here"),
        ({"INPUT.BATCH_AUGMENT.CBE.STRIPES": [6, 65]}, "images of 64 rows can't be cut into 65 stripes"),
        ({"INPUT.REA.ENABLED": True}, "INPUT.REA.ENABLED erases every image before CompoundBatchErasing"),
        (
            {"INPUT.BATCH_AUGMENT.CBE.TOTAL_BATCH": True, "SOLVER.IMS_PER_BATCH": 17},
            r"SOLVER.IMS_PER_BATCH \(17\) is not a multiple of the 2 copies",
        ),
        ({"MODEL.LOSSES.BED.ALPHA": 0.0}, "BED.ALPHA is 0.0 and must be a finite number, above 0"),
        ({"MODEL.LOSSES.BED.REDUCTION": "sum"}, "BED.REDUCTION is 'sum' and must be one of balanced, mean, hard"),
    ],
)
def test_mistakes_are_one_sentence_at_start_up(overrides, message, fails):
    assert re.search(message, fails(overrides=overrides))
