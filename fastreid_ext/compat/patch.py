"""The registry of patches: what each one heals, and whether the host is the version it was written for."""

import hashlib
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["PATCHES", "Patch", "apply_all", "fingerprint", "patch", "replace", "resolve"]

PATCHES: list["Patch"] = []


@dataclass(frozen=True)
class Patch:
    """One repair of the host, made for one reason.

    Args:
        name: what the warning and the documentation call it.
        heals: the place in FastReID 1.4.0's wheel, ``file.py:line``.
        needed_by: the versions without which the host's own code would do.
        targets: ``module:qualified.name`` -> the fingerprints that the patch was written for.
        apply: makes the repair.
    """

    name: str
    heals: str
    needed_by: str
    targets: Mapping[str, tuple[str, ...]]
    apply: Callable[[], None]

    def changed_targets(self) -> list[str]:
        """The targets whose source is none of the known versions."""
        return [target for target, known in self.targets.items() if fingerprint(target) not in known]

    def warn(self, changed: list[str]) -> None:
        """Say that the host differs; the patch is applied all the same, as most differences do not matter."""
        warnings.warn(
            f"fastreid_ext.compat: the patch {self.name!r} ({self.heals}) was written for FastReID 1.4.0, "
            f"but {', '.join(changed)} reads differently here; the patch is applied all the same.",
            RuntimeWarning,
            stacklevel=2,
        )


def patch(
    name: str, *, heals: str, needed_by: str, targets: Mapping[str, tuple[str, ...]]
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register the decorated function as the patch ``name``; the arguments are those of :class:`Patch`."""

    def register(apply: Callable[[], None]) -> Callable[[], None]:
        PATCHES.append(Patch(name, heals, needed_by, targets, apply))
        return apply

    return register


def apply_all(patches: Iterable[Patch] = PATCHES) -> None:
    """Compare every target with its known versions, then apply the patches in order."""
    patches = list(patches)
    # All fingerprints first: two patches may touch one function, and the second must see the host's.
    changed = [each.changed_targets() for each in patches]
    for each, targets in zip(patches, changed, strict=True):
        if targets:
            each.warn(targets)
        each.apply()


def resolve(target: str) -> tuple[Any, str, Any]:
    """``module:Class.method`` -> the class (or module), the last name, and what it names."""
    module, _, path = target.partition(":")
    # import_module and not getattr: fastreid.engine.launch is a module and, as an attribute, a function.
    owner = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name, getattr(owner, name)


def fingerprint(target: str) -> str:
    """A hash of the target's source in which white space does not count; empty where there is no source."""
    try:
        source = inspect.getsource(inspect.unwrap(resolve(target)[2]))
    except (AttributeError, ImportError, OSError, TypeError):
        return ""
    return hashlib.sha256(" ".join(source.split()).encode()).hexdigest()[:12]


def replace(target: str, new: Any) -> None:
    """Put ``new`` in the target's place, also in the host's modules that imported the function by name."""
    owner, name, old = resolve(target)
    setattr(owner, name, new)
    if not inspect.ismodule(owner):
        return
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] == "fastreid" and vars(module).get(name) is old:
            setattr(module, name, new)
