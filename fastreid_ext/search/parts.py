"""A feature store that several processes fill: each fills a part of the list, and the main one joins the parts.

A part is an unfinished store below the folder ``parts``, with the images between two of the bounds in ``plan.json``. It
goes on where it was stopped, whoever fills it: a later call may have more processes or fewer.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fastreid.utils import comm

from fastreid_ext.errors import FileError
from fastreid_ext.files import make_folder, read_text, write_text
from fastreid_ext.foreign_files import are_whole_numbers, read_json
from fastreid_ext.progress import ProgressBar
from fastreid_ext.search.features import StoreError, check_comparable, only_writer
from fastreid_ext.search.image_list import ImageList
from fastreid_ext.search.writer import FeatureWriter

PARTS, PLAN = "parts", "plan.json"
FORMAT = "fastreid-ext parts 1"


@dataclass(frozen=True)
class Filling:
    """How a store is filled.

    Attributes:
        folder: of the store; all processes see the same files there.
        images: the whole list.
        identity: what the features are made with, as this process has it.
        new_writer: (folder, list) -> a writer, begun or not.
        fill: writer -> an iterator that fills it and yields the number of images after each batch.
        batch: images that the model gets at once.
        save_every: images after which progress is saved, and the processes look for each other.
    """

    folder: Path
    images: ImageList
    identity: Mapping[str, Any]
    new_writer: Callable[[Path, ImageList], FeatureWriter]
    fill: Callable[[FeatureWriter], Iterator[int]]
    batch: int
    save_every: int


def is_in_parts(folder: Path) -> bool:
    """Whether a store is filled by several processes, or was begun by several."""
    return comm.get_world_size() > 1 or (folder / PARTS).is_dir()


def fill_in_parts(filling: Filling) -> int:
    """Fill a store with all processes of the group, of which the main one holds the folder.

    Every batch has the images that it has with one process, so the features are the same. If a process is gone, the
    others end within ``save_every`` images.

    Returns:
        How many images an earlier call had done.

    Raises:
        StoreError: the folder has features of something else, or the processes have other weights, configs or lists.
        FileError: they don't share the folder, or another process writes into a part.
    """
    folder, images = filling.folder, filling.images
    main = comm.is_main_process()
    writer, bounds = None, None
    if main:
        writer = filling.new_writer(folder, images)
        if not writer.complete:
            bounds = _read_plan(folder, writer) or _make_plan(filling, writer)
            writer.save()
    bounds = _agreed(filling, bounds)
    earlier = len(images.rows)
    if bounds is not None:
        own = list(pairwise(bounds))[comm.get_rank() :: comm.get_world_size()]
        with ExitStack() as stack:
            parts = [_opened(filling, *ends, stack) for ends in own]
            earlier = bounds[0] + _sum(sum(part.done for part in parts))[0]
            bar = stack.enter_context(ProgressBar("features", len(images.rows), earlier, shown=main))
            _fill(filling, parts, bar)
        if main:
            _join(filling, bounds, writer)
    if main and (folder / PARTS).is_dir():
        shutil.rmtree(folder / PARTS)
    return earlier


def _read_plan(folder: Path, writer: FeatureWriter) -> list[int] | None:
    """Return the bounds of the parts that an earlier call began; None if there was none."""
    file = folder / PARTS / PLAN
    if not file.exists():
        return None
    plan = read_json(file)
    bounds = plan.get("bounds") if isinstance(plan, dict) and plan.get("format") == FORMAT else None
    rising = isinstance(bounds, list) and are_whole_numbers(bounds) and all(a < b for a, b in pairwise(bounds))
    # What was joined ends at a bound.
    if not (rising and bounds[-1:] == [writer.meta["listed"]] and writer.done in bounds):
        raise StoreError(f"{file} does not divide this store's list into parts: remove {folder / PARTS}")
    return bounds


def _make_plan(filling: Filling, writer: FeatureWriter) -> list[int]:
    """Divide what is left into as many parts as there are processes, each of whole batches."""
    left = writer.meta["listed"] - writer.done
    batches = -(-left // filling.batch)
    count = min(comm.get_world_size(), batches)
    # None where a process was killed after its last image: the store alone is to be finished.
    ends = [min(left, part * batches // max(count, 1) * filling.batch) for part in range(count + 1)]
    bounds = [writer.done + end for end in ends]
    make_folder(filling.folder / PARTS)
    write_text(filling.folder / PARTS / PLAN, json.dumps({"format": FORMAT, "bounds": bounds}) + "\n")
    return bounds


def _agreed(filling: Filling, bounds: list[int] | None) -> list[int] | None:
    """Return the main process's bounds, after checks that this process works on the same.

    Raises:
        StoreError: it has other weights, another config or another list.
        FileError: its folder is another one.
    """
    text = None if bounds is None else read_text(filling.folder / PARTS / PLAN)
    own = (bounds, filling.images.fingerprint(), dict(filling.identity), text)
    bounds, listed, identity, text = comm.all_gather(own)[0]
    check_comparable(filling.identity, identity, (f"process {comm.get_rank()}", "process 0"))
    if filling.images.fingerprint() != listed:
        raise StoreError(
            f"process {comm.get_rank()} lists other images ({len(filling.images.rows)} of {filling.images.source}) than"
            " process 0: give all of them the same list"
        )
    plan = filling.folder / PARTS / PLAN
    if text is not None and not (plan.is_file() and read_text(plan) == text):
        raise FileError(
            f"process {comm.get_rank()} does not see in {filling.folder} what process 0 writes there: --output must be"
            " one folder that all machines share"
        )
    return bounds


def _opened(filling: Filling, start: int, end: int, stack: ExitStack | None = None) -> FeatureWriter:
    """Return the writer of a part; with a stack, as its only one."""
    folder = filling.folder / PARTS / f"{start:09d}"
    if stack is not None:
        make_folder(folder)
        stack.enter_context(only_writer(folder))
    return filling.new_writer(folder, replace(filling.images, rows=filling.images.rows[start:end]))


def _fill(filling: Filling, parts: list[FeatureWriter], bar: ProgressBar) -> None:
    """Fill this process's parts, in step with the others: who waits for one that is gone gets an error."""
    batches = (count for part in parts for count in filling.fill(part))
    with closing(batches):
        working = 1
        while working:
            done, more = 0, False
            for count in batches:
                done += count
                if more := done >= filling.save_every:
                    break
            done, working = _sum(done, more)
            bar.advance(done)


def _sum(*values: int) -> list[int]:
    """Return the sums over all processes."""
    if comm.get_world_size() == 1:
        return list(values)
    numbers = torch.tensor(values, dtype=torch.int64)
    dist.all_reduce(numbers, group=comm._get_global_gloo_group())  # NCCL would wait long for one that is gone
    return numbers.tolist()


def _join(filling: Filling, bounds: list[int], writer: FeatureWriter) -> None:
    for start, end in pairwise(bounds):
        if start >= writer.done:  # else an earlier call took it
            part = _opened(filling, start, end)
            if part.done < end - start:
                raise StoreError(
                    f"{part.folder} has {part.done} of {end - start} images: call fastreid-ext extract again"
                )
            writer.take(part)
            writer.save()
    writer.finish()
