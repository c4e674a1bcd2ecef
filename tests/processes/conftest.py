"""A command in a session of its own: every process that it starts, and those start, is found in /proc."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import warm

import fastreid_ext

REPOSITORY = Path(fastreid_ext.__file__).parents[1]
SECONDS_TO_END = 5.0


class Session:
    """A running command, as the only one of its session.

    Args:
        command: what to run.
        log: file that its output goes to.
        env: additions to the environment.
    """

    def __init__(self, command: Sequence[object], log: Path, **env: str):
        self.log = log
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **env}
        self.process = warm.WarmProcess(command, environment, log, log, start_new_session=True)

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str) -> "Session":
        """Wait until the command has written this."""
        return self.wait_until(lambda: text in self.said)

    def wait_until(self, true: Callable[[], bool], seconds: float = 120.0) -> "Session":
        deadline = time.monotonic() + seconds
        while not true():
            assert self.process.poll() is None and time.monotonic() < deadline, self.said
            time.sleep(0.02)
        return self

    def alive(self) -> dict[int, str]:
        """Process id -> name and state of all that runs in the session."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                head, _, rest = (folder / "stat").read_text().rpartition(")")
            except OSError:  # it has just ended
                continue
            state, _, _, session = rest.split()[:4]
            if int(session) == self.process.pid and state not in "ZX":
                found[int(folder.name)] = f"{head.partition('(')[2]} {state}"
        return found

    def send(self, number: int, to_group: bool = False) -> None:
        (os.killpg if to_group else os.kill)(self.process.pid, number)

    def stop(self, number: int, to_group: bool = False) -> int:
        """Send a signal, check that nothing is left some seconds later, and return the exit status."""
        self.send(number, to_group)
        self.ends()
        return self.process.wait(1)

    def ends(self, seconds: float = SECONDS_TO_END) -> float:
        """Check that nothing of the session is left after so many seconds, and return how many it took."""
        start = time.monotonic()
        while self.process.poll() is None or self.alive():
            if time.monotonic() - start > seconds:
                left = self.alive()
                pytest.fail(f"left after {seconds} s: {left}\n{self.said}")
            time.sleep(0.05)
        return time.monotonic() - start

    def clean_up(self) -> None:
        for pid in [*self.alive(), self.process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


@pytest.fixture
def session(tmp_path):
    """``session(arguments of Python, NAME=value of the environment)``: a :class:`Session`."""
    started = []

    def start(*command: object, **env: str) -> Session:
        started.append(Session(command, tmp_path / f"session{len(started)}.txt", **env))
        return started[-1]

    yield start
    for each in started:
        each.clean_up()
