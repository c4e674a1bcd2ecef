"""What is named like a file need not be one: opening a FIFO waits for ever, a device may never end."""

import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
MADE_BY_A_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # of <(...): a pipe that somebody writes into
SHOWN = 3

logger = logging.getLogger(__name__)


def kind_of_no_file(path: str | os.PathLike) -> str | None:
    """Return what a path, or what it links to, is instead of a file: "a FIFO"; None for a file, or for nothing."""
    try:
        return KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    except (OSError, ValueError):  # whoever opens it says why
        return None


def check_is_file(path: str | os.PathLike) -> None:
    """Check, before a path is opened, that this will not wait for ever.

    Raises:
        OSError: it is no file.
    """
    kind = kind_of_no_file(path)
    if kind is not None:
        raise OSError(f"it is {kind}, not a file")


def without_others(paths: Iterable[Path], source: object) -> list[Path]:
    """Return the paths without what is no file; a warning counts and names that.

    Args:
        paths: what is named like an image.
        source: where that was found, for the warning.
    """
    paths = list(paths)
    others = {path: kind for path in paths if (kind := kind_of_no_file(path))}
    if others:
        named = ", ".join(f"{path} ({kind})" for path, kind in list(others.items())[:SHOWN])
        logger.warning(
            "%d in %s are named like images but are no files, and are left out: %s%s",
            len(others),
            source,
            named,
            ", ..." if len(others) > SHOWN else "",
        )
    return [path for path in paths if path not in others]
