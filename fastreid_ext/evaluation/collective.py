"""Gathers tensors of several processes without pickling them."""

import ctypes

import torch
import torch.distributed as dist
from fastreid.utils import comm
from torch import Tensor

from fastreid_ext.evaluation.blocks import share_of
from fastreid_ext.evaluation.distances import DistanceRows
from fastreid_ext.evaluation.neighbours import nearest_of, searched_at_once

GATHER_MB = 32  # of each process that are on their way at once


def _wire() -> torch.device:
    """Where the process group's backend takes tensors from."""
    if "nccl" in dist.get_backend():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def gather_rows(chunks: list[Tensor]) -> Tensor:
    """Return the rows of all processes, in the order of their ranks, to every process.

    Args:
        chunks: this process's rows (n_i, ...) on the CPU, of one type and width everywhere; the list is emptied, so
            that the rows are not held twice.

    Returns:
        (N, ...) on the CPU.

    Raises:
        ValueError: processes whose rows have different types or widths.
    """
    sizes, dtype, shape = _described(chunks)
    world, rank = len(sizes), comm.get_rank()
    rows = torch.empty(sum(sizes), *shape, dtype=dtype)
    starts = [sum(sizes[:process]) for process in range(world)]
    filled, freed = starts[rank], 0
    while chunks:
        chunk = chunks.pop(0)
        rows[filled : filled + len(chunk)] = chunk
        filled, freed = filled + len(chunk), freed + chunk.nbytes
        del chunk
        if freed > GATHER_MB * 2**20 or not chunks:
            _give_back()
            freed = 0
    if world > 1:
        _exchange(rows, starts, sizes, rank)
    return rows


def _give_back() -> None:
    """Return freed memory to the system: glibc keeps the memory of pieces as small as a batch."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _described(chunks: list[Tensor]) -> tuple[list[int], torch.dtype, tuple[int, ...]]:
    """How many rows each process has, and of which type and width they are."""
    kind = (chunks[0].dtype, tuple(chunks[0].shape[1:])) if chunks else None
    found = comm.all_gather((sum(len(chunk) for chunk in chunks), kind))
    kinds = {kind for _, kind in found if kind}
    if len(kinds) != 1:
        raise ValueError(f"there are no rows to gather, or processes have different ones: {sorted(map(str, kinds))}")
    return [size for size, _ in found], *kinds.pop()


def _exchange(rows: Tensor, starts: list[int], sizes: list[int], rank: int) -> None:
    """Fill in the rows of the others; each process has its own in place."""
    device = _wire()
    step = max(1, int(GATHER_MB * 2**20) // max(1, rows[:1].nbytes))
    for first in range(0, max(sizes), step):
        # Padded: all processes send as many rows.
        sent = torch.zeros(min(step, max(sizes) - first), *rows.shape[1:], dtype=rows.dtype, device=device)
        own = rows[starts[rank] + first : starts[rank] + min(first + step, sizes[rank])]
        sent[: len(own)] = own
        received = [torch.empty_like(sent) for _ in sizes]
        dist.all_gather(received, sent)
        for process, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            count = min(step, size - first)
            if process != rank and count > 0:
                rows[start + first : start + first + count] = received[process][:count]


def sum_over_processes(counts: Tensor) -> Tensor:
    """Return the sum of a tensor on the CPU over all processes, to every process."""
    if comm.get_world_size() == 1:
        return counts
    total = counts.to(_wire(), copy=True)
    dist.all_reduce(total)
    return total.cpu()


def nearest_by_all(query: Tensor, gallery: Tensor, k: int, metric: str, memory_mb: float) -> tuple[Tensor, Tensor]:
    """Do what :func:`neighbours.nearest` does, each process for its share of the queries; all processes call it.

    Returns:
        (Q, k) distances and indices on the CPU, in every process.
    """
    distances = DistanceRows(query, gallery, metric)
    # Whole blocks, so that each is multiplied as one process would.
    share = share_of(len(query), searched_at_once(distances, memory_mb), comm.get_rank(), comm.get_world_size())
    values, indices = nearest_of(distances, k, memory_mb, share)
    return gather_rows([values.cpu()]), gather_rows([indices.cpu()])
