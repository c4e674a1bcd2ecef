"""A function in a process of its own, for native readers that a damaged file can crash (on Linux)."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from fastreid_ext.errors import FileError, UserError, first_line
from fastreid_ext.processes import as_worker

ADDRESSES = 8 << 30  # bytes that it may take beyond what this process has
CPU_SECONDS = 3600


def run_apart(function: Callable[[], None], what: str) -> None:
    """Call a function in a forked child, whose crash is an error here; what it returns is lost, what it writes stays.

    Args:
        function: to call.
        what: the files that it reads, for messages.

    Raises:
        UserError: what it raised, if it is one.
        OSError: likewise.
        FileError: it raised anything else, it crashed, or it took more than ``ADDRESSES`` or ``CPU_SECONDS``.
    """
    if sys.platform != "linux" or multiprocessing.current_process().daemon:  # a daemon may not have children
        function()
        return
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_call, args=(function, sender), daemon=True)
    child.start()
    sender.close()
    try:
        said = receiver.recv_bytes().decode()
    except EOFError:
        said = None
    except BaseException:  # Ctrl-C, for one: nobody waits for the child
        child.kill()
        raise
    finally:
        child.join()
        receiver.close()
    if said == "":
        return
    if said is None:
        raise FileError(f"{what} can't be read: their reader ended with status {child.exitcode}, so they are damaged")
    kind, number, message = said.split("\n", 2)
    if kind == "interrupted":
        raise KeyboardInterrupt
    if kind == "system":
        raise OSError(int(number), message)
    raise UserError(message) if kind == "user" else FileError(f"{what} can't be read ({message})")


def _call(function: Callable[[], None], sender: Connection) -> None:
    """Call the function and send how it ended: nothing, or a kind, a number and a message."""
    as_worker()
    _limit()
    said = ""
    try:
        function()
    except UserError as error:
        said = f"user\n0\n{error}"
    except OSError as error:
        said = f"system\n{error.errno}\n{error.strerror}" if error.errno else f"other\n0\n{first_line(error)}"
    except KeyboardInterrupt:
        said = "interrupted\n0\n"
    except Exception as error:
        said = f"other\n0\n{type(error).__name__}: {first_line(error)}"
    sender.send_bytes(said.encode(errors="backslashreplace"))


def _limit() -> None:
    import resource  # POSIX only

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limits = (
        (resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + ADDRESSES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
    )
    for limit, most in limits:
        hard = resource.getrlimit(limit)[1]
        with suppress(ValueError, OSError):  # a system that allows less already
            resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
