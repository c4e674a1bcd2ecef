"""A small file system of memory for a run, which gets full at a moment and has space again later.

From then on every write that needs a further page fails in the system itself (ENOSPC), whoever writes: Python, torch,
NumPy's maps, OpenCV, HDF5. What still fits into a file's last page is written, as on any disk.
"""

import ctypes
import os
from pathlib import Path

SIZE = 1 << 30  # bytes
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
MS_REMOUNT, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20, 0x4000, 0x40000, 2

_libc = ctypes.CDLL(None, use_errno=True)


def private_mounts() -> None:
    """Let this process and those below it mount what no other process sees, and what goes with them.

    To be called before any thread is started.

    Raises:
        OSError: the system does not allow it.
    """
    user, group = os.getuid(), os.getgid()
    _call(_libc.unshare(CLONE_NEWNS if user == 0 else CLONE_NEWNS | CLONE_NEWUSER))
    if user:
        for name, line in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path("/proc/self", name).write_text(line)
    _mount(None, "/", None, MS_REC | MS_PRIVATE, None)


def mount(folder: Path) -> None:
    """Give a folder a file system of its own.

    Raises:
        OSError: the system does not allow it.
    """
    _mount("storm", str(folder), "tmpfs", 0, f"size={SIZE}")


def fill(folder: Path) -> None:
    """Leave no free page on the folder's file system."""
    for _ in range(1000):
        room = os.statvfs(folder)
        used = max(1, room.f_blocks - room.f_bfree) * room.f_frsize
        try:
            _mount(None, str(folder), None, MS_REMOUNT, f"size={used}")
        except OSError:  # the run has written meanwhile
            continue
        return
    raise RuntimeError(f"{folder} can't be filled: it is written to all the time")


def free(folder: Path) -> None:
    """Give it its space back."""
    _mount(None, str(folder), None, MS_REMOUNT, f"size={SIZE}")


def unmount(folder: Path) -> None:
    """Drop it with all that is in it."""
    _call(_libc.umount2(os.fsencode(folder), MNT_DETACH))


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, options)]
    _call(_libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]))


def _call(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
