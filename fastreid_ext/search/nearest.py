"""The nearest gallery images of every query: candidates from an index, ordered by their true distances."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import torch
from torch import Tensor

from fastreid_ext.data.labels import UNKNOWN
from fastreid_ext.errors import ConfigError, EvaluationError
from fastreid_ext.evaluation.distances import finite_lengths
from fastreid_ext.evaluation.gpu_index import gpu_count, search_on_gpu
from fastreid_ext.evaluation.neighbours import nearest
from fastreid_ext.search.features import FeatureStore, blocks_of
from fastreid_ext.search.image_list import ImageList
from fastreid_ext.search.index import as_searched, empty_index

QUERIES_AT_ONCE = 1024
MARGIN = 8  # candidates beyond what is asked for: float32 may exchange neighbours of nearly the same distance

Labels = Sequence[tuple[str, str, str]]  # path, person, camera of each image


@dataclass(frozen=True)
class Neighbours:
    """The nearest gallery images of Q queries, nearest first.

    Attributes:
        indices: (Q, k) rows of the gallery; -1 where no image is left.
        distances: (Q, k) float64: 1 - cosine, or the squared Euclidean distance, as in the evaluation; inf behind
            the last image.
    """

    indices: np.ndarray
    distances: np.ndarray


def index_candidates(index: faiss.Index, queries: np.ndarray, metric: str, count: int) -> np.ndarray:
    """Return the rows (Q, count) that an index finds for queries (Q, D); -1 where it finds fewer.

    It is searched on a GPU if faiss has one.
    """
    count = min(count, index.ntotal)
    if gpu_count() and (found := search_on_gpu(index, as_searched(queries, metric), count)):
        return found[1]
    blocks = [
        index.search(as_searched(queries[start : start + QUERIES_AT_ONCE], metric), count)[1]
        for start in range(0, len(queries), QUERIES_AT_ONCE)
    ]
    return np.concatenate(blocks)


def exact_candidates(gallery: np.ndarray, queries: np.ndarray, metric: str, count: int) -> np.ndarray:
    """Return the rows (Q, count) of the gallery (N, D) nearest to queries (Q, D), by looking at all of them.

    The gallery is read once, block by block; memory holds the queries, a block and Q x count numbers. The blocks are
    searched on a GPU if faiss has one.
    """
    count, queries = min(count, len(gallery)), torch.from_numpy(np.array(queries, dtype=np.float32))
    values = torch.empty(len(queries), 0)
    indices = torch.empty(len(queries), 0, dtype=torch.int64)
    for start, rows in blocks_of(gallery):
        distances, found = _nearest_in(queries, torch.from_numpy(rows), min(count, len(rows)), metric)
        values = torch.cat([values, distances], dim=1)
        indices = torch.cat([indices, found + start], dim=1)
        order = values.argsort(dim=1, stable=True)[:, :count]
        values, indices = values.gather(1, order), indices.gather(1, order)
    return indices.numpy()


def _nearest_in(queries: Tensor, rows: Tensor, count: int, metric: str) -> tuple[Tensor, Tensor]:
    """Do what :func:`nearest` does, on a GPU if faiss has one."""
    if gpu_count():
        finite_lengths(queries, "query")
        finite_lengths(rows, "gallery")
        flat = empty_index(rows.shape[1], "flat", {}, metric)
        flat.add(as_searched(rows.numpy(), metric))
        if found := search_on_gpu(flat, as_searched(queries.numpy(), metric), count):
            values, indices = map(torch.from_numpy, found)
            return 1 - values if metric == "cosine" else values, indices
    return nearest(queries, rows, count, metric)


def true_distances(query: np.ndarray, gallery: np.ndarray, metric: str) -> np.ndarray:
    """Return the distances (N,) of one query (D,) to gallery features (N, D), in float64."""
    query, gallery = query.astype(np.float64), gallery.astype(np.float64)
    if metric == "euclidean":
        return ((gallery - query) ** 2).sum(axis=1)
    lengths = np.linalg.norm(gallery, axis=1) * np.linalg.norm(query)
    return 1 - gallery @ query / np.maximum(lengths, 1e-12)


def order_candidates(
    candidates: np.ndarray,
    queries: np.ndarray,
    gallery: np.ndarray,
    metric: str,
    topk: int,
    dropped: Sequence[np.ndarray] | None = None,
) -> Neighbours:
    """Order the candidates of every query by their true distance; equal ones keep the gallery's order.

    Args:
        candidates: (Q, C) rows of the gallery, -1 = none.
        queries, gallery: (Q, D) and (N, D).
        metric: "cosine" or "euclidean".
        topk: how many are kept.
        dropped: of each query, the rows of the gallery that do not count.
    """
    indices = np.full((len(queries), topk), -1, dtype=np.int64)
    distances = np.full((len(queries), topk), np.inf)
    for n, row in enumerate(candidates):
        row = np.sort(row[row >= 0])
        if dropped is not None:
            row = row[~np.isin(row, dropped[n])]
        values = true_distances(queries[n], gallery[row], metric)
        order = np.argsort(values, kind="stable")[:topk]
        indices[n, : len(order)], distances[n, : len(order)] = row[order], values[order]
    return Neighbours(indices, distances)


def same_camera_rows(queries: Labels, gallery: Labels) -> list[np.ndarray]:
    """Return for each query the gallery images of its person under its camera, which the Market protocol leaves out.

    Raises:
        ConfigError, EvaluationError: a query whose person or camera is not known.
    """
    unknown = next((path for path, person, camera in queries if UNKNOWN in (person, camera)), None)
    if unknown is not None:
        raise ConfigError(f"the person or the camera of {unknown} is not known, so nothing can be left out for it")
    rows: dict[tuple[str, str], list[int]] = {}
    for index, (_, person, camera) in enumerate(gallery):
        rows.setdefault((person, camera), []).append(index)
    return [np.array(rows.get((person, camera), ()), dtype=np.int64) for _, person, camera in queries]


def own_rows(queries: ImageList, gallery: ImageList) -> list[np.ndarray]:
    """Return for each query the gallery images that have its own path."""
    rows: dict[str, list[int]] = {}
    for index in range(len(gallery.rows)):
        rows.setdefault(os.path.abspath(gallery.file(index)), []).append(index)
    paths = [os.path.abspath(queries.file(n)) for n in range(len(queries.rows))]
    return [np.array(rows.get(path, ()), dtype=np.int64) for path in paths]


def neighbours(
    store: FeatureStore,
    queries: np.ndarray,
    topk: int,
    index: faiss.Index | None = None,
    candidates: int = 0,
    dropped: Sequence[np.ndarray] | None = None,
) -> Neighbours:
    """Return the nearest images of a gallery.

    Args:
        store: the gallery.
        queries: (Q, D), as the model gave them.
        topk: how many of each.
        index: where candidates come from; None = exact, from all images.
        candidates: how many come from it at least.
        dropped: of each query, the rows of the gallery that do not count; so many more candidates are taken.
    """
    most_dropped = max((len(rows) for rows in dropped), default=0) if dropped is not None else 0
    count = max(topk + MARGIN, candidates) + most_dropped
    if index is None:
        found = exact_candidates(store.features, queries, store.metric, count)
    else:
        found = index_candidates(index, queries, store.metric, count)
    return order_candidates(found, queries, store.features, store.metric, topk, dropped)


def recall(found: Neighbours, exact: Neighbours) -> float:
    """Return the share of the exact nearest images that were found, averaged over the queries that have any.

    Raises:
        ConfigError, EvaluationError: no query has any.
    """
    shares = [
        np.isin(row[row >= 0], other).mean()
        for row, other in zip(exact.indices, found.indices, strict=True)
        if row[0] >= 0
    ]
    if not shares:
        raise EvaluationError("no query has an image left in the gallery, so nothing was to be found")
    return float(np.mean(shares))


def same_person(queries: Labels, gallery: Labels, indices: np.ndarray) -> list[list[bool | None]]:
    """Return for each query whether its neighbours (Q, k) show its person; None if either person is unknown."""
    return [
        [None if UNKNOWN in (person, gallery[index][1]) else person == gallery[index][1] for index in row if index >= 0]
        for (_, person, _), row in zip(queries, indices, strict=True)
    ]


def answerable(queries: Labels, gallery: Labels, dropped: Sequence[np.ndarray] | None = None) -> list[int]:
    """Return the queries whose person is known and has an image left in the gallery."""
    there = Counter(person for _, person, _ in gallery)

    def left(n: int, person: str) -> int:
        return there[person] - (0 if dropped is None else sum(gallery[row][1] == person for row in dropped[n]))

    return [n for n, (_, person, _) in enumerate(queries) if person != UNKNOWN and left(n, person) > 0]


def rank_shares(
    queries: Labels,
    gallery: Labels,
    same: Sequence[Sequence[bool | None]],
    ranks: Sequence[int],
    dropped: Sequence[np.ndarray] | None = None,
) -> tuple[dict[int, float], int]:
    """Return Rank-k in percent for some k, and over how many queries: those with their person in the gallery."""
    those = answerable(queries, gallery, dropped)
    if not those:
        return {}, 0
    return {k: 100 * float(np.mean([any(same[n][:k]) for n in those])) for k in ranks}, len(those)
