"""Worker processes that do not outlive the process that started them."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait

ORPHANED = 1  # exit status


def end_with_parent() -> None:
    """End this worker as soon as the process that started it is gone, also after a SIGKILL.

    To be called in a worker of :mod:`multiprocessing`, forked or spawned; anywhere else it does nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])  # a pipe whose other end goes with the parent
    os._exit(ORPHANED)
