"""Names in FastReID's registries that a fork may have too: no import fails for them, and one warning says who won.

A fork's configs were written for the fork, so **its object keeps the name**, whichever was registered first. Ours stays
reachable in Python, and in every config, clash or not, by the prefixed name ``fastreid_ext.<name>``::

    DATASETS:
      NAMES: ("fastreid_ext.OccludedDuke",)

All of ours are registered by :func:`register`, which meets a name that is taken; the patch ``registry-clash`` meets
those who take one of ours later. What is ours stands in the registry itself, so nothing of ours is imported here.
A class of ours that mends one of FastReID's own takes its name, where FastReID's is as it was released; a fork that
has changed it keeps its own.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.patch import patch, replace
from fastreid_ext.compat.warn import warn_user

__all__ = ["PREFIX", "plain_names", "register"]

PREFIX = "fastreid_ext."

_OURS = "_fastreid_ext"  # attribute of a registry: name -> our object

T = TypeVar("T")

registry_module = HostModule("fastreid.utils.registry")
DO_REGISTER = "fastreid.utils.registry:Registry._do_register"


def register(registry: Any, instead_of: Any = None) -> Callable[[T], T]:
    """Register the decorated class or function of ours, by its name and by its prefixed name.

    Where the name is taken, its holder keeps it and a RuntimeWarning says so.

    Args:
        registry: one of FastReID's, such as META_ARCH_REGISTRY.
        instead_of: the one holder whose name ours takes, without a word.
    """

    def decorator(ours: T) -> T:
        name = ours.__name__
        objects = registry._obj_map
        vars(registry).setdefault(_OURS, {})[name] = ours
        objects[PREFIX + name] = ours
        holder = objects.get(name)
        ours_before = holder is not None and _origin(holder) == _origin(ours)  # our module is reloaded
        if holder is None or holder is instead_of or ours_before:
            objects[name] = ours
        else:
            _warn(registry, name, winner=holder, ours=ours)
        return ours

    return decorator


def plain_names(registry: Any) -> Iterable[str]:
    """The registered names, without the prefixed ones."""
    return (name for name in registry._obj_map if not name.startswith(PREFIX))


def _origin(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', thing)}"


def _warn(registry: Any, name: str, winner: Any, ours: Any) -> None:
    warn_user(
        f"two things are registered as {name!r} in FastReID's {registry._name} registry: a config that says {name!r} "
        f"gets {_origin(winner)}; {_origin(ours)} is {PREFIX + name!r} in a config."
    )


def _later_one_is_not_reported() -> bool:
    """Whether a registry refuses a second object under one of our names, or takes it silently, as some forks do."""
    registry = registry_module.Registry("trial")
    register(registry)(_later_one_is_not_reported)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        registry._do_register(_later_one_is_not_reported.__name__, 1)
    return not said


@patch(
    "registry-clash",
    heals="utils/registry.py:35",
    needed_by="any version, with a fork or project that registers one of our names after us",
    targets={DO_REGISTER: ("d2177744004a",)},
    uses=("fastreid.utils.registry:Registry",),
    needed=_later_one_is_not_reported,
    if_skipped="a project that registers one of the names of fastreid_ext after it fails with AssertionError",
    cause="the registry asserts that a name is free",
    fix="nothing to do without fastreid_ext: it lets a project of its user's take one of our names",
)
def registry_clash() -> None:
    """Registering one of our names anew failed, or overwrote it silently; the newcomer now gets it, with a warning."""
    original = registry_module.Registry._do_register

    def _do_register(self, name, obj):
        ours = vars(self).get(_OURS, {}).get(name)
        if ours is None or self._obj_map.get(name) is not ours:
            original(self, name, obj)
            return
        self._obj_map[name] = obj
        _warn(self, name, winner=obj, ours=ours)

    replace(DO_REGISTER, _do_register)
