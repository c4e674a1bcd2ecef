"""What a command does with signals, in this process; tests/processes has real ones."""

import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import fastreid_ext
from fastreid_ext import cli, signals
from fastreid_ext.commands import synth
from fastreid_ext.engine import run
from fastreid_ext.errors import UserError

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "stopped by SIGTERM", signal.SIGHUP: "stopped by SIGHUP"}


@pytest.fixture
def exits(monkeypatch):
    """The statuses that this process would have ended with; a signal's grace is over at once."""
    statuses = []
    monkeypatch.setattr(signals, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(signals, "_exit", statuses.append)
    monkeypatch.setattr(signals.atexit, "_run_exitfuncs", lambda: statuses.append("atexit"))
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    before = {number: signal.getsignal(number) for number in (*signals.SIGNALS, signal.SIGCHLD)}
    for number in signals.SIGNALS:  # nohup, and a shell's "&", start the tests with some of them ignored
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield statuses
    for thread in threading.enumerate():
        if thread.name == signals.CLOCK:
            thread.join(10)
            assert not thread.is_alive()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def synth_does(monkeypatch):
    """``synth_does(work)``: the exit status of a command that does this."""

    def call(work):
        monkeypatch.setattr(synth, "run", lambda args: work())
        return cli.main(["synth"])

    return call


def wait_until(true):
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_one_sentence(number, synth_does, exits, capfd):
    cleaned = []

    def work():
        try:
            signal.raise_signal(number)
            time.sleep(5)
        finally:
            signal.raise_signal(number)  # must not interrupt this
            cleaned.append(True)

    assert synth_does(work) == 128 + number and cleaned
    assert capfd.readouterr() == ("", f"fastreid-ext synth: {SIGNALS[number]}\n")
    wait_until(lambda: len(exits) == 3)  # the last by the clock: what Python does at its end may take for ever
    assert exits == ["atexit", 128 + number, 128 + number]


def test_what_follows_from_a_signal_is_no_second_message(synth_does, exits, capfd):
    """Loader workers that the same signal ended make torch raise."""

    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise RuntimeError("a worker is gone")

    assert synth_does(work) == 143
    assert capfd.readouterr() == ("", "fastreid-ext synth: stopped by SIGTERM\n")


def test_a_worker_that_ends_after_the_signal_is_not_reported(synth_does, exits, capfd):
    def report(number, frame):
        raise RuntimeError("DataLoader worker is killed")  # as torch does

    def work():
        signal.signal(signal.SIGCHLD, report)
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            subprocess.run([sys.executable, "-c", ""], check=True)

    assert synth_does(work) == 143
    assert capfd.readouterr().err == "fastreid-ext synth: stopped by SIGTERM\n"


def test_what_torch_raises_while_it_is_stopped_is_not_logged():
    """torch.save ends its file also where a signal interrupts it, which fails."""
    try:
        try:
            raise signals.Stopped(signal.SIGTERM)
        finally:
            raise RuntimeError("unexpected pos")
    except RuntimeError as error:
        stopped = error
    for error, said in ((stopped, False), (UserError("a"), False), (RuntimeError("a bug"), True)):
        record = logging.LogRecord("x", logging.ERROR, "", 0, "during training", (), (type(error), error, None))
        assert run._is_unexpected(record) is said


def test_a_thread_that_sees_a_worker_end_says_nothing(synth_does, exits, capfd):
    """multiprocessing's thread that hands tensors over gives what it catches to sys.excepthook."""

    def work():
        try:
            signal.raise_signal(signal.SIGHUP)
        finally:
            sys.excepthook(EOFError, EOFError(), None)

    assert synth_does(work) == 129
    assert capfd.readouterr().err == "fastreid-ext synth: stopped by SIGHUP\n"


def test_who_does_not_come_back_is_ended(synth_does, exits, capfd, monkeypatch):
    """A collective that waits for another process never gives Python the chance to run its handler."""
    monkeypatch.setattr(signals.Stopping, "handle", lambda self, number, frame: None)

    def work():
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(lambda: exits)

    synth_does(work)
    assert exits == [143] and capfd.readouterr().err == "fastreid-ext synth: stopped by SIGTERM\n"


def test_who_cleans_up_too_long_is_ended_with_the_sentence(synth_does, exits, capfd):
    said = []

    def work():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            wait_until(lambda: exits)
            said.append(capfd.readouterr().err)

    assert synth_does(work) == 130
    said.append(capfd.readouterr().err)  # not twice, where the main thread comes back at the last moment
    assert exits[0] == 130 and said == ["fastreid-ext synth: interrupted\n", ""]


def test_without_a_signal_nothing_is_left(synth_does, exits):
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    threads = threading.active_count()
    assert synth_does(lambda: None) == 0
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1
    wait_until(lambda: threading.active_count() == threads)
    assert not exits


def test_nohup_is_respected(synth_does, exits):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert synth_does(lambda: signal.raise_signal(signal.SIGHUP)) == 0 and not exits


def test_a_forked_worker_does_not_speak_for_its_parent(synth_does, exits):
    def work():
        child = os.fork()
        if not child:
            signal.raise_signal(signal.SIGINT)  # ignored: the terminal sends it to the parent too
            signal.raise_signal(signal.SIGHUP)
            signal.signal(signal.SIGTERM, lambda number, frame: None)  # its own: no word of it to the parent
            signal.raise_signal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        time.sleep(0.3)

    assert synth_does(work) == 0 and not exits


# ---- the end of who started a process --------------------------------------------------------------------------------

STARTER = """
import signal, sys
from fastreid_ext import processes
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored
sys.executable = sys.argv[1]
processes.run_command([])
"""
COMMAND = """#!{python}
import os, sys
sys.path.insert(0, {path!r})
from fastreid_ext.processes import STARTER, end_with_starter
end_with_starter()
assert STARTER not in os.environ
print("started", flush=True)
import signal
signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_ends_with_the_one_that_started_it(number, tmp_path):
    path = str(Path(fastreid_ext.__file__).parents[1])
    command = tmp_path / "python"
    command.write_text(COMMAND.format(python=sys.executable, path=path))
    command.chmod(0o700)
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(command)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert starter.stdout.readline() == "started\n"
    starter.send_signal(number)
    with selectors.DefaultSelector() as selector:
        selector.register(starter.stdout, selectors.EVENT_READ)
        assert selector.select(timeout=10), "the command still runs"
    assert starter.stdout.read() == ""  # the end of the pipe: nobody holds it any more
    starter.stdout.close()
    starter.wait()


def test_who_was_started_by_a_process_that_is_gone(monkeypatch):
    from fastreid_ext import processes

    ends = []
    monkeypatch.setenv(processes.STARTER, "1000000000")
    monkeypatch.setattr(processes.os, "_exit", ends.append)
    monkeypatch.setattr(processes, "end_with_parent", lambda: None)
    processes.end_with_starter()
    assert ends == [processes.ORPHANED]
