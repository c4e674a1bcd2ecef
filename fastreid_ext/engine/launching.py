"""Starts the processes of a run on this machine, and says in one sentence why they ended where one of them failed."""

import logging
import multiprocessing
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch.distributed as dist
from fastreid.engine.train_loop import TrainerBase
from torch.multiprocessing.spawn import ProcessRaisedException

from fastreid_ext.compat.host import HostModule
from fastreid_ext.errors import ConfigError, UserError, first_line, name_too_long
from fastreid_ext.processes import WorkerCall, kill_workers
from fastreid_ext.signals import signal_name

FAILED = 1  # exit status of a process that has said why
WITH_RESUME = "with --resume"  # how a training goes on
SECONDS_FOR_REASONS = 2.0  # what one process's end does to the others, they notice by then

START = "spawn"  # CUDA does not survive a fork
BUG, MISTAKE, LOSS = "bug", "mistake", "loss"  # why a process failed; the last says that another one did
MOST_CHARACTERS = 10_000  # of a sentence or traceback: a pipe holds as much, so that its writer need not wait
# How gloo, NCCL and the store of addresses say that another process is gone or does not answer.
GONE = re.compile(
    r"connection (was )?(closed|reset|refused)|broken pipe|timed out|timeout|remote process exited|socket",
    re.IGNORECASE,
)

host_launch = HostModule("fastreid.engine.launch")


class LostProcessError(UserError):
    """Another process of the run is gone or does not answer; that one says why, if it can."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run.

    Args:
        here: how many of them are on this machine.
        machines: how many machines there are, each with as many processes.
        machine: number of this machine, from 0.
        url: where they meet.
        again: how what was interrupted goes on, behind "start it again", for messages.
    """

    here: int
    machines: int
    machine: int
    url: str
    again: str = WITH_RESUME

    @property
    def world(self) -> int:
        return self.here * self.machines


def spawn_ranks(ranks: Ranks, work: Callable[[Any], None], argument: Any, debug: bool) -> None:
    """Run ``work(argument)`` in this machine's processes; if one fails, the others are ended within seconds.

    Args:
        ranks: how many and where.
        work: a function of a module; in a process of the group.
        argument: can be pickled.
        debug: a process prints the traceback of an error that the user can fix.

    Raises:
        UserError: what the first process that could say it stopped with, or the signal that ended one.
        ProcessRaisedException: any other exception of a process, with its traceback.
    """
    context = multiprocessing.get_context(START)
    call = WorkerCall(_rank, ranks, work, argument, debug)
    pipes = [context.Pipe(duplex=False) for _ in range(ranks.here)]
    processes = [context.Process(target=call, args=(rank, pipe[1])) for rank, pipe in enumerate(pipes)]
    with _interrupts_stay_here():
        for process in processes:
            process.start()
    for _, sending in pipes:
        sending.close()  # here
    try:
        ended = _wait_until_one_fails(processes)
    finally:
        kill_workers()  # whatever they write is whole or absent
        for process in processes:
            process.join()
    if any(ended):
        _raise_reason(processes, ended, [_said(received) for received, _ in pipes], ranks)


@contextmanager
def _interrupts_stay_here() -> Iterator[None]:
    """Start processes to which Ctrl-C means nothing from their first moment: this one ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _rank(ranks: Ranks, work: Callable, argument: Any, debug: bool, local_rank: int, sending: Connection) -> None:
    try:
        meet = (ranks.world, ranks.here, ranks.machine, ranks.url, (work, argument, ranks.again))
        with meeting_at(ranks.url):
            host_launch._distributed_worker(local_rank, in_group, *meet)
    except Exception as raised:
        error = name_too_long(raised) or raised
        if not isinstance(error, UserError):
            sending.send((time.monotonic(), BUG, traceback.format_exc()[-MOST_CHARACTERS:]))
            sys.exit(FAILED)
        if debug:
            traceback.print_exc()
        kind = LOSS if isinstance(error, LostProcessError) else MISTAKE
        sending.send((time.monotonic(), kind, str(error)[:MOST_CHARACTERS]))
        sys.exit(FAILED)


def in_group(work: Callable[[Any], None], argument: Any, again: str = WITH_RESUME) -> None:
    """Run ``work(argument)`` in one of several processes.

    Args:
        work, argument: see :func:`spawn_ranks`.
        again: see :class:`Ranks`.

    Raises:
        LostProcessError: another one is gone.
    """
    log = logging.getLogger(TrainerBase.__module__)
    log.addFilter(_is_no_loss)
    try:
        work(argument)
    except RuntimeError as error:
        if not is_loss(error):
            raise
        raise LostProcessError(
            f"another process of this run has ended or does not answer ({GONE.search(str(error)).group().lower()}): see"
            f" what it says; start all of them again {again}"
        ) from error
    finally:
        log.removeFilter(_is_no_loss)


@contextmanager
def meeting_at(url: str) -> Iterator[None]:
    """Say in one sentence that the processes can't meet.

    Raises:
        ConfigError: they can't.
    """
    try:
        yield
    except (dist.DistNetworkError, dist.DistStoreError) as error:
        raise ConfigError(
            f"the processes can't meet at {url} ({first_line(error)}): see that every machine is started and reaches"
            " it, or choose another --dist-url; on one machine, --dist-url auto finds a free port"
        ) from error


def is_loss(error: BaseException) -> bool:
    """Whether an exception of a collective says that another process is gone or does not answer."""
    said = str(error)
    collective = isinstance(error, dist.DistError) or "gloo" in said.lower() or "nccl" in said.lower()
    return isinstance(error, RuntimeError) and collective and GONE.search(said) is not None


def _is_no_loss(record: logging.LogRecord) -> bool:
    """Keep FastReID's training loop from logging a traceback that :func:`in_group` shows as one sentence."""
    return not (record.exc_info and record.exc_info[1] is not None and is_loss(record.exc_info[1]))


def _wait_until_one_fails(processes: Sequence[Any]) -> list[int | None]:
    """Return the exit statuses: all 0, or those some seconds after the first other one; None for who still runs."""
    while True:
        ended = [process.exitcode for process in processes]  # asked once: one may end at any time
        if any(ended):
            break
        running = [process.sentinel for process, status in zip(processes, ended, strict=True) if status is None]
        if not running:
            return ended
        wait(running)
    deadline = time.monotonic() + SECONDS_FOR_REASONS
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    return [process.exitcode for process in processes]


def _said(received: Connection) -> tuple[float, str, str] | None:
    """Return when and why a process failed, as it said itself; None if it did not."""
    try:
        return received.recv() if received.poll() else None
    except (EOFError, OSError):  # it ended, perhaps while it spoke
        return None


def _raise_reason(
    processes: Sequence[Any],
    ended: Sequence[int | None],
    words: Sequence[tuple[float, str, str] | None],
    ranks: Ranks,
) -> None:
    """Raise why the run ended, by the first of its processes that knows."""
    said = sorted((*word, index) for index, word in enumerate(words) if word is not None)
    for _, kind, text, index in said:
        if kind == BUG:
            raise ProcessRaisedException(
                f"\n\nProcess {index} of {ranks.here} ended with:\n{text}", index, processes[index].pid
            )
    for _, kind, text, _ in said:
        if kind == MISTAKE:
            raise UserError(text)
    for index, status in enumerate(ended):
        if status is not None and status < 0:
            raise UserError(
                f"process {index} of the {ranks.here} on this machine was ended by {signal_name(-status)}"
                f"{' (out of memory?)' if -status == 9 else ''}, and the others with it; continue {ranks.again}"
            )
    if said:
        raise LostProcessError(said[0][2])
    raise UserError(f"the processes of this run ended with status {ended}; continue {ranks.again}")
