"""Re-ranked distances (TEST.RERANK) some rows at a time, without a matrix of all images by all images."""

import numpy as np
import torch
from scipy.sparse import coo_array
from torch import Tensor

from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.distances import Rows, width_and_fixed_mb
from fastreid_ext.evaluation.k_reciprocal import Search, encode
from fastreid_ext.evaluation.neighbours import nearest

PAIRS = 2**20  # smaller weights that are summed at once
PAIR_BYTES = 80  # of each: its weight, its two indices in numbers of 8 bytes, and copies of them in order
SHARE = 4  # at most one part in so many of the memory is for them


class ReRankedRows:
    """k-reciprocal re-ranking of other distances; see :class:`Rows` and :mod:`k_reciprocal`.

    The Jaccard distance of two images is 1 - m / (2 - m), where m sums the smaller of their two weights over all
    images. m is above 0 for only a few gallery images, which an inverted index finds: for each image, the
    gallery images that have a weight for it. The sums are made on the CPU in float64, and only what is not 0 goes
    to the device.

    Args:
        distances: of the queries to the gallery, before re-ranking.
        features: theirs (Q + G, D), the queries first; not kept.
        metric: metric of the neighbours, "cosine" or "euclidean".
        k1, k2: see :func:`encode`.
        lambda_value: share of the distances before re-ranking, from 0 to 1.
        memory_mb, search: see :func:`encode`.

    Raises:
        EvaluationError: a feature that is not finite.
        ValueError: shapes that do not fit, another metric, or a value out of range.
    """

    def __init__(
        self,
        distances: Rows,
        features: Tensor,
        metric: str = "cosine",
        k1: int = 20,
        k2: int = 6,
        lambda_value: float = 0.3,
        memory_mb: float = 256,
        search: Search = nearest,
    ):
        queries = distances.shape[0]
        if sum(distances.shape) != len(features):
            raise ValueError(f"distances of shape {tuple(distances.shape)} are not of {len(features)} features")
        if not 0 <= lambda_value <= 1:
            raise ConfigError(f"lambda must be from 0 to 1, not {lambda_value}")
        self.distances, self.lambda_value = distances, lambda_value
        self.shape, self.device = distances.shape, distances.device
        self.width, fixed_mb = width_and_fixed_mb(distances)
        self.one = torch.ones((), device=self.device)
        weights = encode(features, k1, k2, metric, memory_mb, search)
        self.weights = weights[:queries]
        self.holders = weights[queries:].T.tocsr()  # image -> gallery images with a weight of it: (N, G)
        self.lengths = np.diff(self.holders.indptr)
        row = np.concatenate([[0], np.cumsum(self.lengths[self.weights.indices], dtype=np.int64)])
        self.pairs = row[self.weights.indptr]  # (Q + 1,) summands of all queries before one
        self.summed_at_once = int(sums_mb(memory_mb) * 2**20 // PAIR_BYTES)
        self.fixed_mb = fixed_mb + min(self.summed_at_once, int(self.pairs[-1])) * PAIR_BYTES / 2**20

    @torch.no_grad()
    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """See :meth:`Rows.rows`."""
        # lambda d + (1 - lambda) (1 - m / (2 - m)): first as if m were 0, which it nearly always is.
        out = self.distances.rows(start, stop, out).lerp_(self.one, 1 - self.lambda_value)
        first = start
        while first < stop:
            # At least one query, however many summands it has (at most the number of gallery weights).
            last = int(np.searchsorted(self.pairs, self.pairs[first] + self.summed_at_once, side="right")) - 1
            last = min(max(last, first + 1), stop)
            overlap = self._overlaps(first, last)
            # Rounding must not make m more than 1.
            gain = (1 - self.lambda_value) * np.minimum(overlap.data / (2 - overlap.data), 1)
            row, column = (torch.from_numpy(i.astype(np.int64)).to(self.device) for i in (overlap.row, overlap.col))
            out[row + (first - start), column] -= torch.from_numpy(gain).to(self.device, torch.float32)
            first = last
        return out

    def _overlaps(self, start: int, stop: int) -> coo_array:
        """Return m of some queries, counted from ``start``, and all gallery images, each pair once."""
        weights, holders = self.weights, self.holders
        entries = slice(weights.indptr[start], weights.indptr[stop])
        images = weights.indices[entries]
        counts = self.lengths[images]
        rows = np.repeat(np.arange(stop - start), np.diff(weights.indptr[start : stop + 1]))
        # Indices in ``holders`` of all gallery images that hold each entry's image, one entry after the other.
        entry = np.arange(counts.sum()) + np.repeat(holders.indptr[images] - (np.cumsum(counts) - counts), counts)
        smaller = np.minimum(np.repeat(weights.data[entries], counts), holders.data[entry])
        where = np.repeat(rows, counts), holders.indices[entry]
        sums = coo_array((smaller.astype(np.float64), where), shape=(stop - start, self.shape[1]))
        return sums.tocsr().tocoo()  # adds up what has the same index


def sums_mb(memory_mb: float) -> float:
    """Return the memory, in MB, for the summands of the smaller weights, of all that re-ranking may take."""
    return min(PAIRS * PAIR_BYTES / 2**20, memory_mb / SHARE)
