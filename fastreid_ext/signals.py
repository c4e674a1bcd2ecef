"""Ctrl-C, SIGTERM and SIGHUP end a command: with one sentence, with the shell's status, and soon."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from fastreid_ext.processes import HANG_UP, leave_signals_to_parent

GRACE_SECONDS = 3.0  # from the signal to the end of the process, whatever it is doing
CLOCK = "fastreid_ext.signals"  # name of a thread
STDERR = 2  # file descriptor
SIGNALS = tuple(filter(None, (signal.SIGINT, signal.SIGTERM, HANG_UP)))


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end; what handles Ctrl-C handles it too.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def follows_signal(error: BaseException | None) -> bool:
    """Return whether an exception is Ctrl-C or a signal, or was raised while that was handled, as torch.save does."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


class Stopping:
    """What is known of the signals that ask a command to end.

    Attributes:
        number: of the first such signal; None as long as there is none.
    """

    def __init__(self, name: str):
        self.name = name
        self.number: int | None = None
        self._unsaid = threading.Lock()  # held once the sentence is said

    def handle(self, number: int, frame: object) -> None:
        """Raise :class:`Stopped` at the first signal; a later one must not interrupt the cleaning up."""
        if self.number is None:
            self.number = number
            _expect_ends()
            raise Stopped(number)

    @property
    def sentence(self) -> str:
        """What the command says."""
        how = "interrupted" if self.number in (None, signal.SIGINT) else f"stopped by {signal_name(self.number)}"
        return f"{self.name}: {how}"

    def say(self, write: Callable[[str], object]) -> None:
        """Give the sentence to ``write``, if neither the main thread nor the clock has done it yet."""
        if self._unsaid.acquire(blocking=False):
            with suppress(OSError):  # after SIGHUP the terminal may be gone
                write(f"{self.sentence}\n")

    @property
    def status(self) -> int:
        """The exit status that a shell gives to a process that the signal ended."""
        return 128 + (self.number or signal.SIGINT)


def _expect_ends() -> None:
    """Report no worker that ends from now on, and no exception in a thread or where Python throws objects away.

    The main thread's own are caught; a thread of multiprocessing that hands tensors over prints what it sees of the end
    of a worker.
    """
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler raises an error for each
    sys.unraisablehook = lambda unraisable: None
    sys.excepthook = lambda *raised: None


_active: Stopping | None = None


@contextmanager
def stopped_by_signals(name: str) -> Iterator[Stopping]:
    """Raise :class:`Stopped` in the body where one of :data:`SIGNALS` arrives, and end the process soon after it.

    A signal that is ignored stays so: ``nohup`` ignores SIGHUP. Outside the main thread, where Python handles no
    signal, and within another such body, nothing is changed.

    Args:
        name: of the command, for its sentence.
    """
    global _active
    stopping = Stopping(name)
    if threading.current_thread() is not threading.main_thread() or _active is not None:
        yield stopping
        return
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    handled = {number: old for number in SIGNALS if (old := signal.getsignal(number)) in defaults}
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    arguments = (reading, tuple(handled), stopping)
    threading.Thread(target=_end_in_time, args=arguments, name=CLOCK, daemon=True).start()
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in handled:
        signal.signal(number, stopping.handle)
    _active = stopping
    try:
        yield stopping
    finally:
        _active = None
        signal.set_wakeup_fd(before)
        for number, old in handled.items():
            # A second signal would otherwise end the process by a traceback where it cleans up at its end.
            signal.signal(number, old if stopping.number is None else signal.SIG_IGN)
        os.close(writing)


def _end_in_time(reading: int, numbers: tuple[int, ...], stopping: Stopping) -> None:
    """End the process if it has not ended itself some time after a signal.

    Python's own handler waits until the main thread is back from C: from a collective that waits for another
    process, or from building an index.
    """
    with os.fdopen(reading, "rb", buffering=0) as pipe:  # closed earlier, it would make Python complain of a signal
        while arrived := pipe.read(64):
            number = next((number for number in arrived if number in numbers), None)
            if number is not None:
                break
        else:
            return
        threading.Event().wait(GRACE_SECONDS)
    if stopping.number is None:
        stopping.number = number
    stopping.say(lambda text: os.write(STDERR, text.encode(errors="replace")))  # the main thread is still cleaning up
    _exit(stopping.status)


def end(status: int) -> int:
    """End this process without Python's own cleaning up, which takes seconds with torch loaded on a busy machine."""
    atexit._run_exitfuncs()  # temporary files
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    _exit(status)
    return status  # where a test keeps its process


def _exit(status: int) -> NoReturn:
    os._exit(status)


def _in_forked_child() -> None:
    """Keep a worker's signals from what its parent installed: the pipe is the parent's, and so is the sentence."""
    global _active
    if _active is None:
        return
    _active = None
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    leave_signals_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)


def signal_name(number: int) -> str:
    """Return a signal's name, such as SIGTERM."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
