"""Writes a whole SynthReID to disk: in parallel, atomically, once."""

import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fastreid_ext.data.synthetic.annotations import Record, coco, dump, record
from fastreid_ext.data.synthetic.person import sample_person
from fastreid_ext.data.synthetic.render import Picture, render
from fastreid_ext.data.synthetic.seeds import random_state
from fastreid_ext.data.synthetic.sizes import Size, size_named
from fastreid_ext.data.synthetic.splits import Shot, directories, plan
from fastreid_ext.data.synthetic.worlds.scene import render_in_world
from fastreid_ext.errors import ConfigError, FileError
from fastreid_ext.files import locked, make_folder, no_room_named, sync
from fastreid_ext.foreign_files import read_json
from fastreid_ext.processes import as_worker
from fastreid_ext.progress import ProgressBar

META = "meta.json"
KEYPOINTS = "keypoints"
CHUNK = 48  # images that a worker draws before it reports


def generate(
    root: Path | str,
    size: str = "demo",
    seed: int = 0,
    long_tail: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Make ``<root>/SynthReID-<size>`` unless it is there, and return its path.

    The files depend on ``size``, ``seed`` and ``long_tail`` only. Processes that call this at the same time wait for
    one of them.

    Args:
        root: directory of all data sets.
        size: a key of :data:`sizes.SIZES`.
        seed: another one, other images of other people.
        long_tail: False gives every training identity the same number of images.
        workers: processes that draw; None for as many as there are processors.
        progress: show how far it is, see :class:`fastreid_ext.progress.ProgressBar`.

    Raises:
        ConfigError: an unknown size, or less than one worker.
        FileError: the directory holds something else: data of another seed, or data that is not SynthReID; or what
            an interrupted call left can't be removed.
    """
    chosen = size_named(size)
    root = Path(root).expanduser()
    target = root / f"SynthReID-{chosen.name}"
    wanted = {"dataset": "SynthReID", "size": chosen.name, "seed": int(seed), "long_tail": bool(long_tail)}
    # The directory appears under its name when it is finished, so looking needs no lock.
    if is_complete(target, wanted):
        return target
    make_folder(root)
    with locked(root / f".{target.name}.lock"):
        if is_complete(target, wanted):
            return target
        refuse_foreign(target, wanted)
        partial = root / f".{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # what an interrupted run left
        if partial.exists() or partial.is_symlink():
            raise FileError(f"{partial} is in the way and can't be removed: remove it or choose another root.")
        with no_room_named(target):
            write_all(partial, chosen, wanted, workers, progress)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
        sync(root)
    return target


def find(root: Path | str, size: str) -> Path | None:
    """Return ``<root>/SynthReID-<size>`` if it is there and complete, whatever its seed, else None.

    Raises:
        ConfigError: an unknown size.
    """
    directory = Path(root).expanduser() / f"SynthReID-{size_named(size).name}"
    return directory if is_complete(directory, {"dataset": "SynthReID", "size": size}) else None


def read_meta(directory: Path) -> dict[str, Any]:
    """Return the content of ``meta.json`` in ``directory``; an empty dict if there is none that can be read."""
    try:
        meta = read_json(directory / META)
    except FileError:
        return {}
    return meta if isinstance(meta, dict) else {}


def is_complete(directory: Path, wanted: Mapping[str, Any]) -> bool:
    """Whether ``directory`` is what ``wanted`` says, by this renderer, with all its files in full length."""
    meta = read_meta(directory)
    size = size_named(wanted["size"])
    wanted = {**wanted, "renderer": size.renderer}
    if any(meta.get(key) != value for key, value in wanted.items()):
        return False
    files = meta.get("files")
    # What it must hold is not left to the file, which may be damaged or name folders elsewhere.
    return files == measure(directory, (*directories(size), KEYPOINTS))


def measure(directory: Path, names: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return the number and total bytes of the files in each of the sub-directories ``names``."""
    found = {}
    for name in names:
        try:
            with os.scandir(directory / name) as entries:
                lengths = [entry.stat().st_size for entry in entries]
        except OSError:
            lengths = []
        found[name] = {"count": len(lengths), "bytes": sum(lengths)}
    return found


def refuse_foreign(directory: Path, wanted: Mapping[str, Any]) -> None:
    """Check that ``directory`` may be replaced.

    Raises:
        FileError: it holds something other than what was asked for.
    """
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    meta = read_meta(directory)
    if meta.get("dataset") != wanted["dataset"]:
        raise FileError(f"{directory} exists but is not a SynthReID: move it away or choose another root.")
    differing = [f"{key} {meta.get(key)} and not {value}" for key, value in wanted.items() if meta.get(key) != value]
    if differing:
        raise FileError(f"{directory} was made with {', '.join(differing)}: remove it or choose another root.")


def take(shot: Shot, size: Size, seed: int) -> Picture:
    """Return the picture of a shot."""
    rng = random_state(seed, shot.directory, shot.identity, shot.index)
    if size.worlds:
        return render_in_world(seed, shot.identity, size.worlds[shot.world], shot.camera, shot.occluder, rng, size)
    person = sample_person(random_state(seed, "person", shot.identity), size.upper_colours, size.lower_colours)
    return render(person, shot.camera, shot.occluder, rng, size)


def draw_chunk(directory: Path, size: Size, seed: int, shots: Sequence[Shot]) -> list[Record]:
    """Draw ``shots`` into the sub-directories of ``directory`` and return their records."""
    records = []
    for shot in shots:
        picture = take(shot, size, seed)
        (directory / shot.directory / shot.file_name).write_bytes(picture.jpeg)
        records.append(record(shot, picture))
    return records


def start_worker() -> None:
    """Let a worker end with its parent, and draw without threads that would compete with the other workers."""
    as_worker()
    cv2.setNumThreads(0)


def drawn_chunks(
    chunks: Sequence[Sequence[Shot]], directory: Path, size: Size, seed: int, workers: int
) -> Iterator[list[Record]]:
    """Yield the records of each of ``chunks``, in order, drawn by ``workers`` processes."""
    if workers == 1:
        for chunk in chunks:
            yield draw_chunk(directory, size, seed, chunk)
        return
    # A forked worker need not import the package again; only Linux forks safely.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    try:
        futures = [pool.submit(draw_chunk, directory, size, seed, chunk) for chunk in chunks]
        for future in futures:
            yield future.result()
    except BaseException:  # Ctrl-C, for one: nobody waits for the chunks that are being drawn
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def worker_count(workers: int | None, chunks: int) -> int:
    """Return how many processes to use for this many chunks of work.

    Raises:
        ConfigError: ``workers`` is below 1.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers must be 1 or more, not {workers}.")
    if multiprocessing.current_process().daemon:
        return 1  # such a process, a loader's worker for one, may not have children
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    return min(workers, chunks)


def write_all(directory: Path, size: Size, wanted: Mapping[str, Any], workers: int | None, progress: bool) -> None:
    """Write the images, the keypoints and, last of all, ``meta.json`` into the new ``directory``."""
    names = directories(size)
    for name in (*names, KEYPOINTS):
        (directory / name).mkdir(parents=True)
    shots = plan(size, wanted["seed"], wanted["long_tail"])
    chunks = [shots[start : start + CHUNK] for start in range(0, len(shots), CHUNK)]
    records = []
    with ProgressBar(f"SynthReID-{size.name}", len(shots), shown=progress) as bar:
        for drawn in drawn_chunks(chunks, directory, size, wanted["seed"], worker_count(workers, len(chunks))):
            records.extend(drawn)
            bar.advance(len(drawn))
    for name in names:
        own = [entry for shot, entry in zip(shots, records, strict=True) if shot.directory == name]
        dump(coco(own, size), directory / KEYPOINTS / f"{name}.json")
        sync(directory / KEYPOINTS / f"{name}.json")
    # An fsync an image would take longer than drawing it. An image that a power failure cuts short is found by
    # the byte counts of meta.json, and the set is made again.
    for name in (*names, KEYPOINTS):
        sync(directory / name)
    meta = {
        **wanted,
        "renderer": size.renderer,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "identities": {name: len({s.identity for s in shots if s.directory == name}) for name in names},
        "files": measure(directory, (*names, KEYPOINTS)),
    }
    (directory / META).write_text(json.dumps(meta, indent=2) + "\n", encoding="ascii")
    sync(directory / META)
    sync(directory)
