"""A run's hold on its OUTPUT_DIR: one process at a time writes there."""

import itertools
import json
import logging
import os
import socket
import threading
import time
import weakref
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from fastreid_ext.errors import FileError
from fastreid_ext.files import locked, make_folder, write_text
from fastreid_ext.foreign_files import read_json, shown
from fastreid_ext.image_files import kind_of_no_file

LOCK, OWNER = "run.lock", "running.json"
# What a run writes by these names; what is no file would stop it late, or never.
WRITTEN = ("log.txt", "metrics.json", "config.yaml", "results.json", "report.json", "last_checkpoint", LOCK, OWNER)
BEAT_SECONDS = 10.0  # how often an owner says that it is alive
SILENT_SECONDS = 60.0  # an owner on another machine that says nothing for so long is dead

logger = logging.getLogger(__name__)

_holds: dict[Path, "_Hold"] = {}  # of this process
_numbers = itertools.count()


class HeldFolder:
    """Hold an output folder until :meth:`release`, or until this object is collected or the process ends.

    A process may hold a folder more than once; other processes are refused. The system frees the lock however the
    owner ends, and the text beside it says who that is. A lock may not reach the other machines of a shared folder:
    there the text, whose time an owner renews, decides.

    Args:
        folder: OUTPUT_DIR; it is made if it is not there.

    Attributes:
        taken_over: the owner that died in this folder without leaving it; "" if there was none.

    Raises:
        FileError: another process holds it, it can't be locked, or a folder has the name of a file of a run.
    """

    def __init__(self, folder: str | Path):
        path = make_folder(Path(folder)).resolve()
        hold = _holds.get(path)
        if hold is None or not hold.is_ours():
            hold = _holds[path] = _Hold(path)
        hold.count += 1
        self._hold = hold
        self.taken_over = hold.taken_over
        self._release = weakref.finalize(self, hold.give_back)

    def __enter__(self) -> "HeldFolder":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def release(self) -> None:
        """Leave the folder; a second call does nothing."""
        self._release()

    def log_taken_over(self) -> None:
        """Say in the log that the last owner died here, if it did."""
        if self.taken_over:
            logger.info("%s, which held %s, is gone: this run takes over", self.taken_over, self._hold.folder)

    def check(self) -> None:
        """Check that the folder is still this process's.

        Raises:
            FileError: it was removed, perhaps made anew, or another process has taken it over.
        """
        if not self._hold.is_there():
            raise FileError(
                f"the output folder {self._hold.folder} is no longer this run's ({OWNER} in it is missing or of another"
                " process): it was removed or taken over; nothing is written there any more"
            )


class _Hold:
    """What a process holds of a folder, once however often it asks."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process = os.getpid()
        self.count = 0
        self.owner = {
            "process": self.process,
            "hold": next(_numbers),  # a process may hold folder after folder of this name
            "host": socket.gethostname(),
            "since": time.strftime("%F %T %z"),
        }
        for name in WRITTEN:
            if kind := kind_of_no_file(folder / name):
                raise FileError(f"{folder / name} is {kind}, and a run writes a file of that name: remove it")
        with ExitStack() as stack:
            stack.enter_context(locked(folder / LOCK, busy=lambda: _busy(folder, _read_owner(folder))))
            before = _read_owner(folder)
            if before is not None and before.get("host") != self.owner["host"] and _heard_of(folder):
                raise FileError(_busy(folder, before))
            self.taken_over = "" if before is None else _named(before)
            write_text(folder / OWNER, json.dumps(self.owner) + "\n")
            self.stack = stack.pop_all()
        self.ended = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def is_ours(self) -> bool:
        """Whether this process has the folder: not a forked child, nor if the folder was removed and made anew."""
        return self.process == os.getpid() and self.is_there()

    def is_there(self) -> bool:
        return _read_owner(self.folder) == self.owner

    def give_back(self) -> None:
        if self.process != os.getpid():
            return
        self.count -= 1
        if self.count:
            return
        self.ended.set()
        if _holds.get(self.folder) is self:
            del _holds[self.folder]
        if self.is_there():
            with suppress(OSError):
                (self.folder / OWNER).unlink()
        self.stack.close()

    def _beat(self) -> None:
        while not self.ended.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self.folder / OWNER)


def _read_owner(folder: Path) -> dict[str, Any] | None:
    """Return who holds a folder or died there: None if nobody, or if the text is not ours."""
    try:
        owner = read_json(folder / OWNER)
    except FileError:
        return None
    return owner if isinstance(owner, dict) else None


def _heard_of(folder: Path) -> bool:
    """Whether the owner has renewed its text lately, by the clock of the file system."""
    probe = folder / f".{OWNER}.{os.getpid()}.tmp"
    try:
        probe.write_bytes(b"")
        now = probe.stat().st_mtime
        probe.unlink()
        return now - (folder / OWNER).stat().st_mtime < SILENT_SECONDS
    except OSError:
        return False


def _named(owner: dict[str, Any]) -> str:
    return f"process {_word(owner, 'process')} on {_word(owner, 'host')}"


def _word(owner: dict[str, Any], key: str) -> str:
    """Return what the text says at a key, for a message: the folder may be somebody else's."""
    value = owner.get(key)
    return value if isinstance(value, str) and len(value) <= 100 and value.isprintable() else shown(value)


def _busy(folder: Path, owner: dict[str, Any] | None) -> str:
    who = "another process" if owner is None else f"{_named(owner)}, since {_word(owner, 'since')}"
    return (
        f"the output folder {folder} is in use by {who}: wait for it or stop it, or choose another OUTPUT_DIR (if it is"
        f" dead, its folder is free after {SILENT_SECONDS:.0f} s)"
    )
