"""Indexes of a feature store: flat (exact), HNSW and IVF-PQ, with parameters that follow from the gallery's size.

Cosine distance is searched as the inner product of features of length one, Euclidean distance as it is.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from fastreid_ext.errors import ConfigError
from fastreid_ext.search.features import FeatureStore
from fastreid_ext.search.kinds import BUILD, NAMES, SEARCH

# faiss' own rule: k-means wants 39 points a centroid and gains nothing from more than 256
FEW, MANY = 39, 256
LEAST_IVFPQ = 64
MOST_TRAINING_ROWS = 1_000_000


@dataclass(frozen=True)
class Plan:
    """How an index is built and searched.

    Attributes:
        kind: "flat", "hnsw" or "ivfpq".
        build: parameters named in ``BUILD``.
        search: parameters named in ``SEARCH``.
        notes: sentences on values that the gallery's size forced.
    """

    kind: str
    build: Mapping[str, int]
    search: Mapping[str, int]
    notes: tuple[str, ...] = ()


def plan_index(kind: str, count: int, dim: int, wanted: Mapping[str, int] | None = None, fetched: int = 10) -> Plan:
    """Choose the parameters of an index.

    Args:
        kind: "flat", "hnsw" or "ivfpq".
        count, dim: size of the gallery and length of a feature.
        wanted: parameters that the user gave; they stay as they are.
        fetched: how many images a search takes out of the index; HNSW has to look at so many at least.

    Raises:
        ConfigError: a parameter that the index does not have or can't have here, or too few images for it.
    """
    wanted = dict(wanted or {})
    known = (*BUILD[kind], *SEARCH[kind])
    foreign = sorted(set(wanted) - set(known))
    if foreign:
        options = ", ".join(known) or "no parameters"
        raise ConfigError(f"the {NAMES[kind]} index has no {' and no '.join(foreign)}; it has {options}")
    small = sorted(name for name, value in wanted.items() if value < 1)
    if small:
        raise ConfigError(f"{small[0]} is {wanted[small[0]]} and must be 1 or more")
    if kind == "flat":
        return Plan(kind, {}, {})
    if kind == "hnsw":
        if wanted.get("m", 2) < 2:
            raise ConfigError("m is 1: an image of an HNSW graph needs two neighbours or more")
        build = {"m": wanted.get("m", 32), "ef_construction": wanted.get("ef_construction", 200)}
        return Plan(kind, build, {"ef_search": wanted.get("ef_search", max(64, 2 * fetched))})
    return _plan_ivfpq(count, dim, wanted)


def _plan_ivfpq(count: int, dim: int, wanted: Mapping[str, int]) -> Plan:
    if count < LEAST_IVFPQ:
        raise ConfigError(
            f"{count} images are too few to train IVF-PQ, which needs {LEAST_IVFPQ}: --index flat is exact and, at that"
            " size, instant"
        )
    notes = []
    # about four times the root of the gallery's size, so long as each list's centroid has images to learn from
    nlist = wanted.get("nlist", max(1, min(round(4 * count**0.5), count // FEW)))
    bits = wanted.get("pq_bits", next((b for b in (8, 7, 6, 5) if count >= FEW << b), 4))
    m = wanted.get("pq_m", _sub_vectors(dim))
    if dim % m:
        raise ConfigError(f"pq_m is {m} and must divide the features' length {dim}")
    if bits > 16 or max(nlist, 1 << bits) > count:
        raise ConfigError(f"nlist {nlist} and 2^pq_bits ({bits}) must not be above the {count} images of the gallery")
    if "pq_bits" not in wanted and bits < 8:
        notes.append(f"{count} images train codes of {bits} bits instead of 8, which need {FEW << 8}")
    if count < FEW << bits:
        notes.append(f"{count} images are few for {1 << bits} centroids a code, which need {FEW << bits}")
    if count < FEW * nlist:
        notes.append(f"{count} images are few for {nlist} lists, which need {FEW * nlist}")
    build = {"nlist": nlist, "pq_m": m, "pq_bits": bits}
    return Plan("ivfpq", build, {"nprobe": min(nlist, wanted.get("nprobe", max(8, nlist // 16)))}, tuple(notes))


def _sub_vectors(dim: int) -> int:
    """Return how many pieces a feature is cut into: of eight numbers each, or the nearest that divide its length."""
    return next(m for m in range(max(1, dim // 8), 0, -1) if dim % m == 0)


def build_index(store: FeatureStore, plan: Plan, seed: int = 0, threads: int = 1) -> faiss.Index:
    """Build an index of all features of a store, some 64 MB of them at a time.

    Args:
        store: the gallery.
        plan: of :func:`plan_index`.
        seed: of the training (IVF-PQ).
        threads: with more than one, HNSW is faster to build and another graph every time.
    """
    with omp_threads(threads):
        index = empty_index(store.features.shape[1], plan.kind, plan.build, store.metric)
        if plan.kind == "hnsw":
            index.hnsw.efConstruction = plan.build["ef_construction"]
        elif plan.kind == "ivfpq":
            nlist, _, bits = (plan.build[name] for name in BUILD["ivfpq"])
            for clustering in (index.cp, index.pq.cp):
                clustering.seed = seed
                clustering.min_points_per_centroid = 1  # the plan says what is few; faiss would print it again
            index.train(_training_rows(store, max(nlist, 1 << bits), seed))
        for _, rows in store.blocks():
            index.add(as_searched(rows, store.metric))
    return index


def empty_index(dim: int, kind: str, build: Mapping[str, int], metric: str) -> faiss.Index:
    """Return an index without features; one of IVF-PQ is not trained.

    Args:
        dim: length of a feature.
        kind, build: as :class:`Plan` has them.
        metric: "cosine" or "euclidean".
    """
    product = metric == "cosine"
    measure = faiss.METRIC_INNER_PRODUCT if product else faiss.METRIC_L2
    if kind == "hnsw":
        return faiss.IndexHNSWFlat(dim, build["m"], measure)
    flat = faiss.IndexFlatIP(dim) if product else faiss.IndexFlatL2(dim)
    if kind == "flat":
        return flat
    return faiss.IndexIVFPQ(flat, dim, *(build[name] for name in BUILD["ivfpq"]), measure)


def _training_rows(store: FeatureStore, centroids: int, seed: int) -> np.ndarray:
    most = min(MANY * centroids, MOST_TRAINING_ROWS)
    rows = np.arange(len(store))
    if len(store) > most:
        rows = np.sort(np.random.RandomState(seed).choice(len(store), most, replace=False))
    return as_searched(np.asarray(store.features[rows], dtype=np.float32), store.metric)


def as_searched(features: np.ndarray, metric: str) -> np.ndarray:
    """Return features (N, D) as float32 the way an index takes them: for cosine distance, of length one."""
    features = np.ascontiguousarray(features, dtype=np.float32)
    if metric != "cosine":
        return features
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.float32(1e-12))


def set_search(index: faiss.Index, plan: Plan) -> None:
    """Set the search parameters of the index, which trade time for recall."""
    if plan.kind == "hnsw":
        index.hnsw.efSearch = plan.search["ef_search"]
    elif plan.kind == "ivfpq":
        index.nprobe = plan.search["nprobe"]


def describe(plan: Plan, metric: str) -> str:
    """Return a title for the order of an index: "order by IVF-PQ (approximate, nprobe 8), cosine distance"."""
    distance = {"cosine": "cosine", "euclidean": "Euclidean"}[metric] + " distance"
    if plan.kind == "flat":
        return f"exact order, {distance}"
    effort = ", ".join(f"{name} {value}" for name, value in plan.search.items())
    return f"order by {NAMES[plan.kind]} (approximate, {effort}), {distance}"


@contextmanager
def omp_threads(threads: int) -> Any:
    """Let faiss use so many threads for a while."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
