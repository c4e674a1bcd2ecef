"""Two ranks on a CPU, by --num-gpus and by torchrun, from the command line a user types."""

import json
import types
from pathlib import Path

import pytest
import torch
from fastreid.utils import comm

STARTERS = {
    "--num-gpus": ((), ("--num-gpus", 2, "--dist-url", "auto")),
    "torchrun": (("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"), ()),
}
FORKED = {"FORK_RANKS": "1"}  # where another test has ranks that are spawned as a user's are
TWO_EPOCHS = {"SOLVER.MAX_EPOCH": 2, "SOLVER.STEPS": "[]", "DATALOADER.NUM_WORKERS": 1}


def metrics(output):
    return json.loads((output / "results.json").read_text())["results"]["SynthReIDTiny"]


@pytest.fixture(scope="module")
def trained(command_line, tmp_path_factory):
    """``trained("torchrun")``: OUTPUT_DIR of two epochs on two ranks.

    Those of torchrun are a run of one epoch, by --num-gpus, that torchrun resumes: it ends as the other one does.
    """
    outputs = {}

    def call(output, starter, epochs, *args, env=None):
        torchrun, options = STARTERS[starter]
        overrides = {**TWO_EPOCHS, "SOLVER.MAX_EPOCH": epochs}
        result = command_line.run(output, *options, *args, starter=torchrun, overrides=overrides, env=env)
        assert result.returncode == 0, result.stdout + result.stderr

    def run(starter):
        if starter not in outputs:
            output = tmp_path_factory.mktemp("two") / starter
            if starter == "torchrun":
                call(output, "--num-gpus", 1, env=FORKED)
                call(output, starter, 2, "--resume")
            else:
                call(output, starter, 2)
            outputs[starter] = output
        return outputs[starter]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("starter", STARTERS)
def test_two_ranks_train_to_the_same_weights(starter, trained, run_main, differences, tmp_path):
    output = trained(starter)
    ranks = [torch.load(output / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]
    assert differences(*ranks) == []  # weights, centers, and the batch norms' averages of both
    final = torch.load(output / "model_final.pth", weights_only=True)["model"]
    assert differences(dict(final), dict(ranks[0])) == []
    assert sum(key.endswith("centers") for key in final) == 3
    assert (output / "log.txt").is_file() and (output / "log.txt.rank1").is_file()

    # One rank gives the metrics of the two. Another number of images in a forward pass may round features differently:
    # they are equal but for the last bits.
    run_main("--eval-only", OUTPUT_DIR=tmp_path / "one", MODEL__WEIGHTS=output / "model_final.pth")
    assert metrics(tmp_path / "one") == pytest.approx(metrics(output), abs=1e-3)


@pytest.mark.slow
def test_both_starters_train_the_same_resumed_or_not(trained, differences):
    for name in ("model_final.pth", "rank0.pth", "rank1.pth"):
        assert differences(trained("torchrun") / name, trained("--num-gpus") / name) == [], name


@pytest.mark.slow
def test_two_ranks_evaluate_alone(trained, command_line, tmp_path):
    overrides = {"MODEL.WEIGHTS": trained("torchrun") / "model_final.pth"}
    options = ("--eval-only", *STARTERS["--num-gpus"][1])
    result = command_line.run(tmp_path / "out", *options, overrides=overrides, env=FORKED)
    assert result.returncode == 0, result.stdout + result.stderr
    assert metrics(tmp_path / "out") == metrics(trained("torchrun"))


@pytest.mark.slow
def test_two_ranks_train_on_whole_pairs(command_line, differences, tmp_path):
    options = ("--config-file", Path(__file__).with_name("tiny_pairs.yml"), *STARTERS["--num-gpus"][1])
    result = command_line.run(tmp_path / "out", *options, overrides={"SOLVER.IMS_PER_BATCH": 12}, env=FORKED)
    assert result.returncode == 0, result.stdout + result.stderr
    ranks = [torch.load(tmp_path / "out" / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]
    assert differences(*ranks) == []


def test_buffers_are_averaged(monkeypatch):
    from fastreid_ext.engine import hooks

    model = torch.nn.BatchNorm1d(2)
    model.running_mean += 1.0
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(hooks.dist, "all_reduce", lambda buffer: buffer.add_(3.0))  # the other rank's buffers are 3
    hook = hooks.AverageBuffers(model)
    hook.trainer = types.SimpleNamespace()
    hook.after_epoch()
    assert model.running_mean.tolist() == [2.0, 2.0] and model.running_var.tolist() == [2.0, 2.0]
    assert model.num_batches_tracked == 0 and model.weight.tolist() == [1.0, 1.0]
    monkeypatch.undo()
    hook.after_epoch()
    assert model.running_mean.tolist() == [2.0, 2.0]
