"""Blocks of queries: as many rows of distances as fit in the memory that they may take, shared among processes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.evaluation.distances import EvaluationError, Rows

MEMORY_MB = 512  # default of what an evaluation takes beyond the features
MOST_ROWS = 1024  # products of fewer rows are up to a fifth slower; more are hardly faster and shared less evenly
FEW = 0.5  # share of a row; picking more out and sorting them takes as long as sorting all
SORT_MB = 16  # of distances that a GPU sorts at once
SORT_COPIES = 10  # what that takes, in its own size: a copy, the indices that come with it, and workspace


def rows_per_block(distances: Rows, memory_mb: float = MEMORY_MB) -> int:
    """Return how many rows are made at once; the same number in every process.

    Args:
        distances: of the queries to the gallery.
        memory_mb: what the block and all that is made of it may take.

    Raises:
        EvaluationError: not even one row fits.
    """
    gallery, width = distances.shape[1], getattr(distances, "width", 0)
    each = 4 * gallery + 8 * width  # distances, and the query's feature twice
    fixed = getattr(distances, "fixed_mb", 0) * 2**20
    if distances.device.type == "cpu":
        fixed += 7 * gallery * torch.get_num_threads()  # of each: flags, and a sorted row or half of one with places
    else:
        fixed += SORT_COPIES * max(SORT_MB * 2**20, 4 * gallery)
    fitting = int((memory_mb * 2**20 - fixed) // max(each, 1))
    if fitting < 1:
        raise EvaluationError(
            f"{memory_mb:g} MB are too few for a row of distances to {gallery} gallery images, which takes"
            f" {(fixed + each) / 2**20:.1f} MB: raise TEST.EVAL_MEMORY_MB (memory_mb of a function)"
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

    All blocks are written to the same memory: a block is gone once the next is asked for.
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
    """Show every row's distances in rising order: look(number of the row, (n,)), which threads call.

    NumPy sorts values with vector instructions and without Python's lock; torch sorts their indices too, which takes
    many times longer.

    Args:
        rows: (B, G) on the CPU.
        look: what it is shown is gone once it returns.
        farthest: (B,) of each row, beyond which nothing need be shown: picking the nearer ones out and sorting them is
            quicker than sorting all. Without it, all are shown.
    """
    array, threads = rows.numpy(), torch.get_num_threads()

    def work(first: int) -> None:
        ordered, near = np.empty_like(array[0]), np.empty(array.shape[1], dtype=bool)
        for row in range(first, len(array), threads):
            if farthest is not None:
                np.less_equal(array[row], farthest[row], out=near)
                if np.count_nonzero(near) < FEW * len(near):
                    picked = array[row].take(np.flatnonzero(near))  # many times faster than the flags themselves
                    picked.sort()
                    look(row, picked)
                    continue
            np.copyto(ordered, array[row])
            ordered.sort()
            look(row, ordered)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(min(threads, len(array)))))


def sorted_parts(rows: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of the first of some rows and those rows (b, G), each sorted, until all have come.

    Args:
        rows: (B, G) on a GPU.
    """
    step = max(1, int(SORT_MB * 2**20) // (rows.element_size() * max(1, rows.shape[1])))
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step].sort(dim=1).values
