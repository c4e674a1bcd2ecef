"""The registry of patches: what each one heals, whether the host needs it, and what became of it."""

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastreid_ext.compat.probing import silent
from fastreid_ext.compat.warn import warn_user

__all__ = ["OUTCOMES", "PATCHES", "Outcome", "Patch", "apply_all", "fingerprint", "patch", "replace", "resolve"]

PATCHES: list["Patch"] = []
OUTCOMES: list["Outcome"] = []

APPLIED, NOT_NEEDED, SKIPPED = "applied", "not needed", "skipped"

_undo: list[Callable[[], None]] = []


@dataclass(frozen=True)
class Patch:
    """One repair of the host, made for one reason.

    Args:
        name: what the warning and the documentation call it.
        heals: the place in FastReID 1.4.0's wheel, ``file.py:line``.
        needed_by: the versions without which the host's own code would do.
        targets: ``module:qualified.name`` -> the fingerprints that the patch was written for.
        apply: makes the repair, by :func:`replace` alone.
        needed: whether the fault is there. Asked before any patch is applied; it changes nothing. One that raises
            counts as a yes.
        if_skipped: what stays broken without the patch; goes on from "without it".
        cause: what in FastReID, or in what it uses, is the fault.
        fix: the smallest change of FastReID's own file that would do, in words: for its maintainers and forks.
        uses: further names of the host that the repair reads, as ``module:qualified.name``.
        critical: without the patch training or evaluation fails or is wrong.
    """

    name: str
    heals: str
    needed_by: str
    targets: Mapping[str, tuple[str, ...]]
    apply: Callable[[], None]
    needed: Callable[[], bool] = field(kw_only=True)
    if_skipped: str = field(kw_only=True)
    cause: str = field(default="", kw_only=True)
    fix: str = field(default="", kw_only=True)
    uses: tuple[str, ...] = field(default=(), kw_only=True)
    critical: bool = field(default=False, kw_only=True)

    def missing_names(self) -> list[str]:
        """The targets and other names of the host that are not there."""
        return [name for name in (*self.targets, *self.uses) if not _exists(name)]

    def changed_targets(self) -> list[str]:
        """The targets whose source is none of the known versions."""
        return [target for target, known in self.targets.items() if fingerprint(target) not in known]

    def is_needed(self) -> bool:
        """Whether the fault is there; a probe that fails on this host can't rule it out."""
        try:
            with silent():
                return self.needed()
        except (Exception, SystemExit):  # the host exits where it can't compile something
            return True

    def warn(self, changed: list[str]) -> None:
        """Say that the host differs and has the fault all the same."""
        warn_user(
            f"fastreid_ext.compat: the patch {self.name!r} ({self.heals}) was written for FastReID 1.4.0, "
            f"but {', '.join(changed)} reads differently here; the patch is applied all the same."
        )

    def skip(self, reason: str) -> "Outcome":
        """Warn that the patch is left out and of what stays broken."""
        warn_user(
            f"fastreid_ext.compat: the patch {self.name!r} ({self.heals}) is skipped: {reason}. "
            f"Without it {self.if_skipped}."
        )
        return Outcome(self, SKIPPED, reason)


@dataclass(frozen=True)
class Outcome:
    """What became of a patch.

    Attributes:
        patch: the patch.
        status: "applied", "not needed" or "skipped".
        reason: why it was skipped, or how the host's source differs; else empty.
    """

    patch: Patch
    status: str
    reason: str = ""


def patch(
    name: str,
    *,
    heals: str,
    needed_by: str,
    targets: Mapping[str, tuple[str, ...]],
    needed: Callable[[], bool],
    if_skipped: str,
    cause: str,
    fix: str,
    uses: tuple[str, ...] = (),
    critical: bool = False,
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register the decorated function as the patch ``name``; the arguments are those of :class:`Patch`."""

    def register(apply: Callable[[], None]) -> Callable[[], None]:
        PATCHES.append(
            Patch(
                name,
                heals,
                needed_by,
                targets,
                apply,
                needed=needed,
                if_skipped=if_skipped,
                cause=cause,
                fix=fix,
                uses=uses,
                critical=critical,
            )
        )
        return apply

    return register


def apply_all(patches: Iterable[Patch]) -> list[Outcome]:
    """Apply, in order, the patches that the host needs and that find what they replace.

    A patch whose names are missing, or that fails, is skipped with one warning and leaves nothing behind.

    Returns:
        What became of each patch.
    """
    patches = list(patches)
    # Ask everything first: two patches may touch one function, and the second must see the host's.
    missing = [each.missing_names() for each in patches]
    needed = [each.is_needed() for each in patches]
    changed = [
        each.changed_targets() if yes and not names else []
        for each, yes, names in zip(patches, needed, missing, strict=True)
    ]
    return [_apply(*each) for each in zip(patches, missing, needed, changed, strict=True)]


def _apply(each: Patch, missing: list[str], needed: bool, changed: list[str]) -> Outcome:
    if not needed:  # also where a name is missing because the fault went with it
        return Outcome(each, NOT_NEEDED)
    if missing:
        return each.skip(f"this FastReID has no {' and no '.join(missing)}")
    _undo.clear()
    try:
        each.apply()
    except Exception as error:
        for undo in reversed(_undo):
            undo()
        return each.skip(f"it does not fit this FastReID ({type(error).__name__}: {error})")
    if changed:
        each.warn(changed)
    return Outcome(each, APPLIED, f"{', '.join(changed)} reads differently" if changed else "")


def resolve(target: str) -> tuple[Any, str, Any]:
    """``module:Class.method`` -> the class (or module), the last name, and what it names."""
    module, _, path = target.partition(":")
    # import_module and not getattr: fastreid.engine.launch is a module and, as an attribute, a function.
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name, getattr(owner, name)


def _exists(target: str) -> bool:
    try:
        resolve(target)
    except (AttributeError, ImportError):
        return False
    return True


def fingerprint(target: str) -> str:
    """A hash of the target's source in which white space does not count; empty where there is no source."""
    try:
        source = inspect.getsource(inspect.unwrap(resolve(target)[2]))
    except (AttributeError, ImportError, OSError, TypeError):
        return ""
    return hashlib.sha256(" ".join(source.split()).encode()).hexdigest()[:12]


def replace(target: str, new: Any, everywhere: bool = True) -> None:
    """Put ``new`` in the target's place; undone if the patch fails later.

    Args:
        target: ``module:qualified.name``.
        new: what takes its place; an attribute that isn't there is added.
        everywhere: also in the host's modules that imported a function by name.
    """
    parent, _, name = target.rpartition("." if "." in target.partition(":")[2] else ":")
    owner = resolve(parent)[2] if ":" in parent else importlib.import_module(parent)
    old = getattr(owner, name, None)
    _set(owner, name, new)
    if not (everywhere and inspect.ismodule(owner)):
        return
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "fastreid" and vars(module).get(name) is old:
            _set(module, name, new)


def _set(owner: Any, name: str, new: Any) -> None:
    if name in vars(owner):
        old = vars(owner)[name]
        _undo.append(lambda: setattr(owner, name, old))
    else:  # inherited
        _undo.append(lambda: delattr(owner, name))
    setattr(owner, name, new)
