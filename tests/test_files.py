"""Files that are whole or absent, and locks between processes."""

import errno
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from fastreid_ext import files
from fastreid_ext.errors import FileError
from fastreid_ext.foreign_files import read_json


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_replaces_another_one_whole(tmp_path):
    path = tmp_path / "a.txt"
    for text in ("first", "second, in UTF-8: \u00e4"):
        files.write_text(path, text)
        assert path.read_text(encoding="utf-8") == text == files.read_text(path)
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_what_fails_leaves_the_old_file_and_nothing_else(step, tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step != "write":
        monkeypatch.setattr(os, step, full)
    with pytest.raises(FileError, match=f"^{path} can't be written: No space left on device$"):
        files.write_atomically(path, full if step == "write" else lambda file: file.write(b"new"))
    assert names(tmp_path) == ["a.txt"] and path.read_text() == "old"


def test_what_can_not_be_written_or_read_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "no folder" / "a.txt", tmp_path / "file" / "a.txt", tmp_path):
        with pytest.raises(FileError, match=f"^{path} can't be written: "):
            files.write_text(path, "text")
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(FileError, match=f"^{path} can't be read: "):
            files.read_text(path)
    with pytest.raises(FileError, match=f"the folder {tmp_path / 'file'} can't be made: "):
        files.make_folder(tmp_path / "file")
    (tmp_path / "latin").write_bytes("\u00e4".encode("latin-1"))
    with pytest.raises(FileError, match="latin is not in UTF-8"):
        files.read_text(tmp_path / "latin")


def test_a_device_stays_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("."), Path("/dev/null")):
        with pytest.raises(FileError, match="can't be written: it is not a file"):
            files.write_text(path, "text")


def test_a_pipe_is_not_waited_for_unless_the_shell_made_it(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a FIFO"), ("zero", "a device")):
        for read in (files.read_text, files.read_bytes, read_json):
            with pytest.raises(FileError, match=f"{name} can't be read: it is {kind}, not a file"):
                read(tmp_path / name)
    reader, writer = os.pipe()
    os.write(writer, b"a\r\nb\rc\n")
    os.close(writer)
    assert files.read_text(Path(f"/dev/fd/{reader}")) == "a\nb\nc\n"
    os.close(reader)


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbftext")
    assert files.read_text(tmp_path / "a.txt") == "text"


def test_a_picture_with_its_folder(tmp_path):
    files.write_picture(tmp_path / "new" / "a.png", Image.new("RGB", (3, 2), "red"))
    with Image.open(tmp_path / "new" / "a.png") as picture:
        assert (picture.format, picture.size, picture.getpixel((0, 0))) == ("PNG", (3, 2), (255, 0, 0))


# ---- locks ----------------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from fastreid_ext.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock file ``lock``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_who_will_not_wait_is_told_so(holder, tmp_path):
    with pytest.raises(FileError, match="^somebody writes$"), files.locked(tmp_path / "lock", busy="somebody writes"):
        pass


def test_who_waits_says_so_and_goes_on_when_the_holder_is_killed(holder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "SECONDS_IN_SILENCE", 0.2)
    killer = threading.Timer(0.6, holder.kill)
    killer.start()
    started = time.monotonic()
    with caplog.at_level(logging.INFO), files.locked(tmp_path / "lock"):
        assert time.monotonic() - started >= 0.5
    who = f"process {holder.pid} ({sys.executable} -c " if sys.platform == "linux" else "another process"
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(f"waiting for {who}")
    assert caplog.messages[0].endswith(f", which holds {tmp_path / 'lock'}")
    assert caplog.records[0].levelno == logging.WARNING  # the last resort shows it where no log is set up


def test_a_lock_that_is_free_again(tmp_path):
    for _ in range(2):
        with files.locked(tmp_path / "lock", busy="held"):
            pass
    with pytest.raises(FileError, match="can't be locked"), files.locked(tmp_path / "lock" / "below a file"):
        pass
