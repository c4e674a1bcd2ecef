"""Whether a damaged file can crash a loader, run code, take all memory or write outside: thousands of files a loader.

``python benchmarks/fuzz_loaders.py`` damages a valid sample of every file from elsewhere (``fuzz_samples.py``) by the
rules of ``fuzz_mutations.py`` and has it read in a child process that is forked from this one, where all libraries are
loaded. A child reads one file after the other and says so through a pipe; when it dies, hangs or is done, the next one
goes on. Results: ``results/fuzz_loaders.json``.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import faiss
import torch
from fuzz_mutations import mutated
from fuzz_samples import LOADERS, Loader, copy_of

from fastreid_ext.errors import UserError

SEED = 0
SECONDS = 60  # a file; far above the milliseconds it takes, because the machine may be busy
ADDRESSES = 4 << 30  # bytes of addresses that a child may take beyond what it has when it starts
MEMORY = 1 << 30  # bytes of memory that one file may take
OUTCOMES = ("refused", "read", "traceback", "crashed", "hung", "memory", "code", "outside")
EXAMPLES = 4
# Events of Python's audit hooks that no loader has any reason for.
CODE = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty", "subprocess.Popen", "pty.spawn")
CODE += ("socket.connect", "socket.bind", "ctypes.dlopen", "pickle.find_class", "code.__new__", "webbrowser.open")
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
CHANGES += ("shutil.rmtree", "shutil.move", "shutil.copyfile")


class Watch:
    """Notes what a loader does that it should not, by Python's audit hooks; only for a child, they stay for ever."""

    def __init__(self, inside: Path):
        self.inside = str(inside.resolve())
        self.notes = os.memfd_create("notes")  # which children of this process write into, too
        self.on = False
        sys.addaudithook(self._heard)

    def start(self) -> None:
        os.ftruncate(self.notes, 0)
        self.on = True

    def stop(self) -> list[tuple[str, str]]:
        """Return (outcome, what happened) of all that was noted since the start."""
        self.on = False
        lines = os.pread(self.notes, 1 << 20, 0).decode().splitlines()
        return [tuple(line.split(" ", 1)) for line in lines]

    def _note(self, outcome: str, what: str) -> None:
        line = f"{outcome} {what}".encode("ascii", errors="backslashreplace").replace(b"\n", b" ")
        os.pwrite(self.notes, line + b"\n", os.fstat(self.notes).st_size)

    def _heard(self, event: str, arguments: tuple) -> None:
        if not self.on:
            return
        if event in CODE:
            self._note("code", f"{event} {arguments!r:.100}")
        elif event == "exec" and getattr(arguments[0], "co_filename", "")[:1] == "<":
            if not arguments[0].co_filename.startswith("<frozen"):
                self._note("code", f"exec {arguments[0]!r:.100}")
        elif event == "open":
            path, mode, flags = arguments
            writes = any(letter in (mode or "") for letter in "wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR)
            if writes and not self._is_inside(path):
                self._note("outside", f"open {path!r:.100}")
        elif event in CHANGES and not self._is_inside(arguments[0]):
            self._note("outside", f"{event} {arguments!r:.100}")

    def _is_inside(self, path: Any) -> bool:
        if isinstance(path, int) or path == os.devnull:
            return True
        return os.path.realpath(os.fsdecode(path)).startswith(self.inside + os.sep)


def memory_peak(reset: bool = False) -> int:
    """Return the most memory this process has had since the last reset, in bytes (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def is_about_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one behind it, says that there is not enough memory."""
    while error is not None:
        said = str(error)
        if isinstance(error, MemoryError) or any(word in said for word in ("MemoryError", "bad_alloc", "t allocate")):
            return True
        error = error.__cause__ or error.__context__
    return False


def read_one(loader: Loader, folder: Path, watch: Watch) -> tuple[str, str]:
    """Read a damaged file; return the outcome and what was said."""
    before = memory_peak(reset=True)
    outcome, said, memory = "read", "", False
    watch.start()
    try:
        loader.load(folder)
    except UserError as error:
        outcome, said, memory = "refused", str(error), is_about_memory(error)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        outcome, said, memory = "traceback", f"{type(error).__name__}: {error!s:.120} ({where})", is_about_memory(error)
    found = watch.stop()
    if found:
        return found[0]
    if memory or memory_peak() - before > MEMORY:
        return "memory", said or "read"
    return outcome, said


def work(loader: Loader, sample: Path, room: Path, numbers: Sequence[int], seed: int, pipe: int) -> None:
    """Read damaged files one after the other; in a child. Says number, outcome and reason of each as a line."""
    size = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    watch, folder = Watch(room), room / "work"
    content = (sample / loader.file).read_bytes()
    copy_of(sample, folder)
    os.chdir(folder)
    with os.fdopen(pipe, "w", buffering=1, errors="backslashreplace") as lines:
        for number in numbers:
            lines.write(f"{number}\n")
            data = mutated(content, f"{seed} {loader.name} {number}")
            if loader.fresh:
                copy_of(sample, folder)
                os.chdir(folder)
            (folder / loader.file).write_bytes(data)
            if loader.repair is not None:
                loader.repair(folder)
            outcome, said = read_one(loader, folder, watch)
            lines.write(f"{number} {outcome} {json.dumps(said)}\n")


def fuzz(loader: Loader, count: int, seed: int = SEED) -> dict[str, Any]:
    """Return how many of ``count`` damaged files had which outcome, with examples of what should not be."""
    outcomes: Counter = Counter()
    examples: dict[str, list[str]] = {}
    started = time.monotonic()

    def note(number: int, outcome: str, said: str) -> None:
        outcomes[outcome] += 1
        kept = examples.setdefault(outcome, [])
        if outcome not in ("read", "refused") and len(kept) < EXAMPLES:
            kept.append(f"{number}: {said[:240]}")

    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        sample, room = Path(place) / "sample", Path(place) / "outside" / "room"
        sample.mkdir()
        room.mkdir(parents=True)
        loader.make(sample)
        copy_of(sample, room / "work")
        loader.load(room / "work")  # a sample that is refused would prove nothing
        next_one = 0
        while next_one < count:
            next_one = _one_child(loader, sample, room, range(next_one, count), seed, note)
        strangers = [
            path for path in Path(place).rglob("*") if room not in (path, *path.parents) and path != room.parent
        ]
        written = [str(path) for path in strangers if sample not in (path, *path.parents)]
        for path in written:
            note(-1, "outside", path)
    seconds = round(time.monotonic() - started, 1)
    faults = {outcome: kept for outcome, kept in examples.items() if kept}
    return {"files": count, **{name: outcomes[name] for name in OUTCOMES}, "seconds": seconds, "examples": faults}


def _one_child(loader: Loader, sample: Path, room: Path, numbers: range, seed: int, note: Any) -> int:
    """Let a child read files until it is done or dies; return the number of the next file."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            work(loader, sample, room, numbers, seed, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    begun, rest, hung = numbers.start - 1, b"", False
    done = begun
    with os.fdopen(reading, "rb", buffering=0) as lines:
        while True:
            if not select.select([lines], [], [], SECONDS)[0]:
                hung = True
                os.kill(child, signal.SIGKILL)
                break
            piece = lines.read(1 << 16)
            if not piece:
                break
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                number, *result = line.decode().split(" ", 2)
                begun = int(number)
                if result:
                    done = begun
                    note(done, result[0], json.loads(result[1]))
    status = os.waitpid(child, 0)[1]
    if done == numbers[-1]:
        return done + 1
    if begun == done:  # it died between two files, or before the first: that is a fault of this script
        raise RuntimeError(f"{loader.name}: the child ended with {status} behind file {done}")
    signalled = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
    note(begun, "hung" if hung else "crashed", f"{SECONDS} s" if hung else signalled)
    return begun + 1


def faults(result: dict[str, Any]) -> int:
    """Return how many files did what none may do."""
    return sum(result[name] for name in OUTCOMES[2:])


def fuzz_number(number: int, count: int, seed: int) -> dict[str, Any]:
    """Return :func:`fuzz` of one of the loaders, for another process."""
    return fuzz(LOADERS[number], count, seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=2000, help="damaged files a loader (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="loaders at once (default: %(default)s)")
    parser.add_argument("--only", default="", help="loaders whose name contains this")
    parser.add_argument("--without", default="", help="no loaders whose name contains this")
    parser.add_argument("--output", type=Path, help="default: results/fuzz_loaders.json")
    options = parser.parse_args()
    # Children are forked, and a pool of OpenMP's threads that was used before does not come with them: they would wait.
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    left_out = options.without or "\0"
    chosen = [one for one in LOADERS if options.only in one.name and left_out not in one.name]
    results = {}
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("fork")) as pool:
        futures = [
            pool.submit(fuzz_number, LOADERS.index(one), options.files, options.seed) for one in reversed(chosen)
        ]
        for loader, future in zip(chosen, reversed(futures), strict=True):
            results[loader.name] = found = future.result()
            print(f"{loader.name}: {json.dumps(found)}", flush=True)
    total = {name: sum(result[name] for result in results.values()) for name in ("files", *OUTCOMES)}
    print(f"all: {json.dumps(total)}")
    if options.output or len(chosen) == len(LOADERS):
        from record import write_record

        limits = {"seconds_per_file": SECONDS, "memory_bytes": MEMORY, "address_bytes": ADDRESSES}
        path = write_record(
            "fuzz_loaders", {"total": total, "loaders": results}, options.output, seed=options.seed, limits=limits
        )
        print(f"written: {path}")
    return int(sum(map(faults, results.values())) > 0)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main())
