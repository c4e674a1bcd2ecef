"""Errors the user can fix, which a command shows as one sentence; anything else is a bug and keeps its traceback."""

__all__ = ["ConfigError", "DivergedError", "FileError", "MissingExtraError", "UserError"]


class UserError(Exception):
    """What the user can fix, in one sentence that says what to change."""


class ConfigError(UserError, ValueError):
    """A setting, or a combination of settings, that can't work."""


class DivergedError(UserError, FloatingPointError):
    """Numbers of a run that are no longer finite."""


class FileError(UserError):
    """A file or folder that can't be read, written or locked."""


class MissingExtraError(UserError):
    """An optional package that is not installed; the sentence names the extra that brings it."""
