"""Heals FastReID 1.4.0 at run time, so that it works with today's Python, torch, torchvision and NumPy.

The host, which is what this package calls FastReID, has had no release since 2022. Nothing of it is edited or copied:
:func:`heal` imports it and then replaces, in memory, the functions that are broken. The order is fixed:

1. :mod:`.imports` imports every module of the host that is patched, under aliases for two names that Python
   and torch have dropped; the aliases are withdrawn at once.
2. The modules of :data:`AREAS` register their patches; each patch names the host line it heals and the
   versions that need it, and has a probe that says whether the fault is there. The source of what it replaces is
   compared with the version it was written for.
3. The patches that are needed are applied in the order of registration. One that does not find what it replaces is
   skipped, with a warning that names what stays broken. :func:`report` says what became of each.

When this happens is described in :mod:`.hook`, and what happens to names that a fork has too in :mod:`.names`.
This package imports nothing else of ``fastreid_ext``, so it can be read, and one day dropped, on its own.
"""

import importlib
from collections.abc import Callable

from fastreid_ext.compat import hook, imports, patch

__all__ = ["AREAS", "heal", "install", "report"]

AREAS = ("names", "data", "transforms", "evaluation", "checkpoint", "optimizer", "amp", "trainer", "distributed")

_healed = False


def heal() -> None:
    """Import FastReID and apply every patch that it needs; a second call does nothing.

    Raises:
        ImportError: FastReID, or a package that it needs, is not installed; the message says what to install.
    """
    global _healed
    if _healed:
        return
    imports.import_host()
    if _healed:  # the hook did it within the import
        return
    areas = [importlib.import_module(f"{__name__}.{area}").__name__ for area in AREAS]
    # By area, as a module of ours may have imported one area before the others.
    patches = sorted(patch.PATCHES, key=lambda each: areas.index(each.apply.__module__))
    patch.OUTCOMES[:] = patch.apply_all(patches)
    _healed = True


def report() -> list[patch.Outcome]:
    """What became of each patch, in the order of application; empty before FastReID is healed."""
    return list(patch.OUTCOMES)


def install(register: Callable[[], None]) -> None:
    """Have FastReID healed when it is imported, and ``register`` called afterwards; see :mod:`.hook`."""
    hook.install(heal, _undo, register)


def _undo() -> None:
    global _healed
    _healed = False
    patch.OUTCOMES.clear()
