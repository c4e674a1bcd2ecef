"""Warnings that point at the user's line."""

import sys
import warnings
from types import FrameType

__all__ = ["warn_user"]

_NOT_THE_USER = {"fastreid", "fastreid_ext", "importlib", "_frozen_importlib", "_frozen_importlib_external"}


def warn_user(message: str) -> None:
    """Warn (RuntimeWarning) at the innermost line that is neither ours, nor FastReID's, nor the import system's.

    That is the user's ``import fastreid``, or the line of a fork's that registers a name.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame.f_back and _package_of(frame) in _NOT_THE_USER:
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        RuntimeWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__", "<unknown>"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _package_of(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "").partition(".")[0]
