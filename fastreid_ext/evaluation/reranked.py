"""Re-ranked distances some rows at a time: what TEST.RERANK asks for, without a matrix of all images by all images."""

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.evaluation.distances import Rows
from fastreid_ext.evaluation.k_reciprocal import encode

ENTRIES = 2**21  # distances of queries to the gallery whose overlaps are summed at once
PAIRS = 2**20  # summands of them


class ReRankedRows:
    """k-reciprocal re-ranking of other distances; see :class:`Rows` and :mod:`k_reciprocal`.

    The Jaccard distance of two images is 1 - m / (2 - m), where m sums the smaller of their two weights over all
    images. m is above 0 for a few gallery images alone, those that an inverted index finds: for each image, the
    gallery images whose rows have a weight of it. The sums are made on the CPU in float64, and only what is not 0 goes
    to the device.

    Args:
        distances: of the queries to the gallery, before re-ranking.
        query, gallery: their features, (Q, D) and (G, D), on one device. They are copied once side by side while the
            neighbours are searched; the object keeps none of them.
        metric: what ranks the neighbours, "cosine" or "euclidean".
        k1, k2: see :func:`encode`.
        lambda_value: share of the distances before re-ranking, from 0 to 1.
        memory_mb: for a block of the neighbour search, in MiB.

    Raises:
        EvaluationError: a feature that is not finite.
        ValueError: shapes that do not fit, another metric, or a value out of range.
    """

    def __init__(
        self,
        distances: Rows,
        query: Tensor,
        gallery: Tensor,
        metric: str = "cosine",
        k1: int = 20,
        k2: int = 6,
        lambda_value: float = 0.3,
        memory_mb: float = 256,
    ):
        if tuple(distances.shape) != (len(query), len(gallery)):
            raise ValueError(
                f"distances of shape {tuple(distances.shape)} are not of {len(query)} queries to {len(gallery)} images"
            )
        if not 0 <= lambda_value <= 1:
            raise ValueError(f"lambda must be from 0 to 1, not {lambda_value}")
        self.distances, self.lambda_value = distances, lambda_value
        self.shape, self.device = distances.shape, distances.device
        weights = encode(torch.cat((query, gallery)), k1, k2, metric, memory_mb)
        self.weights = weights[: len(query)]
        self.holders = weights[len(query) :].T.tocsr()  # image -> gallery images with a weight of it: (N, G)
        self.lengths = np.diff(self.holders.indptr)
        row = np.concatenate([[0], np.cumsum(self.lengths[self.weights.indices], dtype=np.int64)])
        self.pairs = row[self.weights.indptr]  # (Q + 1,) summands of all queries before one

    @torch.no_grad()
    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """See :meth:`Rows.rows`."""
        out = self.distances.rows(start, stop, out).mul_(self.lambda_value).add_(1 - self.lambda_value)
        first = start
        while first < stop:
            last = int(np.searchsorted(self.pairs, self.pairs[first] + PAIRS, side="right")) - 1
            last = min(max(last, first + 1), first + max(1, ENTRIES // max(1, self.shape[1])), stop)
            row, column, overlap = self._overlaps(first, last)
            # (1 - lambda) (1 - m / (2 - m)), of which the 1 is there; rounding must not make m more than 1.
            gain = (1 - self.lambda_value) * np.minimum(overlap / (2 - overlap), 1)
            row, column = (torch.from_numpy(i).to(self.device) for i in (row + (first - start), column))
            out[row, column] -= torch.from_numpy(gain).to(self.device, torch.float32)
            first = last
        return out

    def _overlaps(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where some queries (counted from ``start``) and gallery images share weight, and how much."""
        weights, holders, width = self.weights, self.holders, self.shape[1]
        entries = slice(weights.indptr[start], weights.indptr[stop])
        images = weights.indices[entries]
        counts = self.lengths[images]
        rows = np.repeat(np.arange(stop - start, dtype=np.int64), np.diff(weights.indptr[start : stop + 1]))
        # Places in ``holders`` of all gallery images that hold each entry's image, one entry after the other.
        places = np.arange(counts.sum()) + np.repeat(holders.indptr[images] - (np.cumsum(counts) - counts), counts)
        keys = np.repeat(rows * width, counts) + holders.indices[places]
        smaller = np.minimum(np.repeat(weights.data[entries], counts), holders.data[places])
        sums = np.bincount(keys, smaller, minlength=1)
        found = np.flatnonzero(sums)
        return *np.divmod(found, width), sums[found]
