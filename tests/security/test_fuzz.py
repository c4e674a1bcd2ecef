"""A few damaged files of every kind; benchmarks/fuzz_loaders.py reads thousands."""

import faulthandler
import mmap
import os
import pickle
import signal

import pytest

from fastreid_ext.errors import FileError


@pytest.fixture(scope="session")
def fuzzing():
    import fuzz_loaders  # heavy: it imports what every loader imports

    return fuzz_loaders


@pytest.mark.slow
def test_no_damaged_file_does_harm(fuzzing):
    results = {one.name: fuzzing.fuzz(one, 3 if one.fresh else 30) for one in fuzzing.LOADERS}
    assert {name: result for name, result in results.items() if fuzzing.faults(result)} == {}
    assert all(result["refused"] + result["read"] == result["files"] for result in results.values())


def harmless(folder):
    (folder / "file").read_bytes()


def crashes(folder):
    if b"\0" in (folder / "file").read_bytes():
        faulthandler.disable()  # pytest's, which would print it
        os.kill(os.getpid(), signal.SIGSEGV)


def runs_code(folder):
    pickle.loads(pickle.dumps(harmless))


def writes_outside(folder):
    (folder / ".." / ".." / "stranger").write_text("")


def takes_memory(folder):
    with mmap.mmap(-1, 48 << 20) as block:  # pages of its own: an allocator may have as much to give again
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1


def ends_in_a_traceback(folder):
    raise KeyError("a")


def refuses(folder):
    if (folder / "file").read_bytes() != bytes(50):
        raise FileError("no")


@pytest.mark.parametrize(
    ("load", "outcome", "count"),
    [
        (harmless, "read", 6),
        (refuses, "refused", 6),
        (crashes, "crashed", 6),
        (runs_code, "code", 6),
        (writes_outside, "outside", 7),  # the file itself, too
        (takes_memory, "memory", 6),
        (ends_in_a_traceback, "traceback", 6),
    ],
)
def test_the_fuzz_sees(fuzzing, load, outcome, count, monkeypatch):
    monkeypatch.setattr(fuzzing, "mutated", lambda data, seed: data + b"x")
    monkeypatch.setattr(fuzzing, "MEMORY", 16 << 20)
    calls = []

    def sample_is_fine(folder):
        return harmless(folder) if not calls else load(folder)

    loader = fuzzing.Loader(
        "x", lambda folder: (folder / "file").write_bytes(bytes(50)) and None, "file", sample_is_fine
    )
    monkeypatch.setattr(fuzzing, "_one_child", lambda *args, real=fuzzing._one_child: calls.append(1) or real(*args))
    assert fuzzing.fuzz(loader, 6)[outcome] == count
