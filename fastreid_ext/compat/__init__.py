"""Heals FastReID 1.4.0 at run time, so that it works with today's Python, torch, torchvision and NumPy.

The host has had no release since 2022. Nothing of it is edited or copied: :func:`heal` imports it and then
replaces, in memory, the functions that are broken. The order is fixed:

1. :mod:`.imports` imports every module of the host that is patched, under aliases for two names that Python
   and torch have dropped; the aliases are withdrawn at once.
2. The modules of :data:`AREAS` register their patches; each patch names the host line it heals and the
   versions that need it, and the source of what it replaces is compared with the version it was written for.
3. The patches are applied in the order of registration.

This package imports nothing else of ``fastreid_ext``, so it can be read, and one day dropped, on its own.
"""

import importlib

from fastreid_ext.compat import imports, patch

__all__ = ["AREAS", "heal"]

AREAS = ("data", "transforms", "evaluation", "checkpoint", "training", "amp", "trainer", "distributed")

_healed = False


def heal() -> None:
    """Import FastReID and apply every patch; a second call does nothing.

    Raises:
        ImportError: FastReID, or a package that it needs, is not installed; the message says what to install.
    """
    global _healed
    if _healed:
        return
    imports.import_host()
    for area in AREAS:
        importlib.import_module(f"{__name__}.{area}")
    patch.apply_all()
    _healed = True
