"""Workers that die for lack of memory: one sentence, with the number of workers that fit."""

import multiprocessing
import os
import shutil
import signal
import types

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import SequentialSampler

from fastreid_ext.data import loader_faults
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.data.loader import build_test_loader
from fastreid_ext.data.loader_faults import LoaderError, dead_workers_named, workers_that_fit

CPU = torch.device("cpu")
MB = 2**20


@pytest.fixture
def build(tmp_path):
    """``build(fault)``: a loader of two workers and batches of four 8x4 images, whose workers do that."""

    def make(fault, workers=2):
        items = []
        for number in range(8):
            path = tmp_path / f"{number}.png"
            Image.new("RGB", (4, 8), (10 * number,) * 3).save(path)
            items.append((str(path), 0, 0))
        data, main = ReIDImages(items, lambda image: torch.from_numpy(np.array(image)), relabel=False), os.getpid()
        fetch = data.fetch
        data.fetch = lambda keys: fetch(keys) if os.getpid() == main else fault()
        return build_test_loader(data, SequentialSampler(data), 4, workers, CPU)

    return make


def raises(error):
    raise error


@pytest.mark.parametrize(
    "fault",
    [
        lambda: os.kill(os.getpid(), signal.SIGBUS),
        lambda: raises(
            RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left (28)")
        ),
        lambda: raises(RuntimeError("unable to write to file </torch_12_345_6>: No space left on device (28)")),
        lambda: raises(OSError(28, "No space left on device")),
    ],
)
@pytest.mark.parametrize("kept", [False, True])
def test_shared_memory_that_is_too_small(kept, fault, build, monkeypatch):
    """A batch has 4 x 8 x 4 x 3 bytes; two workers hold five batches with the one in use, one worker three."""
    workers = []

    def disk_usage(path):
        workers.extend(multiprocessing.active_children())
        return types.SimpleNamespace(free=4 * 384)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    loader = build(fault)
    if kept:
        loader.keep_workers()
    with pytest.raises(LoaderError) as stopped:
        list(loader)
    assert not workers  # what they held counts as free
    assert str(stopped.value).startswith("shared memory (/dev/shm) is too small for the loader's 2 workers: 0.0 MB are")
    assert "set DATALOADER.NUM_WORKERS 1, lower the batch size" in str(stopped.value)
    assert stopped.value.__context__ is None  # no worker is left


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "as the system does when the memory is full: lower DATALOADER"),
        (lambda: os._exit(3), "a loader worker died (DataLoader worker (pid"),
    ],
)
def test_other_deaths(fault, sentence, build):
    with pytest.raises(LoaderError) as stopped:
        list(build(fault))
    assert sentence in str(stopped.value) and "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGBUS, "shared memory (/"), (signal.SIGKILL, "a loader worker was")]
)
def test_a_death_that_is_noticed_before_its_signal(number, said, build, monkeypatch):
    """torch asks every five seconds who is alive, and then says no more than that somebody died."""
    monkeypatch.setattr(torch.utils.data._utils.signal_handling, "_SIGCHLD_handler_set", True)  # leave it out
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        with pytest.raises(LoaderError) as stopped:
            list(build(lambda: os.kill(os.getpid(), number)))
    finally:
        signal.signal(signal.SIGCHLD, handler)
    assert str(stopped.value).startswith(said)


def test_a_death_that_is_noticed_elsewhere(build):
    """torch raises from a signal's handler: in the middle of a step, say."""
    loader = build(lambda: None)
    with pytest.raises(LoaderError, match="shared memory"), dead_workers_named():
        loader_faults.remember(loader)
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.")
    with pytest.raises(RuntimeError, match="^shapes"), dead_workers_named():
        raise RuntimeError("shapes")


def test_a_bug_stays_one(build):
    for workers, error in ((2, KeyError("bug")), (0, RuntimeError("No space left on device"))):
        loader = build(lambda: None, workers)
        loader.dataset.fetch = lambda keys, error=error: raises(error)
        with pytest.raises(type(error)):
            list(loader)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)",
            "shared memory (/",
        ),
        ("Too many open files", "a loader worker died ("),
    ],
)
@pytest.mark.timeout(60)
def test_a_batch_that_can_not_be_handed_over(message, said, build, monkeypatch):
    """A worker's queue says so in a thread of its own, and the main process would wait for ever."""
    share, main = torch.UntypedStorage._share_fd_cpu_, os.getpid()

    def full(self, *args, **kwargs):
        return share(self, *args, **kwargs) if os.getpid() == main else raises(RuntimeError(message))

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", full)
    loader = build(lambda: None)
    loader.dataset.fetch = types.MethodType(ReIDImages.fetch, loader.dataset)
    with pytest.raises(LoaderError) as stopped:
        list(loader)
    assert str(stopped.value).startswith(said)


@pytest.mark.parametrize(("workers", "said"), [(3, "set DATALOADER.NUM_WORKERS 2"), (1, "NUM_WORKERS 0"), (0, None)])
def test_fewer_workers_than_failed(workers, said, build, monkeypatch):
    """However much is free by now; without a worker it is another error."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=2**40))
    found = loader_faults.explained(RuntimeError("No space left on device"), build(lambda: None, workers))
    assert found is None if said is None else said in found


@pytest.mark.parametrize(
    ("free", "batch", "fit"), [(64 * MB, 25 * MB, 0), (64 * MB, 6 * MB, 4), (0, MB, 0), (64 * MB, 0, 33554431)]
)
def test_how_many_fit(free, batch, fit):
    """64 MB, Docker's own, hold ten batches of 6 MB: one in use, and two each of four workers."""
    assert workers_that_fit(free, batch) == fit
