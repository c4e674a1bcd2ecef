"""What Windows and macOS lack is not needed: POSIX modules and functions are taken away, workers are spawned.

The systems themselves are not run here.
"""

import multiprocessing

import pytest

from fastreid_ext import Extractor

# Libraries are imported before it, since they look at the system too; of ours nothing is.
LIKE_WINDOWS = """
import filelock, os, signal, sys
import numpy as np

POSIX = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
FUNCTIONS = ("fork", "forkpty", "getegid", "geteuid", "getgid", "getloadavg", "getpgid", "getpgrp", "getuid", "killpg",
             "mkfifo", "nice", "pipe2", "register_at_fork", "sched_getaffinity", "setpgid", "setsid", "statvfs", "sync",
             "sysconf", "wait3", "wait4", "waitid")
SIGNALS = [name for name in dir(signal) if name.startswith("SIG") and not name.startswith("SIG_")]

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name in POSIX:
            raise ModuleNotFoundError(f"{name} is of POSIX alone", name=name)

for name in POSIX:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocker())
for name in FUNCTIONS:
    delattr(os, name)
for name in set(SIGNALS) - {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM"}:  # those that Windows has
    delattr(signal, name)
sys.platform = "win32"
assert not any(name.startswith("fastreid") for name in sys.modules)
"""

WORK = """
from pathlib import Path

from fastreid_ext.cli import COMMANDS, main

for command in ["", *(module.__name__.rpartition(".")[2].replace("_", "-") for module in COMMANDS)]:
    try:
        main([*filter(None, [command]), "--help"])
    except SystemExit as stopped:
        assert not stopped.code, command

from fastreid_ext import Extractor, files
from fastreid_ext.isolation import run_apart

with files.locked(Path("lock")):
    files.write_text(Path("text"), "written\\n")
run_apart(lambda: print("apart"), "nothing")
image = np.arange(64 * 32 * 3, dtype=np.uint8).reshape(64, 32, 3)
print(len(Extractor()([image, image], order="RGB")))
"""


def test_nothing_of_posix_is_needed(forked):
    printed = forked(LIKE_WINDOWS + WORK)
    assert printed[-2:] == ["apart", "2"]
    assert printed.count("usage:") > 15


def test_the_check_sees(exit_of):
    """What is taken away is gone."""
    status, printed = exit_of(LIKE_WINDOWS + "import resource\n")
    assert status == 1 and "resource is of POSIX alone" in printed
    status, printed = exit_of(LIKE_WINDOWS + "os.fork()\n")
    assert status == 1 and "has no attribute 'fork'" in printed


@pytest.fixture
def spawning():
    """Processes are started as Windows and macOS do."""
    method = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(method, force=True)


@pytest.mark.slow
@pytest.mark.usefixtures("spawning")
def test_workers_that_are_spawned(synth_root):
    images = sorted(synth_root.rglob("*.jpg"))[:3]
    alone, spawned = (Extractor(workers=workers, batch_size=2)(images) for workers in (0, 1))
    assert len(spawned) == 3 and (alone == spawned).all()
