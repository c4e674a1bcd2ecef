"""The ranks of the matches, by counting: values are sorted, never indices."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.evaluation.blocks import look_at_sorted_rows, row_blocks, sorted_chunks
from fastreid_ext.evaluation.distances import Rows

Labels = tuple[np.ndarray, np.ndarray]  # of the queries, of the gallery
Pairs = tuple[np.ndarray, np.ndarray]  # (P,) queries and (P,) gallery images, by query and gallery order
NO_PAIRS: Pairs = (np.zeros(0, np.int64), np.zeros(0, np.int64))


class GroundTruth:
    """Which gallery images show the query's identity, and which of them are junk: of its camera too.

    Args:
        pids, camids: identities and cameras (of the queries, of the gallery), one-dimensional.
        left_out: further pairs that are junk, whatever their identities, such as a query and its own file.

    Raises:
        ValueError: different numbers of identities and cameras.
    """

    def __init__(self, pids: Labels, camids: Labels, left_out: Pairs = NO_PAIRS):
        for side, name in enumerate(("queries", "gallery")):
            if pids[side].ndim != 1 or pids[side].shape != camids[side].shape:
                raise ValueError(
                    f"expected an identity and a camera of each image, got identities {pids[side].shape} and cameras"
                    f" {camids[side].shape} of the {name}"
                )
        self.camids = camids
        # Once for all queries: the gallery by identity, each identity's images in gallery order.
        self.by_identity = np.argsort(pids[1], kind="stable")
        ordered = pids[1][self.by_identity]
        _, self.starts, self.sizes = np.unique(ordered, return_index=True, return_counts=True)  # of each identity
        self.first, self.last = (np.searchsorted(ordered, pids[0], side=side) for side in ("left", "right"))
        self.left_out = left_out
        self.left_out_others = int((pids[0][left_out[0]] != pids[1][left_out[1]]).sum())

    @property
    def others(self) -> int:
        """The number of pairs of a query and a gallery image with different identities, without what is left out."""
        return len(self.first) * len(self.by_identity) - int((self.last - self.first).sum()) - self.left_out_others

    def left_out_of(self, query: int) -> np.ndarray:
        """Return the gallery images that ``left_out`` has for a query."""
        return self.left_out[1][slice(*np.searchsorted(self.left_out[0], (query, query + 1)))]

    def pairs(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (query, gallery image, junk) of all pairs of one identity or left out, by query and gallery order.

        Args:
            start, stop: the first query, and the one after the last; queries are counted from ``start``.
        """
        counts = self.last[start:stop] - self.first[start:stop]
        query = np.repeat(np.arange(stop - start), counts)
        within = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
        image = self.by_identity[self.first[start:stop][query] + within]
        junk = self.camids[0][start:stop][query] == self.camids[1][image]
        between = slice(*np.searchsorted(self.left_out[0], (start, stop)))
        out_query, out_image = self.left_out[0][between] - start, self.left_out[1][between]
        if not len(out_query):
            return query, image, junk
        width = len(self.by_identity)
        pairs, out = query * width + image, out_query * width + out_image
        others = ~np.isin(out, pairs)
        query, image = np.append(query, out_query[others]), np.append(image, out_image[others])
        junk = np.append(junk | np.isin(pairs, out), np.ones(others.sum(), dtype=bool))
        order = np.lexsort((image, query))
        return query[order], image[order], junk[order]


@dataclass(frozen=True)
class Matches:
    """Right gallery images of some queries, one query after the other, the nearest first.

    Attributes:
        counts: (Q,) how many each query has.
        ranks: (M,) counted from 1, junk left out; equal distances keep the order of the gallery.
        distances: (M,) from the query.
    """

    counts: np.ndarray
    ranks: np.ndarray
    distances: np.ndarray


def find_matches(distances: Rows, people: GroundTruth, queries: range, block: int) -> Matches:
    """Return the matches of some queries.

    Args:
        distances: of all queries.
        people: who is who.
        queries: those that are ranked.
        block: rows that are made at once.
    """
    found = [Matches(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for start, rows in row_blocks(distances, queries, block):
        found.append(_matches_of(rows, *people.pairs(start, start + len(rows))))
    return Matches(
        *(np.concatenate([getattr(chunk, name) for chunk in found]) for name in ("counts", "ranks", "distances"))
    )


def _matches_of(rows: Tensor, query: np.ndarray, image: np.ndarray, junk: np.ndarray) -> Matches:
    values = values_at(rows, query, image)
    order = np.lexsort((values, query))  # few: the pairs of one identity, in gallery order; stable
    query, image, junk, values = (array[order] for array in (query, image, junk, values))
    # Junk shows the query's own identity: what stands before a match is counted in the whole row, then those are out.
    junk_so_far = np.cumsum(junk)
    start = np.searchsorted(query, query, side="left")
    nearer_junk = junk_so_far - np.where(start > 0, junk_so_far[start - 1], 0)
    right = ~junk
    query, image, values = query[right], image[right], values[right]
    earlier = count_earlier(rows, query, image, values)
    return Matches(np.bincount(query, minlength=len(rows)), earlier + 1 - nearer_junk[right], values)


def values_at(rows: Tensor, query: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the distances (P,) of pairs."""
    query, image = (torch.from_numpy(array).to(rows.device) for array in (query, image))
    return rows[query, image].cpu().numpy()


def count_earlier(rows: Tensor, query: np.ndarray, image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return how many gallery images rank before each given one: nearer, or equally near and earlier in the gallery.

    Args:
        rows: distances (B, G).
        query, image, values: (P,) row, column and distance of each, by row.
    """
    if rows.device.type != "cpu":
        return count_earlier_on_gpu(rows, query, image, values)
    array = rows.numpy()
    ends = np.searchsorted(query, np.arange(len(array) + 1))
    asked = np.flatnonzero(np.diff(ends))
    farthest = np.full(len(array), -np.inf, dtype=array.dtype)
    if len(asked):
        farthest[asked] = np.maximum.reduceat(values, ends[asked])
    earlier, following = np.zeros(len(query), dtype=np.int64), np.empty_like(values)
    bounds = ends.tolist()

    def look(first: int, ordered: np.ndarray) -> None:
        for row, one in enumerate(ordered, first):
            chunk = slice(bounds[row], bounds[row + 1])
            earlier[chunk] = one.searchsorted(values[chunk])
        chunk = slice(bounds[first], bounds[first + len(ordered)])
        following[chunk] = ordered[query[chunk] - first, np.minimum(earlier[chunk] + 1, ordered.shape[1] - 1)]

    look_at_sorted_rows(rows, look, farthest)
    # The image itself stands at its rank; where the next one is as near, those of them that are earlier are counted.
    tied = (following == values) & (earlier + 1 < array.shape[1])
    for index in np.flatnonzero(tied):
        earlier[index] += np.count_nonzero(array[query[index], : image[index]] == values[index])
    return earlier


def count_earlier_on_gpu(rows: Tensor, query: np.ndarray, image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Do the same as :func:`count_earlier` with torch operations."""
    earlier = np.zeros(len(query), dtype=np.int64)
    for start, ordered in sorted_chunks(rows):
        chunk = slice(*np.searchsorted(query, (start, start + len(ordered))))
        if chunk.start < chunk.stop:
            inputs = (torch.from_numpy(these[chunk]).to(rows.device) for these in (query, image, values))
            earlier[chunk] = _earlier_of(rows, ordered, start, *inputs).cpu().numpy()
    return earlier


def _earlier_of(rows: Tensor, ordered: Tensor, start: int, query: Tensor, image: Tensor, values: Tensor) -> Tensor:
    row = query - start
    counts = row.bincount(minlength=len(ordered))
    column = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    wanted = ordered.new_zeros(len(ordered), int(counts.max()))
    wanted[row, column] = values
    nearer, not_farther = (torch.searchsorted(ordered, wanted, right=right)[row, column] for right in (False, True))
    gallery = torch.arange(rows.shape[1], device=rows.device)
    for chunk in (not_farther - nearer > 1).nonzero()[:, 0].split(max(1, len(ordered) // 2)):
        equal = rows[query[chunk]] == values[chunk, None]
        nearer[chunk] += (equal & (gallery < image[chunk, None])).sum(dim=1)
    return nearer
