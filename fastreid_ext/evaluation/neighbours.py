"""Exact nearest neighbours, block by block: the full distance matrix is never in memory."""

import torch
from torch import Tensor

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.distances import DistanceRows, Rows

GROUP = 64  # columns that are first looked at by their smallest value alone


def nearest(
    query: Tensor, gallery: Tensor, k: int, metric: str = "cosine", memory_mb: float = 256
) -> tuple[Tensor, Tensor]:
    """Find the k nearest gallery images of every query; see :class:`DistanceRows` for the distances.

    Args:
        query, gallery: features (Q, D) and (G, D) of a floating type; the search is done where the gallery is.
        k: how many, from 1 to G.
        metric: "cosine" or "euclidean" (squared).
        memory_mb: for one block of distances and what is selected from it, in MiB. Another value may change the last
            bit of a distance, as matrix products of other shapes do.

    Returns:
        (Q, k) float32 distances, ascending, and (Q, k) int64 indices in the gallery; equal distances keep the
        gallery's order.

    Raises:
        EvaluationError: a feature that is not finite.
        EvaluationError: shapes that do not fit, another metric, or k out of range.
    """
    return nearest_of(DistanceRows(query, gallery, metric), k, memory_mb)


@torch.no_grad()
def nearest_of(distances: Rows, k: int, memory_mb: float = 256, queries: range | None = None) -> tuple[Tensor, Tensor]:
    """Find the k smallest entries of rows of any distances; see :func:`nearest`.

    Args:
        distances: of all queries.
        k, memory_mb: see :func:`nearest`.
        queries: those whose neighbours are wanted; all of them without.
    """
    queries = range(distances.shape[0]) if queries is None else queries
    others = distances.shape[1]
    if not 1 <= k <= others:
        raise EvaluationError(f"k must be from 1 to the {others} gallery images, not {k}")
    block = min(searched_at_once(distances, memory_mb), max(1, len(queries)))
    buffer = torch.empty(block, others, device=distances.device)  # used again: fresh memory is slow to write to
    values = torch.empty(len(queries), k, device=distances.device)
    indices = torch.empty(len(queries), k, dtype=torch.int64, device=distances.device)
    for start in range(queries.start, queries.stop, block):
        stop = min(start + block, queries.stop)
        here = slice(start - queries.start, stop - queries.start)
        values[here], indices[here] = smallest(distances.rows(start, stop, buffer[: stop - start]), k)
    return values, indices


def searched_at_once(distances: Rows, memory_mb: float) -> int:
    """Return how many queries are searched at once: a quarter of the memory is for what the selection needs."""
    return max(1, int(memory_mb * 2**20 * 3 / 4) // (4 * max(1, distances.shape[1])))


def smallest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k smallest values of each row and their columns, ascending; equal values in order of columns.

    A row's k smallest values lie in groups of columns whose minima are among its k smallest minima: these few groups
    alone are sorted, which is much cheaper than ``torch.topk`` over all columns and, unlike it, decides ties.

    Args:
        values: (B, n), without NaN.
        k: from 1 to n.
    """
    rows, n = values.shape
    size = min(GROUP, n // (4 * k))
    if size < 2:
        return _sorted(values, k)
    width = n // size
    grouped = values[:, : width * size].unflatten(1, (width, size))
    rest = values[:, width * size :]
    minima = torch.cat((grouped.amin(2), rest), 1)  # (B, width + n % size): what is left over, each its own group
    limit = minima.topk(k, dim=1, largest=False).values[:, -1:]  # at least the k-th smallest value
    row, group = (minima <= limit).nonzero(as_tuple=True)
    if len(row) > 4 * rows * k:
        return _sorted(values, k)  # too many ties for grouping to help
    whole = group < width
    members = grouped[row[whole], group[whole]]  # (groups, size)
    hit, step = (members <= limit[row[whole]]).nonzero(as_tuple=True)
    column = torch.cat((group[whole][hit] * size + step, group[~whole] + width * (size - 1)))
    value = torch.cat((members[hit, step], minima[row[~whole], group[~whole]]))
    row = torch.cat((row[whole][hit], row[~whole]))
    # Stable sorts, the least important first: by column, by value, by row.
    order = column.argsort()
    for key in (value, row):
        order = order[key[order].argsort(stable=True)]
    counts = torch.bincount(row, minlength=rows)
    first = (counts.cumsum(0) - counts)[:, None] + torch.arange(k, device=values.device)
    order = order[first]  # (B, k)
    return value[order], column[order]


def _sorted(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Do what ``smallest`` does by sorting whole rows, a few at a time."""
    step = max(1, 2**20 // values.shape[1])
    chunks = [chunk.sort(dim=1, stable=True) for chunk in values.split(step)]
    # Copies: a slice would keep all of the sorted rows in memory.
    return torch.cat([p.values[:, :k].clone() for p in chunks]), torch.cat([p.indices[:, :k].clone() for p in chunks])
