"""Files that are either whole or absent, whenever the process is killed; locks between processes; hashes."""

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from fastreid_ext.errors import FileError, UserError
from fastreid_ext.image_files import MADE_BY_A_SHELL, check_is_file
from fastreid_ext.processes import holder_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

NO_ROOM = {getattr(errno, name, errno.ENOSPC) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS")}  # Windows lacks one
LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, of Linux; others allow no more
SECONDS_IN_SILENCE = 2.0  # a process that waits longer for a lock says so

logger = logging.getLogger(__name__)


def fault_of(path: str) -> str:
    """Return what is wrong with a path whatever there is on the disk, as the end of a sentence; "" = nothing."""
    if "\0" in path:
        return "has a character of value 0, which no path may have"
    if "://" in path:
        return f"is {path[:200]}, and nothing is downloaded or uploaded: name a file or folder of this machine"
    if path.startswith("~"):
        return f"is {path[:200]}, but there is no such user on this machine"
    parts = [os.fsencode(part) for part in path.split(os.sep)]
    if max(map(len, parts)) > LONGEST_NAME or sum(map(len, parts)) + len(parts) > LONGEST_PATH:
        return f"is a path of {len(path)} characters, which is longer than a file system allows"
    return ""


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a temporary file beside path, flush it to the disk and rename it to path.

    Args:
        path: the file; its folder exists.
        write: gets the file, opened for writing in bytes.

    Raises:
        FileError: it can't be written: no such folder, no permission, no space on the disk.
    """
    if not path.name or (path.exists() and not path.is_file()):
        raise FileError(f"{path} can't be written: it is not a file")  # a folder, or a device, which stays what it is
    try:
        # Always the same name: what a kill left is overwritten by the next attempt.
        with no_room_named(path):
            replace_atomically(path, path.with_name(f".{path.name}.tmp"), write)
    except OSError as error:
        raise FileError(f"{path} can't be written: {reason(error)}") from error
    sync(path.parent)  # the rename itself


def replace_atomically(path: Path, temporary: Path, write: Callable[[BinaryIO], object], durable: bool = True) -> None:
    """Do what :func:`write_atomically` does, for a caller with its own name for the temporary file or its own answer.

    Args:
        path, write: see :func:`write_atomically`.
        temporary: the file to rename, on the same file system; it is removed if anything fails.
        durable: flush the bytes to the disk first, so that they survive a power cut.

    Raises:
        OSError: the system's own error.
    """
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except Exception:
        with suppress(OSError):
            temporary.unlink()
        raise


def read_bytes(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        FileError: it can't be read, or it is a pipe or a device, which may never end, and not one of the shell's.
    """
    try:
        if not str(path).startswith(MADE_BY_A_SHELL):
            check_is_file(path)
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} can't be read: {reason(error)}") from error


def read_text(path: Path) -> str:
    """Return a text file in UTF-8, with or without a byte order mark.

    Raises:
        FileError: it can't be read, or it is not in UTF-8.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(f"{path} is not in UTF-8: save it in UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all.

    Raises:
        FileError: as :func:`write_atomically`.
    """
    write_atomically(path, lambda file: file.write(text.encode(errors="surrogateescape")))


def write_picture(path: Path, picture: "Image") -> None:
    """Write a PIL image as PNG, whole or not at all; makes the folder.

    Raises:
        FileError: as :func:`write_atomically`.
    """
    make_folder(path.parent)
    write_atomically(path, lambda file: picture.save(file, format="PNG"))


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a Matplotlib figure as PNG, whole or not at all; makes the folder.

    Raises:
        FileError: as :func:`write_atomically`.
    """
    make_folder(path.parent)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


def make_folder(path: Path) -> Path:
    """Make a folder with its parents, unless it is there, and return it.

    Raises:
        FileError: it can't be made, or a file of that name is there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"the folder {path} can't be made: {reason(error)}") from error
    return path


def reason(error: OSError) -> str:
    """Return the system's message of an error, without its number and the file's name."""
    return error.strerror or str(error)


def no_room(error: BaseException | None) -> OSError | None:
    """Return the system's error behind an exception, if the disk or a quota is full or can only be read; else None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return error
        error = error.__cause__ or error.__context__  # torch raises another error while it handles the system's
    return None


@contextmanager
def no_room_named(place: str | Path) -> Iterator[None]:
    """Turn the error of a full disk into a sentence that names what is being written.

    Raises:
        FileError: the disk or a quota is full, or can only be read.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        full = no_room(error)
        if full is None:
            raise
        raise FileError(f"{place} can't be written: {reason(full)}") from error


def sync(path: Path) -> None:
    """Flush a file or folder to the disk; only POSIX can flush a folder, and with it a rename."""
    if os.name != "posix" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path, busy: str | Callable[[], str] | None = None) -> Iterator[None]:
    """Hold a lock file that no other process can hold; the system frees it however this one ends.

    Args:
        path: the lock file; made if it is not there.
        busy: the sentence to raise if another process holds it, or a function that returns it; None waits for that
            process, and says so in the log after two seconds.

    Raises:
        FileError: another process holds it and ``busy`` is given, or the file can't be made.
    """
    from filelock import FileLock, Timeout  # not above: rendering loads no more than OpenCV and NumPy

    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=SECONDS_IN_SILENCE if busy is None else 0)
        except Timeout as error:
            if busy is not None:
                raise FileError(busy if isinstance(busy, str) else busy()) from error
            # A warning, which is seen where no log is set up, too.
            logger.warning("waiting for %s, which holds %s", holder_of(path), path)
            lock.acquire()
    except OSError as error:
        if isinstance(error, Timeout):
            raise
        raise FileError(f"{path} can't be locked: {reason(error)}") from error
    try:
        yield
    finally:
        lock.release()


def file_hash(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
