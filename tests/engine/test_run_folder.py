"""A run holds its output folder: one process at a time, whoever dies."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import time

import pytest

from fastreid_ext.engine import run_folder
from fastreid_ext.engine.run_folder import HeldFolder
from fastreid_ext.errors import FileError
from fastreid_ext.files import locked

FORK = multiprocessing.get_context("fork")


def _hold(folder, pipe, with_child):
    held = HeldFolder(folder)
    child = FORK.Process(target=time.sleep, args=(60,)) if with_child else None
    if child is not None:
        child.start()
    pipe.send(child and child.pid)
    time.sleep(60)
    held.release()


@pytest.fixture
def owner():
    """``owner(folder, with_child=False)``: another process that holds a folder; the process and its child's id."""
    pids = []

    def start(folder, with_child=False):
        mine, its = FORK.Pipe()
        process = FORK.Process(target=_hold, args=(folder, its, with_child))
        process.start()
        pids.append(process.pid)
        child = mine.recv() if mine.poll(30) else pytest.fail("the other process did not start")
        pids.extend([child] if child else [])
        return process, child

    yield start
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_the_second_process_is_told_who_the_first_is(owner, tmp_path):
    process, _ = owner(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(FileError, match=f"in use by process {process.pid} on {os.uname().nodename}, since "):
        HeldFolder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_dead_owners_folder_is_taken_over(owner, tmp_path, caplog):
    """Also while a worker of the dead owner is still there: a forked process does not hold the lock."""
    process, child = owner(tmp_path, with_child=True)
    process.kill()
    process.join()
    os.kill(child, 0)
    with caplog.at_level("INFO"), HeldFolder(tmp_path) as folder:
        folder.log_taken_over()
    said = f"process {process.pid} on {os.uname().nodename}, which held {tmp_path}, is gone: this run takes over"
    assert caplog.messages == [said]


def test_a_folder_that_was_left_has_no_owner(tmp_path):
    for _ in range(2):
        with HeldFolder(tmp_path / "new") as folder:
            assert folder.taken_over == ""
            assert json.loads((tmp_path / "new" / "running.json").read_text())["process"] == os.getpid()
        assert not (tmp_path / "new" / "running.json").exists()


def test_one_process_may_hold_it_twice_and_leaves_it_with_the_last(tmp_path):
    first, second = HeldFolder(tmp_path), HeldFolder(tmp_path / "." / "")
    first.release()
    first.release()
    with pytest.raises(FileError, match="held"), locked(tmp_path / "run.lock", busy="held"):
        pass
    del second  # as a trainer that is dropped
    with locked(tmp_path / "run.lock", busy="held"):
        pass


@pytest.mark.parametrize("silent", [0, 1000])
def test_a_lock_that_does_not_reach_another_machine(silent, tmp_path):
    text = {"process": 7, "host": "elsewhere", "since": "then"}
    path = tmp_path / "running.json"
    path.write_text(json.dumps(text))
    os.utime(path, (time.time() - silent,) * 2)
    if silent:
        with HeldFolder(tmp_path) as folder:
            assert folder.taken_over == "process 7 on elsewhere"
        return
    with pytest.raises(FileError, match="in use by process 7 on elsewhere, since then: wait for it or stop it"):
        HeldFolder(tmp_path)
    assert json.loads(path.read_text()) == text
    with locked(tmp_path / "run.lock", busy="held"):  # and the lock is not kept
        pass


def _ask_again(held):
    held.release()
    with contextlib.suppress(FileError):
        HeldFolder(held._hold.folder)
        os._exit(1)


def test_a_forked_child_holds_nothing_and_gives_nothing_back(tmp_path):
    with HeldFolder(tmp_path) as held:
        child = FORK.Process(target=_ask_again, args=(held,))
        child.start()
        child.join(30)
        assert child.exitcode == 0 and (tmp_path / "running.json").exists()
        held.check()


def test_an_owner_says_that_it_is_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "BEAT_SECONDS", 0.01)
    with HeldFolder(tmp_path):
        os.utime(tmp_path / "running.json", (0, 0))
        end = time.monotonic() + 10
        while (tmp_path / "running.json").stat().st_mtime < 1 and time.monotonic() < end:
            time.sleep(0.01)
        assert (tmp_path / "running.json").stat().st_mtime > 1


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00", "[" * 100_000], ids=["empty", "half", "list", "zero", "deep"])
def test_a_damaged_text_stops_nobody(text, tmp_path):
    (tmp_path / "running.json").write_text(text)
    with HeldFolder(tmp_path) as folder:
        assert folder.taken_over == ""


def test_a_text_of_somebody_else_is_cut_to_a_line(tmp_path):
    text = {"process": "1\n2", "host": "x" * 10_000}
    (tmp_path / "running.json").write_text(json.dumps(text))
    os.utime(tmp_path / "running.json", (0, 0))
    with HeldFolder(tmp_path) as folder:
        assert folder.taken_over == rf"process '1\n2' on '{'x' * 59}..."


@pytest.mark.parametrize("name", ["log.txt", "metrics.json", "last_checkpoint", "run.lock", "running.json"])
def test_a_folder_with_the_name_of_a_file(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(FileError, match=f"{name} is a directory, and a run writes a file of that name: remove it"):
        HeldFolder(tmp_path)


def test_a_folder_that_is_replaced_is_written_no_more(tmp_path):
    folder = HeldFolder(tmp_path)
    folder.check()
    (tmp_path / "running.json").write_text(json.dumps({"process": 7, "host": "elsewhere", "since": "then"}))
    with pytest.raises(FileError, match="is no longer this run's"):
        folder.check()
    folder.release()
    assert (tmp_path / "running.json").exists()  # the other one's


@pytest.mark.parametrize("arguments", [[], ["--resume"], ["--eval-only"]])
def test_a_run_writes_nothing_before_it_holds_its_folder(arguments, owner, run_main, fails, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "last_checkpoint").write_text("model_latest.pth")
    (output / "config.yaml").write_text("kept")
    process, _ = owner(output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    sentence = fails(*arguments, OUTPUT_DIR=output)
    assert f"the output folder {output} is in use by process {process.pid} on " in sentence
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_a_program_that_builds_a_trainer_holds_its_folder_too(owner, market, market_keys, tmp_path):
    from fastreid_ext.config import get_cfg
    from fastreid_ext.engine.trainer import Trainer

    market()
    cfg = get_cfg()
    cfg.OUTPUT_DIR = str(tmp_path / "out")
    process, _ = owner(tmp_path / "out")
    before = sorted((tmp_path / "out").iterdir())
    with pytest.raises(FileError, match=f"in use by process {process.pid}"):
        Trainer(cfg)
    assert sorted((tmp_path / "out").iterdir()) == before


def test_a_run_leaves_its_folder_and_says_whom_it_follows(owner, run_main, tmp_path):
    output = tmp_path / "out"
    process, _ = owner(output)
    process.kill()
    process.join()
    run_main(OUTPUT_DIR=output, SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0)
    assert f"process {process.pid} on " in (output / "log.txt").read_text()
    assert not (output / "running.json").exists()
    with locked(output / "run.lock", busy="held"):
        pass


def test_a_folder_that_is_removed_is_held_anew_by_the_same_process(tmp_path):
    """As in a notebook, where the trainer of the run before is still there."""
    before = HeldFolder(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with HeldFolder(tmp_path / "run") as folder:
        before.release()
        folder.check()
        assert HeldFolder(tmp_path / "run")._hold is folder._hold
    assert not (tmp_path / "run" / "running.json").exists()


@pytest.mark.parametrize("name", ["last_checkpoint", "config.yaml", "log.txt", "running.json"])
def test_a_pipe_with_the_name_of_a_file_is_not_waited_for(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileError, match=f"{name} is a FIFO, and a run writes a file of that name: remove it"):
        HeldFolder(tmp_path)
