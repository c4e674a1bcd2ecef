"""A disk that is full, read-only or gone in the middle of a run: one sentence, nothing half, and --resume goes on."""

import errno
import gc
import json
import logging
import os
import resource
import shutil
import sys
from pathlib import Path

import pytest
import torch
from fastreid.utils.events import EventStorage

from fastreid_ext import files
from fastreid_ext.engine.event_writers import EventsWriter, MetricsWriter, cut_half_line
from fastreid_ext.errors import FileError

SHORT = {"SOLVER__MAX_EPOCH": 2, "SOLVER__STEPS": "[]"}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return tmp_path_factory.mktemp("straight") / "out"


@pytest.fixture
def goes_on(straight, run_main, differences):
    """``goes_on(output)``: the run there can be continued, and ends like one that nothing stopped."""

    def check(output):
        run_main("--resume", OUTPUT_DIR=output, **SHORT)
        if not straight.exists():
            run_main(OUTPUT_DIR=straight, **SHORT)
        assert differences(output / "model_latest.pth", straight / "model_latest.pth") == []
        assert json.loads((output / "results.json").read_text()) == json.loads((straight / "results.json").read_text())
        for line in (output / "metrics.json").read_text().splitlines():
            json.loads(line)
        assert not list(output.glob(".*.tmp"))

    return check


def full(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


def fill_at(monkeypatch, name):
    """Let the disk be full from the moment on that a file of this name is renamed; returns how to empty it."""
    replace = os.replace

    def failing(source, target, **kwargs):
        if Path(target).name == name:
            full()
        return replace(source, target, **kwargs)

    monkeypatch.setattr(os, "replace", failing)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model_best.pth", "results.json"])
def test_a_disk_that_is_full_when_a_file_is_written(name, fails, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        fill_at(patch, name)
        sentence = fails(**SHORT)
    assert sentence == f"fastreid-ext train: {tmp_path / 'out' / name} can't be written: No space left on device"
    assert (tmp_path / "out" / "last_checkpoint").is_file() and not list((tmp_path / "out").glob(".*.tmp"))


@pytest.mark.slow
def test_a_disk_that_fills_up_inside_a_checkpoint(fails, goes_on, tmp_path):
    """torch raises an error of its own there."""
    size, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        sentence = fails(**SHORT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    assert sentence == f"fastreid-ext train: {tmp_path / 'out' / 'model_latest.pth'} can't be written: File too large"
    goes_on(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "epoch"), [("log.txt", 1), ("metrics.json", 0), ("events.out.tfevents", 0)])
def test_a_disk_that_fills_up_under_what_is_appended(name, epoch, fails, monkeypatch, goes_on, tmp_path):
    """The last epoch that was saved is kept; the second one logs its first line when it is evaluated, after that."""
    from fastreid_ext.engine.epoch_checkpoints import EpochCheckpoints

    output, save, ignored = tmp_path / "out", EpochCheckpoints.record, []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)

    def then_full(self, epoch):
        save(self, epoch)
        (path,) = output.glob(f"{name}*")
        for descriptor in Path("/proc/self/fd").iterdir():
            if os.path.realpath(descriptor) == str(path):
                device = os.open("/dev/full", os.O_WRONLY)
                os.dup2(device, int(descriptor.name))
                os.close(device)

    with monkeypatch.context() as patch:
        patch.setattr(EpochCheckpoints, "record", then_full)
        sentence = fails(**SHORT)
    assert name in sentence and sentence.endswith(" can't be written: No space left on device")
    assert torch.load(output / "model_latest.pth", weights_only=True)["epoch"] == epoch
    for log in ("fastreid", "fastreid_ext"):  # as a new process has them
        logging.getLogger(log).handlers.clear()
    if name == "metrics.json":
        goes_on(output)
    gc.collect()
    assert ignored == []


def test_a_folder_that_vanishes(fails, monkeypatch, tmp_path):
    from fastreid_ext.engine.seeding import SeedEpochs

    before = SeedEpochs.before_epoch

    def vanish(self):
        before(self)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)

    monkeypatch.setattr(SeedEpochs, "before_epoch", vanish)
    assert "is no longer this run's (running.json in it is missing" in fails(**SHORT)
    assert not (tmp_path / "out").exists()


# ---- the writers ----------------------------------------------------------------------------------------------------


def test_lines_of_metrics_are_whole(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    path.write_text('{"a": 1}\n{"b"')
    writer = MetricsWriter(path)
    with EventStorage(3) as storage:
        storage.put_scalar("loss", 1.0)
        writer.write()
        whole = path.read_text()
        assert [json.loads(line) for line in whole.splitlines()] == [{"a": 1}, {"loss": 1.0, "iteration": 3}]
        storage.iter = 4
        storage.put_scalar("loss", 2.0)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match="metrics.json can't be written: No space left on device"):
            writer.write()
    writer.close()
    assert path.read_text() == whole


@pytest.mark.parametrize(
    ("text", "kept"), [(b"", b""), (b"half", b""), (b"a\n", b"a\n"), (b"a\n" + b"b" * 9000, b"a\n")]
)
def test_half_a_line_is_cut_off(text, kept, tmp_path):
    (tmp_path / "a").write_bytes(text)
    cut_half_line(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == kept


def test_events_with_pictures_and_a_second_file_in_the_same_second(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with EventStorage(3) as storage:
        for _ in range(2):
            storage.put_scalar("loss", 1.5)
            storage.put_image("picture", torch.zeros(3, 4, 5))
            storage.put_histogram("weights", torch.arange(9.0))
            writer = EventsWriter(tmp_path)
            writer.write()
            writer.close()
            writer.close()
    found = sorted(tmp_path.glob("events.out.tfevents*"))
    assert len(found) == 2
    for path in found:
        events = EventAccumulator(str(path))
        events.Reload()
        assert events.Scalars("loss")[0].value == 1.5 and events.Tags()["images"] == ["picture"]
        assert events.Tags()["histograms"] == ["weights"]


def test_a_folder_that_can_not_be_written(tmp_path):
    for build in (lambda: MetricsWriter(tmp_path / "no" / "metrics.json"), lambda: EventsWriter(tmp_path / "no")):
        with pytest.raises(FileError, match="can't be written"):
            build()


# ---- elsewhere ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_rendering(workers, tmp_path, monkeypatch):
    from fastreid_ext.data.synthetic import generate

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(FileError, match="SynthReID-tiny can't be written: No space left on device"):
            generate(tmp_path, "tiny", workers=workers, progress=False)
    assert not (tmp_path / "SynthReID-tiny").exists()
    generate(tmp_path, "tiny", workers=1, progress=False)


def test_an_error_that_hides_the_systems(tmp_path):
    def write(file):
        try:
            full()
        finally:
            raise RuntimeError("unexpected pos 768 vs 662")

    with pytest.raises(FileError, match="a.pth can't be written: No space left on device"):
        files.write_atomically(tmp_path / "a.pth", write)
    with pytest.raises(RuntimeError), files.no_room_named("x"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
