"""One start of a command in a forked process, what hits it at its moment, and what it leaves behind."""

import atexit
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from storm_disk import fill
from storm_plan import BETWEEN_FILES, DISK_FULL, Blow
from storm_probe import PATH, Probe, install

SECONDS_TO_STOP = 30.0  # after a signal, for the process that was started; then it hangs
SECONDS_OF_ORPHANS = 5.0  # after its end, for those that it started
POLL_SECONDS = 0.002
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
STACKS = signal.SIGUSR2  # a run that hangs writes its stacks to its output

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Ended:
    """What became of a start.

    Attributes:
        status: its exit status, negative for a signal.
        seconds: it took.
        phase: in which it was hit; None if it ended before.
        hung: it had to be ended by the storm.
        orphans: command lines of processes that were alive five seconds after its end.
        output: what it printed.
    """

    status: int = 0
    seconds: float = 0.0
    phase: str | None = None
    hung: bool = False
    orphans: list[str] = field(default_factory=list)
    output: str = ""


@dataclass(frozen=True)
class Moment:
    """When a blow falls: so many seconds after the phase's ``occurrence``-th entry, or after the start (phase None).

    Between files, the run waits for it at that renaming: before it, or, with any seconds, behind it.
    """

    phase: str | None
    occurrence: int
    seconds: float


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends, so that it is seen."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Let this process be killed as soon as its parent has ended, so that nothing goes on when the storm is stopped."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(arguments: Sequence[str], folder: Path, output: Path, environment: Mapping[str, str], probe: Probe) -> int:
    """Fork a process in a session of its own that runs ``fastreid-ext`` with the arguments; return its number."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        end_with_parent()  # the package's own processes do not inherit it
        for number in (signal.SIGTERM, signal.SIGHUP):  # nohup and a shell's & pass ignored ones on
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(written, 1)
        os.dup2(written, 2)
        os.chdir(folder)
        os.environ.update(environment)
        os.environ[PATH] = str(probe.file)
        faulthandler.register(STACKS, file=sys.stderr, all_threads=True)
        install(probe)
        status = _as_a_program(arguments)
    finally:
        os._exit(status)


def _as_a_program(arguments: Sequence[str]) -> int:
    """Run the command and what Python does at a program's end."""
    import traceback

    from fastreid_ext.cli import main

    sys.argv = ["fastreid-ext", *arguments]
    try:
        status = main(arguments)
    except SystemExit as stopped:
        status = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # joins threads and pools, as an interpreter that ends does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def watch(pid: int, probe: Probe, blow: Blow | None, moment: Moment | None, folder: Path, limit: float) -> Ended:
    """Wait until a start has ended, and hit it at its moment.

    Args:
        pid: of :func:`start`.
        probe: of the start.
        blow, moment: what happens and when; None lets it run.
        folder: its disk gets full, if that is what happens.
        limit: seconds after which it counts as hung.
    """
    began, ended = time.monotonic(), Ended()
    deadline, due = began + limit, None
    while (status := _reap(pid)) is None:
        now = time.monotonic()
        if now > deadline:
            ended.hung = True
            _signal(pid, STACKS, group=False)
            time.sleep(0.5)
            _end_all(pid)
            break
        if blow is not None and ended.phase is None:
            due = _due(probe, moment, began) if due is None else due
            if due is not None and now >= due:
                ended.phase = probe.phase
                if blow.what == DISK_FULL:
                    fill(folder)
                    probe.go_on()
                else:
                    _signal(pid, signal.Signals[blow.what], blow.group)
                    probe.go_on()
                    deadline = now + SECONDS_TO_STOP
        time.sleep(POLL_SECONDS)
    ended.seconds = time.monotonic() - began
    if ended.hung:
        return ended
    ended.status = status
    latest = time.monotonic() + SECONDS_OF_ORPHANS
    while (left := alive(pid)) and time.monotonic() < latest:
        _reap(pid)
        time.sleep(0.02)
    ended.orphans = [f"{name} in {waits}" for name, waits in left.values()]
    _end_all(pid)
    return ended


def _due(probe: Probe, moment: Moment, began: float) -> float | None:
    if moment.phase is None:
        return began + moment.seconds
    if moment.phase == BETWEEN_FILES:
        return time.monotonic() if probe.waits else None
    times, _ = probe.row(moment.phase)
    return time.monotonic() + moment.seconds if times >= moment.occurrence else None


def _reap(pid: int) -> int | None:
    """Reap whatever has ended, and return the exit status of ``pid`` if it has."""
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if ended == pid:
            return os.waitstatus_to_exitcode(status)
        if not ended:
            return None


def alive(session: int) -> dict[int, tuple[str, str]]:
    """Return number -> command line and what it waits in, of the living processes of a session and of our children."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            # The name is in brackets and may hold anything.
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            state, parent, of = fields[0], int(fields[1]), int(fields[3])
            if state in "ZX" or (of != session and parent != os.getpid()):
                continue
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            found[int(folder.name)] = line, (folder / "wchan").read_text(errors="replace")
        except OSError:  # it has ended meanwhile
            continue
    return found


def _signal(pid: int, number: int, group: bool) -> None:
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, number)


def _end_all(session: int) -> None:
    """End what is left of a session, and reap it."""
    while left := alive(session):
        for pid in left:
            _signal(pid, signal.SIGKILL, group=False)
        time.sleep(0.01)
        _reap(session)
