"""Lets one thread at a time import FastReID and fastreid_ext, and others wait until it is through.

Python locks each module while it is imported. Healing imports FastReID's modules, and then ours, within the import of
``fastreid``. Another thread that imports ``fastreid.config`` or one of ours holds that module's lock and waits for
``fastreid``: Python finds the deadlock and gives one of them a half-imported module. So a thread takes one lock for all
of both packages, before the lock of any module of theirs. Finders are asked too late, with the module's lock held; the
import system's own function is the only place. Where a Python has none of that name, imports are as they were.

A module that is in ``sys.modules`` and complete is given out without a lock, though what was asked for first may not be
through: ``fastreid`` is complete and healed, say, and ours not registered yet. So each module counts as not complete
until the outermost import ends (:func:`keep_waiting`): then Python asks a second function, which takes the lock too.
"""

import copy
import os
import sys
import threading
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["install", "keep_waiting"]

# What Python calls for what is not imported yet, by ``import`` and by importlib.import_module; and for what another
# thread may still be importing.
FIND, WAIT = "_find_and_load", "_lock_unlock_module"

_lock = threading.RLock()  # healing imports too
_depth = 0  # how many imports of both packages the thread that holds the lock is in
_unfinished: list[ModuleSpec] = []


def install(packages: Iterable[str]) -> None:
    """Take the lock for every import of these packages and their modules; a second call does nothing."""
    system = sys.modules.get("_frozen_importlib")
    original: Callable[..., Any] | None = getattr(system, FIND, None)
    if original is None or getattr(original, "packages", None):
        return
    names = frozenset(packages)

    def find_and_load(name: str, *args: Any) -> Any:
        global _depth
        if name.partition(".")[0] not in names:
            return original(name, *args)
        with _lock:
            _depth += 1
            try:
                return original(name, *args)
            finally:
                _depth -= 1
                if not _depth:
                    _finish()

    find_and_load.packages = names
    setattr(system, FIND, find_and_load)
    wait: Callable[[str], None] | None = getattr(system, WAIT, None)
    if wait is not None:

        def lock_unlock_module(name: str) -> None:
            if name.partition(".")[0] not in names:
                return wait(name)
            with _lock:
                return wait(name)

        setattr(system, WAIT, lock_unlock_module)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forked)


def keep_waiting(module: ModuleType) -> None:
    """Have other threads that import this module wait until this thread's outermost import ends."""
    if _depth:
        # A copy, as Python marks its own as complete when the module was executed.
        module.__spec__ = spec = copy.copy(module.__spec__)
        spec._initializing = True
        _unfinished.append(spec)


def _finish() -> None:
    while _unfinished:
        _unfinished.pop()._initializing = False


def _forked() -> None:
    global _depth
    if not _lock._is_owned():  # another thread held it, which does not exist in a forked process
        _lock._at_fork_reinit()
        _depth = 0
        _finish()
