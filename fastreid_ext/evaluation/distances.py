"""Distances of queries to the gallery, some rows at a time; the full matrix is never in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.errors import EvaluationError

DISTANCE_METRICS = ("cosine", "euclidean")
CHUNK_MB = 32  # of what is made of the features at once
NAMED = 3  # rows that an error names


class Rows(Protocol):
    """Distances (Q, G) that are computed some rows at a time; smaller is nearer.

    Attributes:
        shape: (Q, G).
        device: where the rows are made.
    """

    shape: tuple[int, int]
    device: torch.device

    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """Return the distances (stop - start, G) of some queries in float32; the same numbers at every call.

        Args:
            start, stop: the first query, and the one after the last.
            out: (stop - start, G) float32 on the device; is written to and returned, so that blocks share memory.
        """
        ...


@runtime_checkable
class CountedRows(Rows, Protocol):
    """Rows that say what making them takes beyond the distances themselves; others are taken to need nothing.

    Attributes:
        width: D of the features; a row takes two copies of the query's in float32.
        fixed_mb: megabytes, however many rows are made at once.
    """

    width: int
    fixed_mb: float


def width_and_fixed_mb(distances: Rows) -> tuple[int, float]:
    """Return what :class:`CountedRows` say, and zeros for others."""
    return (distances.width, distances.fixed_mb) if isinstance(distances, CountedRows) else (0, 0.0)


class DistanceRows:
    """Distances of features as FastReID has them, from plain float32 products; see :class:`Rows`.

    The features are neither copied nor changed: the products are divided by the lengths. Half types are converted to
    float32 in chunks.

    Args:
        query, gallery: features (Q, D) and (G, D) of a floating type; the rows are made where the gallery is.
        metric: "cosine" for 1 - cosine, to which a feature of zeros has the distance 1, or "euclidean" for the square
            of the Euclidean distance.

    Raises:
        EvaluationError: a feature that is not finite, or too long for float32; names its row.
        ValueError: another metric, or shapes that do not fit.
    """

    def __init__(self, query: Tensor, gallery: Tensor, metric: str = "cosine"):
        if metric not in DISTANCE_METRICS:
            raise ValueError(f"expected a metric of {DISTANCE_METRICS}, got {metric!r}")
        if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
            raise ValueError(
                f"expected features (Q, D) and (G, D), got {tuple(query.shape)} and {tuple(gallery.shape)}"
            )
        if not (query.is_floating_point() and gallery.is_floating_point()):
            raise ValueError(f"expected features of a floating type, got {query.dtype} and {gallery.dtype}")
        self.query, self.gallery, self.metric = query.detach(), gallery.detach(), metric
        self.shape, self.device = (len(query), len(gallery)), gallery.device
        self.width, self.fixed_mb = query.shape[1], 0.0 if gallery.dtype == torch.float32 else CHUNK_MB
        self.lengths = tuple(finite_lengths(side, name) for side, name in ((query, "query"), (gallery, "gallery")))
        # The host's F.normalize divides by no less than 1e-12.
        self.scale = self.lengths[1].clamp_min(1e-12).reciprocal().neg_()
        self.one = torch.ones((), device=self.device)

    @torch.no_grad()
    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """See :meth:`Rows.rows`."""
        if out is None:
            out = torch.empty(stop - start, self.shape[1], device=self.device)
        query = self.query[start:stop].to(self.device, torch.float32)
        lengths = self.lengths[0][start:stop, None].to(self.device)
        if self.metric == "cosine":
            self._multiply(query / lengths.clamp_min(1e-12), out)
            return torch.addcmul(self.one, out, self.scale, out=out)
        self._multiply(query * -2, out)
        return out.add_(lengths.square()).add_(self.lengths[1].square())

    def _multiply(self, query: Tensor, out: Tensor) -> None:
        with full_float32():
            if self.gallery.dtype == torch.float32:
                torch.mm(query, self.gallery.T, out=out)
                return
            for chunk in chunks(self.gallery):
                torch.mm(query, self.gallery[chunk].float().T, out=out[:, chunk])


class MatrixRows:
    """A distance matrix that is there already, as :class:`Rows`.

    Args:
        matrix: (Q, G) of a floating type; read, never written to.
    """

    def __init__(self, matrix: np.ndarray | Tensor):
        self.matrix = torch.as_tensor(matrix)
        self.shape, self.device = tuple(self.matrix.shape), self.matrix.device

    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """See :meth:`Rows.rows`."""
        if out is None:
            return self.matrix[start:stop].to(torch.float32, copy=True)
        return out.copy_(self.matrix[start:stop])


@torch.no_grad()
def finite_lengths(features: Tensor, name: str) -> Tensor:
    """Return the Euclidean length of every row (N,) in float32.

    Args:
        features: (N, D), of any floating type.
        name: what the rows are, for the error.

    Raises:
        EvaluationError: a length that is not finite.
    """
    lengths = lengths_of(features)
    wrong = (~lengths.isfinite()).nonzero()[:, 0].tolist()
    if wrong:
        raise EvaluationError(unusable([f"{name} row {row}" for row in wrong]))
    return lengths


def lengths_of(features: Tensor) -> Tensor:
    """Return the Euclidean length (N,) of every row in float32; half types are made float32 in chunks."""
    lengths = features.new_empty(len(features), dtype=torch.float32)
    for chunk in chunks(features):
        lengths[chunk] = torch.linalg.vector_norm(features[chunk].float(), dim=1)
    return lengths


def unusable(names: list[str]) -> str:
    """Return the message about features that are not finite."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"the feature of {', '.join(names[:NAMED])}{more} has NaN, inf or too large numbers, so it has no distance"
        " to others: the weights are from a diverged run, or the image is broken"
    )


def chunks(features: Tensor) -> Iterator[slice]:
    """Yield slices over the rows of features (N, D), of CHUNK_MB in float32 each."""
    step = max(1, int(CHUNK_MB * 2**20) // (4 * max(1, features.shape[1])))
    for start in range(0, len(features), step):
        yield slice(start, min(start + step, len(features)))


@contextmanager
def full_float32() -> Iterator[None]:
    """Let matrix products of float32 keep all its bits, whatever the process has chosen (TF32, bfloat16)."""
    backends = [getattr(backend, "matmul", None) for backend in (torch.backends.cuda, torch.backends.mkldnn)]
    # From torch 2.9 on, where the two ways must not be mixed; torch 2.8 has no mkldnn.matmul.
    if all(hasattr(backend, "fp32_precision") for backend in backends):
        chosen = [backend.fp32_precision for backend in backends]
        try:
            for backend in backends:
                backend.fp32_precision = "ieee"
            yield
        finally:
            for backend, precision in zip(backends, chosen, strict=True):
                backend.fp32_precision = precision
    else:
        chosen = torch.get_float32_matmul_precision()
        try:
            torch.set_float32_matmul_precision("highest")
            yield
        finally:
            torch.set_float32_matmul_precision(chosen)
