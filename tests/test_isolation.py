"""What a process of its own does: a crash, too much memory or an error of a reader is an error here."""

import faulthandler
import os
import signal

import pytest

from fastreid_ext import isolation
from fastreid_ext.errors import ConfigError, FileError, UserError
from fastreid_ext.isolation import run_apart


def raise_(error):
    raise error


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (
            lambda: (faulthandler.disable(), os.kill(os.getpid(), signal.SIGSEGV)),
            FileError,
            "files can't be read: .* status -11, so they",
        ),
        (lambda: os._exit(3), FileError, "ended with status 3"),
        (lambda: raise_(KeyError("cell")), FileError, "files can't be read .KeyError: 'cell'"),
        (lambda: raise_(ConfigError("choose another")), UserError, "^choose another$"),
        (lambda: os.stat("/no/such/file"), OSError, "No such file"),
        (lambda: raise_(OSError("no HDF5")), FileError, "files can't be read .no HDF5"),
    ],
)
def test_how_it_ends(function, error, said):
    with pytest.raises(error, match=said):
        run_apart(function, "files")


def test_memory(monkeypatch):
    monkeypatch.setattr(isolation, "ADDRESSES", 64 << 20)
    with pytest.raises(FileError, match="MemoryError"):
        run_apart(lambda: bytearray(1 << 30), "files")


def test_what_it_writes_stays(tmp_path):
    run_apart(lambda: (tmp_path / "a").write_text(str(os.getpid())), "files")
    assert int((tmp_path / "a").read_text()) != os.getpid()
