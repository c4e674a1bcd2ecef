"""Progress: a bar on a terminal, plain lines now and then elsewhere, and one at the end."""

import io
import re
import subprocess
import sys

import pytest

import fastreid_ext.progress
from fastreid_ext.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def pass_seconds(monkeypatch):
    """``pass_seconds(n)`` moves the clock of the module."""
    now = [100.0]
    monkeypatch.setattr(fastreid_ext.progress.time, "monotonic", lambda: now[0])

    def pass_seconds(seconds):
        now[0] += seconds

    return pass_seconds


@pytest.fixture
def lines():
    return []


def test_a_line_every_ten_seconds_and_one_at_the_end(pass_seconds, lines):
    with ProgressBar("poses", 400, write=lines.append) as bar:
        for _ in range(100):
            pass_seconds(0.25)
            bar.advance(4)
    assert lines == [
        "poses: 160/400 images (40%), 16.0 images/s, 00:15 left",
        "poses: 320/400 images (80%), 16.0 images/s, 00:05 left",
        "poses: 400/400 images (100%), 16.0 images/s, 00:00 left",
    ]


def test_the_rate_is_of_this_run_and_the_note_comes_last(pass_seconds, lines):
    bar = ProgressBar("training", 100_000, done=50_000, seconds=2, write=lines.append)
    pass_seconds(2)
    bar.name, bar.note = "epoch 2/4", "loss 0.5"
    bar.advance(20)
    assert lines == ["epoch 2/4: 50020/100000 images (50%), 10.0 images/s, 1:23:18 left, loss 0.5"]
    bar.close()
    assert len(lines) == 1  # nothing new to say


def test_an_interrupted_job_says_how_far_it_came(pass_seconds, lines):
    with pytest.raises(KeyboardInterrupt), ProgressBar("features", 10, write=lines.append) as bar:
        pass_seconds(1)
        bar.advance(3)
        raise KeyboardInterrupt
    assert lines == ["features: 3/10 images (30%), 3.0 images/s, 00:02 left"]


def test_nothing_is_shown_where_nothing_is_done_or_wanted(pass_seconds, lines):
    with ProgressBar("features", 10, done=10, write=lines.append):
        pass_seconds(60)
    with ProgressBar("features", 10, write=lines.append, shown=False) as bar:
        pass_seconds(60)
        bar.advance(10)
    assert lines == []


def test_a_bar_on_a_terminal(monkeypatch, lines):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressBar("epoch 1/2", 128, write=lines.append) as bar:
        bar.note = "loss 0.250"
        for _ in range(4):
            bar.advance(32)
    assert re.search(r"\repoch 1/2: 100%\|[█#]+\| 128/128 \[.*images/s, loss 0\.250\]", sys.stderr.getvalue())
    assert lines == []


def test_a_bar_that_is_not_wanted_stays_off_the_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with ProgressBar("SynthReID-tiny", 4, shown=False) as bar:
        bar.advance(4)
    assert sys.stderr.getvalue() == ""


def test_a_pipe_gets_no_carriage_return_and_needs_no_tqdm(tmp_path):
    """The file alone, without the package around it."""
    code = (
        "import runpy, sys\n"
        f"ProgressBar = runpy.run_path({fastreid_ext.progress.__file__!r})['ProgressBar']\n"
        "with ProgressBar('drawn', 5) as bar:\n"
        "    for _ in range(5):\n"
        "        bar.advance(1)\n"
        "sys.exit('tqdm' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout == b""
    assert re.fullmatch(rb"drawn: 5/5 images \(100%\), \d+(\.\d)? images/s, 00:00 left\n", done.stderr), done.stderr
