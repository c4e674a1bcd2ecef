"""Why a loader's worker died, and how many workers fit: a worker hands its batches over in shared memory."""

import os
import re
import shutil
import signal
import traceback
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NoReturn

from fastreid_ext.errors import UserError, first_line

SHARED = Path("/dev/shm")
READY = 2  # batches that a torch worker holds ready; one more is being used
# What torch and the system say where /dev/shm is full: in a worker, or when it was killed for touching it.
TOO_SMALL = re.compile(r"Bus error|out of shared memory|No space left on device|unable to \w+ .*(shm|shared|/torch_)")
DEAD = re.compile(r"DataLoader worker \(pid")
# How a process ended -> torch's word for it; Windows has neither signal
SIGNALS = {
    -getattr(signal, name): word
    for name, word in (("SIGBUS", "Bus error"), ("SIGKILL", "Killed"))
    if hasattr(signal, name)
}
SHORT_OF_MEMORY = re.compile(r"killed by signal: Killed|Cannot allocate memory")

_latest: Any = lambda: None  # noqa: E731  (a weak reference to the loader that was iterated last)


class LoaderError(UserError):
    """Workers that can't go on, for lack of memory."""


def remember(loader: Any) -> None:
    """Take this one for the loader whose workers die, until another is iterated."""
    global _latest
    _latest = weakref.ref(loader)


def end_without_handing_over() -> None:
    """Let this worker end if it can't hand a batch over, for lack of shared memory or open files.

    Its queue does that in a thread of its own, and would drop the batch and go on: the main process waits for ever.
    """
    Queue._on_queue_feeder_error = staticmethod(_end)


def _end(error: BaseException, batch: Any) -> NoReturn:
    traceback.print_exception(error)
    if TOO_SMALL.search(str(error)):
        signal.raise_signal(signal.SIGBUS)  # of this thread, as where full memory is touched; torch reports it
    os._exit(1)


@contextmanager
def dead_workers_named() -> Iterator[None]:
    """Turn the death of a loader's worker into a sentence.

    torch raises it from a signal's handler, so wherever the main process happens to be.

    Raises:
        LoaderError: too little memory for the workers.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        loader = _latest()
        sentence = None if isinstance(error, UserError) or loader is None else explained(error, loader)
        if sentence is None:
            raise
        raise LoaderError(sentence) from error


def explained(error: BaseException, loader: Any) -> str | None:
    """Return the sentence for an error while a loader with workers is iterated; None if it is about something else.

    Args:
        error: what was raised.
        loader: a :class:`fastreid_ext.data.loader.DeviceLoader`.
    """
    workers, said = loader.loader.num_workers, _all_said(error)
    if not workers:
        return None
    if DEAD.search(said):  # where torch saw them dead before their signal, it does not say which it was
        said += "".join(f"\nkilled by signal: {SIGNALS[end]}" for end in loader.exits() & SIGNALS.keys())
    if TOO_SMALL.search(said):
        traceback.clear_frames(error.__traceback__)  # they reference the workers
        loader.end_workers()  # so that what they hold is free
        return _too_small(workers, batch_bytes(loader))
    if SHORT_OF_MEMORY.search(said):
        return (
            f"a loader worker was killed, as the system does when the memory is full: lower DATALOADER.NUM_WORKERS"
            f" ({workers}) or the batch size"
        )
    if DEAD.search(said):
        return f"a loader worker died ({first_line(error)}): try DATALOADER.NUM_WORKERS 0, which shows its own error"
    return None


def _all_said(error: BaseException | None) -> str:
    """Return the messages of an exception and of its causes: torch may have noticed the signal before."""
    said = []
    while error is not None:
        said.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(said)


def workers_that_fit(free: int, batch: int) -> int:
    """Return how many workers fit into some bytes of shared memory, from the bytes of a batch."""
    return max(0, (free // max(batch, 1) - 1) // READY)


def batch_bytes(loader: Any) -> int:
    """Return the bytes of the images of a batch; 0 if the first image can't be read."""
    data = loader.loader
    try:
        image = data.dataset.image_bytes()
    except UserError:
        return 0
    return image * getattr(data.batch_sampler, "batch_size", 1)


def _too_small(workers: int, batch: int) -> str:
    free = shutil.disk_usage(SHARED).free if SHARED.is_dir() else 0
    fit = min(workers_that_fit(free, batch), workers - 1)
    return (
        f"shared memory ({SHARED}) is too small for the loader's {workers} workers: {free / 1e6:.1f} MB are free, a"
        f" batch has {batch / 1e6:.1f} MB and each worker holds {READY}: set DATALOADER.NUM_WORKERS {fit}, lower the"
        " batch size, or enlarge it (docker run --shm-size)"
    )
