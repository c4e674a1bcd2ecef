"""Access to the host's modules by name, at the moment when they are used."""

import importlib
from typing import Any

__all__ = ["HostModule"]


class HostModule:
    """A module of FastReID that is imported when one of its names is read.

    The patches reach the host through these, so a name that a fork has renamed or removed is an AttributeError of
    the one patch that reads it, and not an ImportError of this package.

    Args:
        name: dotted name, such as "fastreid.utils.comm".
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        # import_module and not getattr: fastreid.engine.launch is a module and, as an attribute, a function.
        return getattr(importlib.import_module(self._name), attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        if attribute != "_name":
            raise AttributeError(f"use patch.replace, which can be undone, to change {self._name}.{attribute}")
        super().__setattr__(attribute, value)
