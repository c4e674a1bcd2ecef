"""Processes that do not outlive the one that started them: workers, ranks, and commands that a command starts."""

import gc
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

ORPHANED = 1  # exit status
STARTER = "FASTREID_EXT_STARTER"  # environment variable of a command that another command starts: that one's process id
MOST_CHARACTERS = 200  # of a command line in a message
POLL_SECONDS = 1.0
SECONDS_TO_END = 2.0  # for a process that is asked to

HANG_UP = getattr(signal, "SIGHUP", None)  # Windows has none


def as_worker() -> None:
    """Make this process a worker: it ends with the process that started it, and leaves Ctrl-C to that one.

    To be called first in a worker of :mod:`multiprocessing`, forked or spawned; anywhere else it does nothing.
    """
    if multiprocessing.parent_process() is None:
        return
    leave_signals_to_parent()
    end_with_parent()
    sys.excepthook = _show_unless_orphaned


def keep_in_forks(*things: Any) -> None:
    """Never destroy an object with threads of its own in a process that is forked while it lives.

    Threads are not forked. The destructor of an onnxruntime session waits for its threads, and there for ever: in a
    loader's worker, for one, as soon as Python collects a session that nobody needs any more. From the first call on, a
    forked process leaves all garbage of its parent alone, since others make sessions too: onnxruntime's quantiser does.

    Args:
        things: hashable and weakly referable; this process destroys them as ever.
    """
    _have_forks_keep()
    _with_threads.update(things)


_with_threads: "weakref.WeakSet[Any]" = weakref.WeakSet()
_kept: list[Any] = []


@cache
def _have_forks_keep() -> None:
    if hasattr(os, "register_at_fork"):  # Windows does not fork
        os.register_at_fork(after_in_child=_keep)


def _keep() -> None:
    gc.freeze()
    _kept.extend(_with_threads)


class WorkerCall:
    """The target of a worker: a function and its arguments, called once the worker watches its parent.

    A spawned worker unpickles them only then: that imports their modules, and so all of torch. Meanwhile the parent
    may be gone.

    Args:
        function: of a module, where the worker is spawned.
        arguments: of the function, in front of those that the worker is given.
    """

    def __init__(self, function: Callable[..., None], *arguments: Any):
        self._call = function, arguments

    def __getstate__(self) -> bytes:
        return pickle.dumps(self._call)

    def __setstate__(self, state: bytes) -> None:
        self._call = state

    def __call__(self, *more: Any) -> None:
        as_worker()
        call = self._call
        function, arguments = pickle.loads(call) if isinstance(call, bytes) else call
        function(*arguments, *more)


def leave_signals_to_parent() -> None:
    """Ignore the signals that a terminal sends to all processes of a command."""
    for number in filter(None, (signal.SIGINT, HANG_UP)):
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """End this process, within two seconds, once the process that started it is gone, also after a SIGKILL.

    That is the parent of :mod:`multiprocessing` where there is one, and otherwise of the operating system.
    """
    parent = multiprocessing.parent_process()
    watched = [] if parent is None else [parent.sentinel]
    threading.Thread(target=_end_after, args=(watched, os.getppid()), daemon=True).start()


def _show_unless_orphaned(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an exception that nothing caught, but not that a parent which was killed closed its pipes.

    A thread that hands tensors over (multiprocessing.resource_sharer) meets this before the parent is known to be gone.
    """
    if issubclass(kind, EOFError | ConnectionError):
        time.sleep(SECONDS_TO_END)  # meanwhile an orphan ends
    sys.__excepthook__(kind, error, trace)


def end_with_starter() -> None:
    """End this command with the one that started it by :func:`run_command`, if one did."""
    starter = os.environ.pop(STARTER, None)  # not for the processes that this one starts
    if starter is None:
        return
    if str(os.getppid()) != starter:  # gone before this line
        os._exit(ORPHANED)
    end_with_parent()


def _end_after(sentinels: Sequence[int], parent: int) -> None:
    # A worker inherits the pipes of those forked before it, so that their sentinels wait for it too. The system's
    # word on the parent is quicker, but it has none where a fork server is the parent.
    while os.getppid() == parent:
        if sentinels and wait(sentinels, POLL_SECONDS):
            break
        if not sentinels:
            time.sleep(POLL_SECONDS)
    os._exit(ORPHANED)


def run_command(arguments: Sequence[str]) -> int:
    """Run ``fastreid-ext`` with these arguments in a process that ends with this one, and return its exit status.

    Where an exception, Ctrl-C for one, ends the waiting, the process is asked to end, and killed if it does not.
    """
    process = start_command(arguments)
    try:
        return process.wait()
    except BaseException:
        end_commands([process])
        raise


def start_command(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None, output: BinaryIO | None = None
) -> "subprocess.Popen[bytes]":
    """Start ``fastreid-ext`` with these arguments in a process that ends with this one.

    Args:
        arguments: of the command line.
        environment: variables beside those of this process.
        output: takes what it prints; None leaves it to this process's terminal.
    """
    command = [sys.executable, "-m", "fastreid_ext", *arguments]
    variables = {**os.environ, **(environment or {}), STARTER: str(os.getpid())}
    return subprocess.Popen(command, env=variables, stdout=output, stderr=output)


def end_commands(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Ask commands to end, all at once, and kill those that do not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + SECONDS_TO_END
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def holder_of(lock: Path) -> str:
    """Return who holds a lock file, in words: the process and its command line, where the system (Linux) tells it."""
    try:
        inode = f":{os.stat(lock).st_ino}"
        fields = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        pid = next(each[4] for each in fields if each[1] == "FLOCK" and each[5].endswith(inode))
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (OSError, IndexError, StopIteration):
        return "another process"
    return f"process {pid} ({command[:MOST_CHARACTERS].splitlines()[0]})" if command else f"process {pid}"


def kill_workers() -> None:
    """Kill what :mod:`multiprocessing` started and still runs: at the end of a command Python waits for all of it."""
    for process in multiprocessing.active_children():
        process.kill()
