"""Says in which phase a run is, by a page of memory that the run writes and the storm reads."""

import functools
import importlib
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storm_plan import BETWEEN_FILES, PHASES

PATH = "STORM_PROBE"  # in the environment of a run: the page's file
HEAD = struct.Struct("<iiid")  # phase, epochs that are saved, epoch that training started at, time of the last change
WAIT = struct.Struct("<iii")  # renaming to wait at, whether behind it and not before, whether the run waits now
ROW = struct.Struct("<id")  # of a phase: how often it was entered, seconds in it
NONE = -1
LONGEST_WAIT = 5.0  # seconds


class Probe:
    """The page of one run after another.

    Args:
        file: of the page; made if it is not there.
    """

    def __init__(self, file: Path):
        self.file = file
        if not file.exists():
            file.write_bytes(bytes(mmap.PAGESIZE))
        with open(file, "r+b") as opened:
            self.page = mmap.mmap(opened.fileno(), mmap.PAGESIZE)

    def reset(self, wait_at: int = 0, behind: bool = False) -> None:
        """Forget what the last run wrote.

        Args:
            wait_at: the renaming of a file, from 1 on, at which the run shall wait to be hit; 0 = none.
            behind: wait after it and not before.
        """
        self.page[:] = bytes(mmap.PAGESIZE)
        HEAD.pack_into(self.page, 0, 0, 0, NONE, time.monotonic())
        ROW.pack_into(self.page, self._place(0), 1, 0.0)  # a run begins in the first phase
        WAIT.pack_into(self.page, HEAD.size, wait_at, behind, 0)

    @property
    def phase(self) -> str:
        return PHASES[self._head()[0]]

    @property
    def saved(self) -> int:
        """Epochs that are in a checkpoint."""
        return self._head()[1]

    @property
    def started_at(self) -> int:
        """The epoch that training started at; -1 if it has not."""
        return self._head()[2]

    @property
    def waits(self) -> bool:
        """Whether the run waits at a renaming."""
        return bool(WAIT.unpack_from(self.page, HEAD.size)[2])

    def row(self, phase: str) -> tuple[int, float]:
        """Return how often the phase was entered, and the seconds in it so far."""
        return ROW.unpack_from(self.page, self._place(PHASES.index(phase)))

    # ---- in the run ---------------------------------------------------------------------------------------------

    def move(self, phase: str, entered: bool = True) -> None:
        """Say that the run is in a phase now; ``entered`` is false on the way back to an outer one."""
        current, saved, started, since = self._head()
        now = time.monotonic()
        times, seconds = ROW.unpack_from(self.page, self._place(current))
        ROW.pack_into(self.page, self._place(current), times, seconds + now - since)
        place = self._place(PHASES.index(phase))
        times, seconds = ROW.unpack_from(self.page, place)
        ROW.pack_into(self.page, place, times + entered, seconds)
        HEAD.pack_into(self.page, 0, PHASES.index(phase), saved, started, now)

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """Be in a phase, and then back where the run was."""
        outer = self.phase
        self.move(phase)
        try:
            yield
        finally:
            self.move(outer, entered=False)

    def note(self, saved: int | None = None, started_at: int | None = None) -> None:
        """Say how many epochs are saved, or at which one training starts."""
        phase, was_saved, was_started, since = self._head()
        saved = was_saved if saved is None else max(saved, was_saved)
        HEAD.pack_into(self.page, 0, phase, saved, was_started if started_at is None else started_at, since)

    def wait(self, behind: bool) -> None:
        """Wait to be hit, if this is the renaming to wait at, and its side."""
        at, side, _ = WAIT.unpack_from(self.page, HEAD.size)
        if at == self.row(BETWEEN_FILES)[0] and bool(side) == behind:
            WAIT.pack_into(self.page, HEAD.size, at, side, 1)
            until = time.monotonic() + LONGEST_WAIT
            while self.waits and time.monotonic() < until:
                time.sleep(0.001)

    def go_on(self) -> None:
        """Let a run that waits go on."""
        at, side, _ = WAIT.unpack_from(self.page, HEAD.size)
        WAIT.pack_into(self.page, HEAD.size, at, side, 0)

    def _head(self) -> tuple[int, int, int, float]:
        return HEAD.unpack_from(self.page, 0)

    @staticmethod
    def _place(number: int) -> int:
        return HEAD.size + WAIT.size + ROW.size * number


# Where the package does what a phase is named after: module and what is in it.
PLACES = (
    ("fastreid_ext.data.synthetic.writer", "write_all", "rendering"),
    ("fastreid_ext.data.datasets.cuhk03", "CUHK03NewSplit.__init__", "extraction"),
    ("fastreid_ext.engine.trainer", "Trainer._evaluate", "evaluation"),
    ("fastreid_ext.engine.checkpoint", "AtomicCheckpointer.save", "checkpoint"),
    ("fastreid_ext.search.extract", "extract", "extract"),
    ("fastreid_ext.search.searching", "open_index", "index"),
    ("fastreid_ext.engine.trainer", "Trainer.train", "other"),
    ("os", "replace", BETWEEN_FILES),
    ("os", "rename", BETWEEN_FILES),
    ("fastreid.engine.train_loop", "TrainerBase.before_epoch", ""),  # it begins the phase
)


def install(probe: Probe) -> None:
    """Let the package say its phases to the probe, in this process and those that it forks."""
    for module, name, phase in PLACES:
        owner, attribute = place(module, name)
        setattr(owner, attribute, _Wrapped(getattr(owner, attribute), probe, phase).call)


def place(module: str, name: str) -> tuple[Any, str]:
    """Return the module or class that has a function, and the function's own name."""
    *outer, attribute = name.split(".")
    return functools.reduce(getattr, outer, importlib.import_module(module)), attribute


class _Wrapped:
    """A function of the package that says its phase; of several processes, the run's first and rank 0 speak."""

    def __init__(self, inner: Callable, probe: Probe, phase: str):
        self.inner, self.probe, self.phase, self.process = inner, probe, phase, os.getpid()

    @property
    def call(self) -> Callable:
        @functools.wraps(self.inner)  # a function, which binds to its object as the inner one does
        def call(*args: Any, **kwargs: Any) -> Any:
            from fastreid.utils import comm

            if comm.get_rank() or os.getpid() != self.process:
                return self.inner(*args, **kwargs)
            if not self.phase:
                self.probe.move("first epoch" if args[0].epoch == 0 else "later epoch")
                return self.inner(*args, **kwargs)
            if self.phase == "other":
                self.probe.note(started_at=args[0].start_epoch)
            with self.probe.within(self.phase):
                if self.phase == BETWEEN_FILES:
                    self.probe.wait(behind=False)
                result = self.inner(*args, **kwargs)
                if self.phase == BETWEEN_FILES:
                    self.probe.wait(behind=True)
            if self.phase == "checkpoint" and kwargs.get("last", True):  # the others are not resumed from
                self.probe.note(saved=kwargs["epoch"] + 1)
            return result

        return call
