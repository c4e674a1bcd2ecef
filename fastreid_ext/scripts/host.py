"""Which FastReID a script imports: one that is installed comes last, and never silently in a checkout's place.

FastReID's scripts find the checkout that they belong to by ``sys.path.append(".")``. By the order of the path an
installed FastReID would win over it; by :class:`CheckoutFinder` the first one on the path that is not installed does.
"""

import importlib.machinery
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from fastreid_ext.compat.warn import warn_user

__all__ = ["CheckoutFinder", "install", "installed_paths", "warn_of_installed"]

HOST = "fastreid"
RANK = "RANK"  # torchrun's


def installed_paths() -> list[str]:
    """The entries of sys.path that belong to the installation: not the script's folder, and none of PYTHONPATH's.

    To be called before anything changes sys.path.
    """
    named = "" if sys.flags.ignore_environment else os.environ.get("PYTHONPATH", "")
    own = {os.path.abspath(path) for path in named.split(os.pathsep) if path}
    first = 0 if getattr(sys.flags, "safe_path", sys.flags.isolated) else 1
    return [path for path in sys.path[first:] if os.path.abspath(path) not in own]


class CheckoutFinder:
    """Finds ``fastreid`` where the path names it, the installation left out.

    Args:
        installed: the entries that are left out.
    """

    def __init__(self, installed: Sequence[str]):
        self.installed = frozenset(installed)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find the package; None, so that the usual finders go on, where only the installation has it."""
        if name != HOST or path is not None:
            return None
        elsewhere = [entry for entry in sys.path if entry not in self.installed]
        spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
        return spec if spec is not None and spec.has_location else None  # a folder without __init__.py is none


def install(installed: Sequence[str]) -> None:
    """Put the finder in front of Python's, behind the hook that heals what is found."""
    if not any(isinstance(finder, CheckoutFinder) for finder in sys.meta_path):
        sys.meta_path.insert(1, CheckoutFinder(installed))


def warn_of_installed(script: str, installed: Sequence[str]) -> None:
    """Warn, once a run, where a script of a checkout uses another FastReID than that of its checkout.

    Args:
        script: absolute path.
        installed: see :func:`installed_paths`.
    """
    if multiprocessing.parent_process() is not None or os.environ.get(RANK, "0") != "0":
        return
    used = Path(sys.modules[HOST].__file__ or "").parent
    own = next((folder / HOST for folder in Path(script).resolve().parents if _is_package(folder / HOST)), None)
    chosen = any(Path(entry or ".").resolve() == used.resolve().parent for entry in sys.path if entry not in installed)
    if own is None or own == used.resolve() or chosen:
        return
    warn_user(
        f"{script} belongs to the FastReID in {own.parent}, but the one in {used} is used, because the script does not"
        f" find its own: start it in {own.parent}, or put that folder on PYTHONPATH"
    )


def _is_package(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()
