"""Errors the user can fix, which a command shows as one sentence; anything else is a bug and keeps its traceback."""

import errno
import os

__all__ = [
    "ConfigError",
    "DivergedError",
    "EvaluationError",
    "FileError",
    "MissingExtraError",
    "UserError",
    "counted",
    "first_line",
    "is_ours",
    "name_too_long",
    "raised_in",
]


SHOWN = 60  # characters of a name that is too long
HOST, OURS = "fastreid", "fastreid_ext"


class UserError(Exception):
    """An error the user can fix; the message is one sentence that says what to change."""


class ConfigError(UserError, ValueError):
    """A setting, or a combination of settings, that can't work."""


class DivergedError(UserError, FloatingPointError):
    """A run whose numbers are no longer finite."""


class EvaluationError(UserError, ValueError):
    """Features, labels or weights that no metric can be computed from."""


class FileError(UserError):
    """A file or folder that can't be read, written or locked."""


class MissingExtraError(UserError):
    """An optional package that is not installed; the message names the extra that installs it."""


def counted(number: int, noun: str) -> str:
    """Return "1 epoch" or "2 epochs": for messages, of nouns whose plural has an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """Return the first line of what an exception of another library says; the rest may advise to load unsafely."""
    said = next(iter(str(error).splitlines()), "") or type(error).__name__
    return said.split("In PyTorch 2.6")[0].split(" If you trust")[0].split(" This file can still be loaded")[0].strip()


def name_too_long(error: BaseException) -> "FileError | None":
    """Return what to say of an error of the system if it refused a file's name for its length, else None.

    Such a name came from the user, by whatever option, key or list, and any look at the file raises it.
    """
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else "of a file"
    return FileError(f"the name {name[:SHOWN]}... is too long for the file system: choose a shorter one")


def raised_in(error: BaseException) -> str:
    """Return the package whose code raised an exception that was just caught; torch's is whoever called it."""
    trace, inner = error.__traceback__ and error.__traceback__.tb_next, ""
    while trace is not None:
        package = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        inner = inner if package == "torch" else package
        trace = trace.tb_next
    return inner


def is_ours(error: BaseException) -> bool:
    """Whether our code raised an exception that was just caught around a call into FastReID or the user's code.

    FastReID refuses settings and data by any built-in exception, and a handler has to take those for mistakes of the
    user. One that our own code raised is a bug unless it is a UserError, and must keep its traceback.
    """
    trace = error.__traceback__ and error.__traceback__.tb_next  # the first entry is the handler's own
    inner = None
    while trace is not None:
        package = trace.tb_frame.f_globals.get("__name__", "").partition(".")[0]
        inner = package if package in (HOST, OURS) else inner
        trace = trace.tb_next
    return inner == OURS
