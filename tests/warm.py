"""Python processes that start warm: forked from a server that has imported torch, FastReID and us.

A start costs no imports, which take five seconds of CPU; all else is as in a process that a user starts: arguments,
environment, output, session, exit status, signals. What has to import afresh is started by :mod:`subprocess`, or is a
script in a fork of a :class:`Nursery`, which has imported torch but nothing of FastReID or of ours.
"""

import atexit
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["fastreid_ext.engine.run"])  # the whole stack


class WarmProcess:
    """A started process, with the members of :class:`subprocess.Popen` that tests need.

    Args:
        command: as behind the name of the interpreter: a script, ``-m module`` or ``-c code``, and its arguments.
        env: the environment.
        stdout, stderr: files that the output is appended to; they may be the same.
        cwd: the folder that it starts in.
        start_new_session: lead a session of its own.
    """

    def __init__(
        self,
        command: Sequence[object],
        env: Mapping[str, str],
        stdout: Path,
        stderr: Path,
        cwd: Path | None = None,
        start_new_session: bool = False,
    ):
        words = [str(word) for word in command]
        method = multiprocessing.get_start_method()
        settings = dict(env), str(stdout), str(stderr), str(cwd or Path.cwd()), start_new_session, method
        self.args = words
        for path in (stdout, stderr):
            Path(path).touch()  # whoever reads it at once finds it
        self._process = CONTEXT.Process(target=_become, args=(words, *settings))
        self._process.start()
        self.pid = self._process.pid
        atexit.register(self._process.kill)  # of a test that failed; multiprocessing would wait for its end

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        self._process.join(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode


def run(
    command: Sequence[object], env: Mapping[str, str], cwd: Path | None = None, timeout: float = 300.0
) -> subprocess.CompletedProcess:
    """Run a :class:`WarmProcess` to its end, as subprocess.run does with text that is captured."""
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "stdout", Path(folder) / "stderr"
        process = WarmProcess(command, env, *files, cwd=cwd)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process._process.kill()
            raise
        texts = [file.read_text(encoding="utf-8", errors="replace") for file in files]
    return subprocess.CompletedProcess(process.args, status, *texts)


def torchrun(
    command: Sequence[object], env: Mapping[str, str], cwd: Path | None = None, ranks: int = 2, timeout: float = 300.0
) -> subprocess.CompletedProcess:
    """Run the ranks of a script with the environment that torchrun gives them, without the torchrun around them.

    The status is that of the first rank that failed, or 0; the output is that of all ranks, one behind the other.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks), "GROUP_RANK": "0"}
    group |= {"LOCAL_WORLD_SIZE": str(ranks), "TORCHELASTIC_RUN_ID": "test"}
    with tempfile.TemporaryDirectory() as folder:
        files = [(Path(folder) / f"stdout{rank}", Path(folder) / f"stderr{rank}") for rank in range(ranks)]
        processes = [
            WarmProcess(command, {**env, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)}, *files[rank], cwd=cwd)
            for rank in range(ranks)
        ]
        try:
            statuses = [process.wait(timeout) for process in processes]
        finally:
            for process in processes:
                process._process.kill()
        texts = [
            "".join(path.read_text(encoding="utf-8", errors="replace") for path in kind)
            for kind in zip(*files, strict=True)
        ]
    return subprocess.CompletedProcess(processes[0].args, next(filter(None, statuses), 0), *texts)


def _become(
    command: list[str], env: dict[str, str], stdout: str, stderr: str, cwd: str, new_session: bool, start_method: str
) -> None:
    multiprocessing.set_start_method(start_method, force=True)  # of its own children; a server's child has "forkserver"
    if new_session:
        os.setsid()
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  (a block-buffered file, as a pipe is)
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    import draws
    import fastreid.data.build
    import half
    import torch

    fastreid.data.build._root = env.get("FASTREID_DATASETS", "datasets")  # which it reads as it is imported
    torch.set_num_threads(1)
    half.round_in_float32()
    draws.repeat_draws()
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        exec(compile(command[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = command
        sys.path.insert(0, str(Path(command[0]).resolve().parent))
        runpy.run_path(command[0], run_name="__main__")


NURSERY = """
import os, sys, traceback
import cv2, faiss, h5py, scipy.io, sklearn.metrics, tabulate, torch, torch.utils.tensorboard, torchvision.transforms
import yacs.config

assert not any(name.startswith("fastreid") for name in sys.modules)
for script in sys.stdin:
    child = os.fork()
    if not child:
        status = 1
        try:
            exec(compile(open(script.strip()).read(), script.strip(), "exec"), {"__name__": "__main__"})
            status = 0
        except SystemExit as stopped:
            status = stopped.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Nursery:
    """Has imported what FastReID needs, and runs each script in a fork of itself.

    For what happens as FastReID and we are imported that is a fresh interpreter; a RuntimeWarning is an error.

    Args:
        folder: the one that the scripts run in.
    """

    def __init__(self, folder: Path):
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error::RuntimeWarning", "-c", NURSERY],
            env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep), "OMP_NUM_THREADS": "1"},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, script: Path) -> tuple[int, str]:
        """Run a script and return its exit status and all that it printed."""
        print(script, file=self._process.stdin, flush=True)
        lines = []
        while not (line := self._process.stdout.readline()).startswith("status "):
            assert line, "".join(lines)
            lines.append(line)
        return int(line.split()[1]), "".join(lines)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
