"""Blocks of queries: as many rows of distances as fit in the memory that they may take, shared among processes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.distances import Rows, width_and_fixed_mb

MEMORY_MB = 512  # default of what an evaluation takes beyond the features
MOST_ROWS = 1024  # products of fewer rows are up to a fifth slower; more are hardly faster and shared less evenly
SORTED_AT_ONCE = 1 << 19  # distances that a CPU thread sorts between two looks at Python's lock; they fit in its cache
CHUNKS = 4  # of each thread's share of a block, at least: what is sorted at once is no more than that
SORT_MB = 16  # of distances that a GPU sorts at once
SORT_COPIES = 10  # what that takes, in its own size: a copy, the indices that come with it, and workspace


def rows_per_block(distances: Rows, memory_mb: float = MEMORY_MB) -> int:
    """Return how many rows are made at once; the same number in every process.

    Args:
        distances: of the queries to the gallery.
        memory_mb: memory for the block and everything computed from it, in MB.

    Raises:
        EvaluationError: not even one row fits.
    """
    gallery, (width, fixed_mb) = distances.shape[1], width_and_fixed_mb(distances)
    each = 4 * gallery + 8 * width  # distances, and the query's feature twice
    fixed = fixed_mb * 2**20
    if distances.device.type == "cpu":
        # Copies that are sorted: a row of each thread, or one in CHUNKS of all.
        fixed += 4 * gallery * torch.get_num_threads()
        each += 4 * gallery // CHUNKS
    else:
        fixed += SORT_COPIES * max(SORT_MB * 2**20, 4 * gallery)
    fitting = int((memory_mb * 2**20 - fixed) // max(each, 1))
    if fitting < 1:
        raise EvaluationError(
            f"{memory_mb:g} MB are too few for a row of distances to {gallery} gallery images, which takes"
            f" at least {(fixed + each) / 2**20:.1f} MB: raise TEST.EVAL_MEMORY_MB (memory_mb of a function)"
        )
    return min(fitting, MOST_ROWS)


def share_of(queries: int, block: int, rank: int = 0, world_size: int = 1) -> range:
    """Return the queries that one of several processes ranks: whole blocks, so that each is made as one process would.

    Args:
        queries: how many there are.
        block: rows of a block.
        rank, world_size: this process, of how many.
    """
    blocks = -(-queries // block)
    first, last = (min(blocks * place // world_size * block, queries) for place in (rank, rank + 1))
    return range(first, last)


def row_blocks(distances: Rows, queries: range, block: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the first query of each block and the distances (B, G) of its queries.

    All blocks share one memory: the next block overwrites the last one.
    """
    memory = None
    for start in range(queries.start, queries.stop, block):
        stop = min(start + block, queries.stop)
        rows = distances.rows(start, stop, out=None if memory is None else memory[: stop - start])
        memory = rows if memory is None else memory
        yield start, rows


def look_at_sorted_rows(
    rows: Tensor, look: Callable[[int, np.ndarray], None], farthest: np.ndarray | None = None
) -> None:
    """Call look(first row, (b, G)) with each row's distances in ascending order, some rows at a time, from threads.

    NumPy sorts values with vector instructions and without Python's lock; torch sorts their indices too, which takes
    many times longer. Threads that sorted row by row would wait for the lock longer than they sort.

    Args:
        rows: (B, G) on the CPU.
        look: called with sorted rows that are overwritten after it returns.
        farthest: (B,) of each row, beyond which it does not matter how far a distance is: all of those are shown as the
            next larger number, and equal numbers are quickly sorted.
    """
    array, threads = rows.numpy(), torch.get_num_threads()
    step = max(1, min(SORTED_AT_ONCE // max(1, array.shape[1]), len(array) // (CHUNKS * threads)))
    bounds = None if farthest is None else np.nextafter(farthest, np.float32(np.inf))[:, None]

    def work(thread: int) -> None:
        memory = np.empty((step, array.shape[1]), dtype=array.dtype)
        for first in range(thread * step, len(array), threads * step):
            chunk = slice(first, min(first + step, len(array)))
            ordered = memory[: chunk.stop - first]
            if bounds is None:
                np.copyto(ordered, array[chunk])
            else:
                np.minimum(array[chunk], bounds[chunk], out=ordered)
            ordered.sort(axis=1)
            look(first, ordered)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def sorted_chunks(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield (first row, rows (b, G)), each row sorted, until all rows are done.

    Args:
        rows: (B, G) on a GPU.
    """
    step = max(1, int(SORT_MB * 2**20) // (rows.element_size() * max(1, rows.shape[1])))
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step].sort(dim=1).values
