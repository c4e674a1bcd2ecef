"""Runs that are killed at any moment end like a run that never was, to the last bit."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.loaders import train_loader
from fastreid_ext.engine.step import TrainingStep

pytestmark = pytest.mark.slow  # whole runs

LONG = {"SOLVER.MAX_EPOCH": 6, "SOLVER.STEPS": "[3,5]", "TEST.EVAL_PERIOD": 2}
FP16 = {"SOLVER.AMP.ENABLED": True, "SOLVER.AMP.DTYPE": "fp16"}
DEADLINE = 120.0


def wait_for(condition, process: subprocess.Popen) -> bool:
    """Poll until the condition holds; False if the process ends before it does."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        try:
            process.wait(timeout=0.005)
        except subprocess.TimeoutExpired:
            continue
        return False
    return True


def descendants(pid: int) -> list[int]:
    """The process and those below it, which stay in its session when it dies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":  # session, and not one that has ended
            found.append(int(path.parent.name))
    return found


def kill(process: subprocess.Popen) -> None:
    """SIGKILL the process alone, and see that the workers it started end by themselves."""
    session = process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    end = time.monotonic() + DEADLINE
    while descendants(session):
        assert time.monotonic() < end, f"left behind: {descendants(session)}"
        time.sleep(0.05)


def killed_until_done(command_line, output: Path, overrides: dict, seed: int, kills: int = 2) -> int:
    """Kill a run at random moments until it is done; returns how often that was.

    Kill n comes at a random moment after the n-th checkpoint, so every life of the run gets further.
    """
    rng = random.Random(seed)
    latest = output / "model_latest.pth"
    done = 0
    for number in range(kills + 1):
        before = latest.stat().st_mtime_ns if latest.exists() else 0
        process = command_line.start(
            output, *(["--resume"] if number else []), overrides=overrides, start_new_session=True
        )
        if number == kills:
            assert process.wait(timeout=DEADLINE) == 0, Path(f"{output}.txt").read_text()
            break
        progress = lambda before=before: latest.exists() and latest.stat().st_mtime_ns > before  # noqa: E731
        moved_on = wait_for(progress, process)
        if moved_on:
            # model_latest is not the last epoch's: the workers have more to do. Later the run may be about to end.
            assert len(descendants(process.pid)) >= 1 + overrides["DATALOADER.NUM_WORKERS"]
            try:
                process.wait(timeout=rng.uniform(0.0, 0.5))
                moved_on = False
            except subprocess.TimeoutExpired:
                kill(process)
                done += 1
        if not moved_on:
            assert process.returncode == 0, Path(f"{output}.txt").read_text()
            break
    return done


@pytest.fixture(scope="module")
def reference(command_line, tmp_path_factory):
    """``reference("fp16")``: OUTPUT_DIR of the run that was never killed."""
    outputs = {}

    def run(precision: str) -> Path:
        if precision not in outputs:
            output = tmp_path_factory.mktemp("reference") / precision
            result = command_line.run(output, overrides={**LONG, **(FP16 if precision == "fp16" else {})})
            assert result.returncode == 0, result.stdout + result.stderr
            outputs[precision] = output
        return outputs[precision]

    return run


def results_of(output: Path) -> dict:
    return json.loads((output / "results.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "workers", "seed"), [("float32", 0, 1), ("float32", 2, 2), ("fp16", 0, 3)])
def test_killed_runs_end_like_one_that_was_not(
    precision, workers, seed, command_line, reference, differences, tmp_path
):
    output = tmp_path / "killed"
    overrides = {**LONG, **(FP16 if precision == "fp16" else {}), "DATALOADER.NUM_WORKERS": workers}
    assert killed_until_done(command_line, output, overrides, seed) >= 1
    expected = reference(precision)
    latest = torch.load(expected / "model_latest.pth", weights_only=False)
    assert {"model", "optimizer", "lr_sched", "warmup_sched", "epoch", "metric", "best_metric", "seed"} <= set(latest)
    assert ("grad_scaler" in latest) == (precision == "fp16")  # the others scale nothing
    assert any(key.endswith("centers") for key in latest["model"])
    for name in ("model_final.pth", "model_latest.pth", "model_best.pth"):
        assert differences(expected / name, output / name) == [], name
    assert results_of(output) == results_of(expected)
    assert "Starting training from epoch 0" not in Path(f"{output}.txt").read_text().partition("--resume")[2]


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 3])  # the first checkpoint; one between whole ones
def test_killed_inside_a_checkpoint(number, command_line, reference, differences, tmp_path):
    output = tmp_path / "killed"
    env = {"STALL_IN_SAVE": str(number)}
    process = command_line.start(output, overrides=LONG, env=env, start_new_session=True)
    log = Path(f"{output}.txt")
    assert wait_for(lambda: "STALLED" in log.read_text(), process), log.read_text()
    kill(process)
    (torn,) = output.glob(".model_*.pth.tmp")
    assert torn.stat().st_size > 1_000_000
    with pytest.raises(RuntimeError, match="zip archive"):
        torch.load(torn, weights_only=False)
    if number:
        last = (output / "last_checkpoint").read_text()
        assert set(torch.load(output / last, weights_only=False)) >= {"model", "optimizer", "epoch"}
    else:
        assert not (output / "last_checkpoint").exists() and not list(output.glob("*.pth"))
    resumed = command_line.run(output, "--resume", overrides=LONG)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert differences(reference("float32") / "model_latest.pth", output / "model_latest.pth") == []
    assert results_of(output) == results_of(reference("float32"))
    assert not list(output.glob(".*.tmp"))


# ---- in this process ------------------------------------------------------------------------------------------------

PAIRS = Path(__file__).with_name("tiny_pairs.yml")
SHORT = {"SOLVER__MAX_EPOCH": 2, "SOLVER__STEPS": "[]"}


def stop_after(monkeypatch, epochs: int) -> None:
    """Let the run end like one that was killed just after an epoch's checkpoint."""
    from fastreid_ext.engine import hooks

    write = hooks.WriteEvents.after_epoch

    def after_epoch(self) -> None:
        write(self)
        if self.trainer.epoch + 1 == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(hooks.WriteEvents, "after_epoch", after_epoch)


def test_names_of_checkpoints(run_main, monkeypatch):
    from fastreid_ext.engine.trainer import Trainer

    metrics = iter([0.2, 0.5, 0.3, 0.4])
    monkeypatch.setattr(Trainer, "_metric", lambda self: next(metrics))
    output = run_main(SOLVER__MAX_EPOCH=4, SOLVER__CHECKPOINT_PERIOD=2, SOLVER__STEPS="[]")
    found = {path.name: torch.load(path, weights_only=True) for path in output.glob("*.pth")}
    epochs = {name: (data["epoch"], data["metric"], data["best_metric"]) for name, data in found.items()}
    assert epochs == {
        "model_best.pth": (1, 0.5, 0.5),
        "model_0001.pth": (1, 0.5, 0.5),
        "model_latest.pth": (3, 0.4, 0.5),
        "model_final.pth": (3, 0.4, 0.5),
    }
    assert [name for name, data in found.items() if "optimizer" in data] == ["model_latest.pth"]
    assert (output / "last_checkpoint").read_text() == "model_latest.pth"
    assert not list(output.glob(".*.tmp"))


def test_epochs_without_evaluation_have_no_metric(run_main):
    output = run_main(TEST__EVAL_PERIOD=0, SOLVER__CHECKPOINT_PERIOD=1, **SHORT)
    assert torch.load(output / "model_0000.pth", weights_only=True)["metric"] == -1.0
    final = torch.load(output / "model_final.pth", weights_only=True)
    assert final["metric"] == final["best_metric"] == results_of(output)["results"]["SynthReIDTiny"]["metric"]


def test_best_metric_survives(run_main, monkeypatch):
    from fastreid_ext.engine.trainer import Trainer

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_metric", lambda self: 99.0)
        stop_after(patch, 1)
        with pytest.raises(SystemExit, match="130"):
            run_main(**SHORT)
    output = run_main("--resume", **SHORT)
    assert torch.load(output / "model_best.pth", weights_only=True)["epoch"] == 0
    assert torch.load(output / "model_final.pth", weights_only=True)["best_metric"] == 99.0


def test_drawn_seed_is_kept(run_main, monkeypatch, differences, tmp_path):
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(SystemExit, match="130"):
            run_main(SEED=-1, **SHORT)
    output = run_main("--resume", SEED=-1, **SHORT)
    seed = torch.load(output / "model_final.pth", weights_only=True)["seed"]
    assert seed >= 0 and results_of(output)["seed"] == seed
    straight = run_main(OUTPUT_DIR=tmp_path / "straight", SEED=seed, **SHORT)
    assert differences(straight / "model_latest.pth", output / "model_latest.pth") == []


def test_another_seed_is_refused_with_a_warning(run_main, monkeypatch):
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(SystemExit, match="130"):
            run_main(SEED=4, **SHORT)
    output = run_main("--resume", SEED=5, **SHORT)
    assert "SEED is 5 but the run was started with 4, which is kept" in (output / "log.txt").read_text()
    assert results_of(output)["seed"] == 4


def test_precise_bn_is_resumed(run_main, monkeypatch, differences, tmp_path):
    precise = {"TEST__PRECISE_BN__ENABLED": True, "TEST__PRECISE_BN__DATASET": "SynthReIDTiny"}
    precise |= {"TEST__PRECISE_BN__NUM_ITER": 3, **SHORT}
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(SystemExit, match="130"):
            run_main(SEED=-1, **precise)
    output = run_main("--resume", SEED=-1, **precise)
    seed = results_of(output)["seed"]
    straight = run_main(OUTPUT_DIR=tmp_path / "straight", SEED=seed, **precise)
    assert differences(straight / "model_latest.pth", output / "model_latest.pth") == []


def test_pairs_are_resumed(run_main, monkeypatch, differences, tmp_path):
    """Dropout, erasing and the share of positive pairs are those of the epoch, wherever the run starts."""
    pairs = {"config": PAIRS}
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(SystemExit, match="130"):
            run_main(**pairs)
    output = run_main("--resume", **pairs)
    straight = run_main(OUTPUT_DIR=tmp_path / "straight", **pairs)
    assert torch.load(output / "model_final.pth", weights_only=True)["epoch"] == 1
    assert differences(straight / "model_latest.pth", output / "model_latest.pth") == []
    other = run_main(OUTPUT_DIR=tmp_path / "other", **pairs, SEED=1)
    assert differences(straight / "model_latest.pth", other / "model_latest.pth") != []


def test_the_share_of_positive_pairs_is_the_configs(synth_tiny):
    """2 : 3 in epoch 0, 2 : 6 in epoch 1, when there are twice as many negative ones."""
    cfg = get_cfg()
    cfg.merge_from_file(str(PAIRS))
    cfg.merge_from_list(["SEED", 0, "DATALOADER.PAIRS.POSITIVE_SHARE", 0.4, "SOLVER.IMS_PER_BATCH", 20])
    loader = train_loader(cfg)
    targets = [loader.dataset.pid_dict[item[1]] for item in loader.dataset.img_items]
    for epoch, share in ((0, 0.4), (1, 0.25)):
        batches = loader.loader.batch_sampler.epoch(epoch)
        pairs = [
            targets[a[0]] == targets[b[0]] for batch in batches for a, b in zip(batch[::2], batch[1::2], strict=True)
        ]
        assert len(pairs) >= 20 and abs(sum(pairs) - share * len(pairs)) <= 1


def test_finished_run_is_evaluated(run_main, differences, tmp_path):
    output = run_main(**SHORT)
    before, results = shutil.copy(output / "model_latest.pth", tmp_path), results_of(output)
    (output / "results.json").unlink()
    run_main("--resume", **SHORT)
    assert "is finished (2 epochs): evaluating it" in (output / "log.txt").read_text()
    assert results_of(output) == results
    assert differences(before, output / "model_latest.pth") == []


def test_finished_run_goes_on(run_main):
    run_main(**SHORT)
    output = run_main("--resume", SOLVER__MAX_EPOCH=3, SOLVER__STEPS="[]")
    assert torch.load(output / "model_final.pth", weights_only=True)["epoch"] == 2
    assert (output / "log.txt").read_text().count("Starting training from epoch 2") == 1


def test_resume_without_a_run_starts_one(run_main):
    output = run_main("--resume", SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0, SOLVER__STEPS="[]")
    assert (output / "model_final.pth").is_file()


@pytest.mark.parametrize("damage", ["torn", "missing", "foreign", "of another optimiser"])
def test_damaged_checkpoint(damage, run_main, fails):
    output = run_main(**SHORT)
    path = output / "model_latest.pth"
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:100_000])
    elif damage == "missing":
        path.unlink()
    else:
        data = torch.load(path, weights_only=True)
        if damage == "foreign":
            data = {"model": data["model"]}
        else:
            data["optimizer"]["param_groups"].append(dict(data["optimizer"]["param_groups"][0]))
        torch.save(data, path)
    sentence = fails("--resume", **SHORT)
    assert str(path) in sentence
    assert {"torn": "not a checkpoint", "missing": "there is no checkpoint"}.get(damage, "can't be resumed") in sentence


def test_a_new_run_in_an_old_folder_is_never_taken_for_the_old_one(run_main, monkeypatch):
    run_main(SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0)

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "run_step", killed)
        with pytest.raises(SystemExit, match="130"):
            run_main(SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0, SEED=5)
    output = run_main("--resume", SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0, SEED=5)
    assert torch.load(output / "model_final.pth", weights_only=True)["seed"] == 5
