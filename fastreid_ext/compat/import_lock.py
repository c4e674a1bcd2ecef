"""Lets one thread at a time import FastReID and fastreid_ext.

Python locks each module while it is imported. Healing imports FastReID's modules, and then ours, within the import of
``fastreid``. Another thread that imports ``fastreid.config`` or one of ours holds that module's lock and waits for
``fastreid``: Python finds the deadlock and gives one of them a half-imported module. So a thread takes one lock for all
of both packages, before the lock of any module of theirs. Finders are asked too late, with the module's lock held; the
import system's own function is the only place. Where a Python has none of that name, imports are as they were.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["install"]

FUNCTION = "_find_and_load"  # called for what is not imported yet, by ``import`` and by importlib.import_module

_lock = threading.RLock()  # healing imports too


def install(packages: Iterable[str]) -> None:
    """Take the lock for every import of these packages and their modules; a second call does nothing."""
    system = sys.modules.get("_frozen_importlib")
    original: Callable[..., Any] | None = getattr(system, FUNCTION, None)
    if original is None or getattr(original, "packages", None):
        return
    names = frozenset(packages)

    def find_and_load(name: str, *args: Any) -> Any:
        if name.partition(".")[0] not in names:
            return original(name, *args)
        with _lock:
            return original(name, *args)

    find_and_load.packages = names
    setattr(system, FUNCTION, find_and_load)
    if hasattr(os, "register_at_fork"):  # the thread that holds it does not exist in a forked process
        os.register_at_fork(after_in_child=_lock._at_fork_reinit)
