"""How ``import fastreid_ext`` stays light and yet heals FastReID, whatever is imported first.

``import fastreid_ext`` imports neither FastReID nor torch. It puts a finder in front of ``sys.meta_path``, which does
three things:

1. The first import of ``fastreid``, by the user or by a module of ours, ends with the healing
   (:func:`fastreid_ext.compat.heal`): whoever asked for FastReID gets it patched. Where ``fastreid`` was imported
   before us, it is healed at once.
2. After the healing our models and data sets are registered. They import each other, so this waits until no module of
   ours is half imported: right after the healing if the user imported ``fastreid``, and at the end of the outermost
   import if it was, say, ``fastreid_ext.deepminer`` that asked for it. Either way it is done before the user's next
   line.
3. A module of ours that finds no FastReID raises an ImportError with the command that installs it.

If healing or registering fails, the error is raised by the import, and all modules that came with it are forgotten: no
half-healed ``fastreid`` stays behind, and the next import tries again.

Threads that import at the same time do so one after the other, each to its end, see :mod:`.import_lock`.

A spawned process (a rank of FastReID's ``launch``, for instance) is healed when it imports this package before
``fastreid``; unpickling anything of ours does that.
"""

import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from fastreid_ext.compat import import_lock
from fastreid_ext.compat.imports import NEVER_MISSING, what_is_missing

__all__ = ["Hook", "install"]

HOST = "fastreid"
OURS = "fastreid_ext"


class Hook(importlib.abc.MetaPathFinder):
    """The finder of this module's description.

    Args:
        heal: heals the imported host.
        undo: forgets that it is healed.
        register: imports everything of ours that registers itself.
    """

    def __init__(self, heal: Callable[[], None], undo: Callable[[], None], register: Callable[[], None]):
        self.heal, self.undo, self.register = heal, undo, register
        self.due = False  # healed, and ours not registered yet
        self.before: set[str] = set()  # what was imported before the host
        self.thread = threading.local()  # .depth: how many modules of ours are half imported

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find FastReID or a module of ours by the finders behind this one, and attend its execution."""
        package = name.partition(".")[0]
        if package not in (HOST, OURS) or name == OURS:
            return None
        attend = self.run_ours if package == OURS else self.run_host if name == HOST else self.run_part
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _AttendedLoader(spec.loader, attend)
                return spec
        return None

    def run_host(self, execute: Callable[[], None]) -> None:
        """Execute FastReID's package, then heal it."""
        self.before = set(sys.modules) - {HOST}
        execute()
        self.host_imported()

    def run_part(self, execute: Callable[[], None]) -> None:
        """Execute a module of FastReID's."""
        execute()

    def run_ours(self, execute: Callable[[], None]) -> None:
        """Execute a module of ours; the outermost one is followed by the registration, if that is due."""
        self.thread.depth = self._depth() + 1
        try:
            execute()
        except ModuleNotFoundError as error:
            if error.name in (HOST, NEVER_MISSING):
                raise ImportError(what_is_missing(error.name)) from error
            raise
        finally:
            self.thread.depth -= 1
        self._register_if_due()

    def host_imported(self) -> None:
        """Heal the host and register ours, now or as soon as none of ours is half imported."""
        try:
            self.heal()
        except BaseException:
            self._forget()
            raise
        self.due = True
        self._register_if_due()

    def _depth(self) -> int:
        return getattr(self.thread, "depth", 0)

    def _register_if_due(self) -> None:
        if not self.due or self._depth():
            return
        self.due = False
        try:
            self.register()
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        self.due = False
        self.undo()
        for name in set(sys.modules) - self.before:
            parent, _, child = name.rpartition(".")
            compat = f"{OURS}.compat"
            if name.partition(".")[0] in (HOST, OURS) and name != compat and not name.startswith(compat + "."):
                sys.modules.pop(name, None)
                vars(sys.modules.get(parent, _NOWHERE)).pop(child, None)


_NOWHERE = ModuleType("nowhere")


class _AttendedLoader(importlib.abc.Loader):
    """Runs a callback around the execution of a module."""

    def __init__(self, loader: Any, attend: Callable[[Callable[[], None]], None]):
        self._loader, self._attend = loader, attend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        import_lock.keep_waiting(module)
        self._attend(lambda: self._loader.exec_module(module))


def install(heal: Callable[[], None], undo: Callable[[], None], register: Callable[[], None]) -> None:
    """Put the hook in front, once a process; heal and register at once where FastReID is imported already."""
    for finder in sys.meta_path:
        if type(finder).__qualname__ == Hook.__qualname__ and type(finder).__module__ == __name__:
            finder.heal, finder.undo, finder.register = heal, undo, register  # fastreid_ext is reloaded
            return
    import_lock.install((HOST, OURS))
    hook = Hook(heal, undo, register)
    sys.meta_path.insert(0, hook)
    if HOST in sys.modules:
        hook.before = {name for name in list(sys.modules) if name.partition(".")[0] != HOST}
        hook.host_imported()
