"""What an index has beyond the features, as plain arrays, and the index made of such arrays.

faiss reads its own files without a defence: a length or a neighbour that a file claims is an address it goes to. So
faiss reads no file here. Of HNSW the graph is kept, of IVF-PQ centroids, codebooks and codes; the vectors are the
store's. Every number is checked before faiss gets it.
"""

from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np

from fastreid_ext.search.features import FeatureStore
from fastreid_ext.search.index import as_searched, empty_index

# kind -> name of an array -> NumPy's letters of its kind; a flat index is its features
KINDS = {
    "flat": {},
    "hnsw": {"levels": "i", "neighbours": "i", "entry": "i"},
    "ivfpq": {"centroids": "f", "codebooks": "f", "sizes": "i", "rows": "i", "codes": "u"},
}


class IndexArraysError(ValueError):
    """Arrays that no index of these features has."""


def arrays_of(index: faiss.Index, kind: str) -> dict[str, np.ndarray]:
    """Return the arrays named in ``KINDS`` of an index that was built here."""
    if kind == "flat":
        return {}
    if kind == "hnsw":
        graph = index.hnsw
        return {
            "levels": faiss.vector_to_array(graph.levels),
            "neighbours": _view(graph.neighbors.data(), graph.neighbors.size()).copy(),
            "entry": np.array([graph.entry_point], dtype=np.int64),
        }
    lists, width = index.invlists, index.code_size
    sizes = np.array([lists.list_size(number) for number in range(index.nlist)], dtype=np.int64)
    rows, codes = [np.empty(0, np.int64)], [np.empty((0, width), np.uint8)]
    for number, size in enumerate(sizes.tolist()):
        if size:
            rows.append(_view(lists.get_ids(number), size).copy())
            codes.append(_view(lists.get_codes(number), size * width).reshape(size, width).copy())
    return {
        "centroids": index.quantizer.reconstruct_n(0, index.nlist),
        "codebooks": faiss.vector_to_array(index.pq.centroids).reshape(index.pq.M, index.pq.ksub, index.pq.dsub),
        "sizes": sizes,
        "rows": np.concatenate(rows),
        "codes": np.concatenate(codes),
    }


def index_of(arrays: Mapping[str, np.ndarray], store: FeatureStore, kind: str, build: Mapping[str, int]) -> faiss.Index:
    """Return the index that was built of a store.

    Args:
        arrays: of :func:`arrays_of`, from a file.
        store: the gallery.
        kind: "hnsw" or "ivfpq".
        build: the parameters that it was built with, from a file.

    Raises:
        IndexArraysError: they do not fit each other, or these features.
    """
    return {"hnsw": _hnsw, "ivfpq": _ivfpq}[kind](arrays, store, build)


def _hnsw(arrays: Mapping[str, np.ndarray], store: FeatureStore, build: Mapping[str, int]) -> faiss.Index:
    count, m = len(store), build["m"]
    levels, neighbours, entry = arrays["levels"], arrays["neighbours"], arrays["entry"]
    _need(levels.shape == (count,) and neighbours.ndim == 1 and entry.shape == (1,), "shapes")
    _need(m >= 2 and 2 * m * count <= len(neighbours), "number of neighbours")  # before faiss makes anything so large
    index = empty_index(store.features.shape[1], "hnsw", build, store.metric)
    graph = index.hnsw
    most = graph.cum_nneighbor_per_level.size() - 1
    _need(levels.min() >= 1 and levels.max() <= most, "levels")
    slots = np.array([graph.cum_nb_neighbors(level) for level in range(most + 1)], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(slots[levels])])
    _need(starts[-1] == len(neighbours), "number of neighbours")
    _need(neighbours.min() >= -1 and neighbours.max() < count, "neighbours")
    for level in range(1, int(levels.max())):  # a neighbour on a level has neighbours on it itself
        with_level = np.flatnonzero(levels > level)
        place = starts[with_level][:, None] + np.arange(slots[level], slots[level + 1])
        there = neighbours[place]
        _need((levels[there[there >= 0]] > level).all(), "neighbours")
    first = int(entry[0])
    _need(0 <= first < count and levels[first] == levels.max(), "entry")
    for _, rows in store.blocks():
        index.storage.add(as_searched(rows, store.metric))
    index.ntotal = count
    faiss.copy_array_to_vector(levels.astype(np.int32), graph.levels)
    graph.prepare_level_tab(count, True)
    _view(graph.neighbors.data(), graph.neighbors.size())[:] = neighbours
    graph.entry_point, graph.max_level = first, int(levels.max()) - 1
    return index


def _ivfpq(arrays: Mapping[str, np.ndarray], store: FeatureStore, build: Mapping[str, int]) -> faiss.Index:
    (count, dim), (nlist, m, bits) = store.features.shape, (build[name] for name in ("nlist", "pq_m", "pq_bits"))
    centroids, codebooks, sizes, rows, codes = (arrays[name] for name in KINDS["ivfpq"])
    possible = 1 <= nlist <= count and 1 <= m <= dim and dim % m == 0 and 1 <= bits <= 16
    _need(possible, "parameters")
    width = (m * bits + 7) // 8
    shapes = (nlist, dim), (m, 1 << bits, dim // m), (nlist,), (count,), (count, width)
    _need(tuple(array.shape for array in (centroids, codebooks, sizes, rows, codes)) == shapes, "shapes")
    _need(codes.dtype == np.uint8 and np.isfinite(centroids).all() and np.isfinite(codebooks).all(), "values")
    _need((sizes >= 0).all() and (sizes <= count).all() and sizes.sum() == count, "sizes of the lists")
    _need(np.array_equal(np.sort(rows), np.arange(count)), "rows")
    index = empty_index(dim, "ivfpq", build, store.metric)
    index.quantizer.add(np.ascontiguousarray(centroids, dtype=np.float32))
    faiss.copy_array_to_vector(np.ascontiguousarray(codebooks, dtype=np.float32).reshape(-1), index.pq.centroids)
    index.is_trained = True
    index.precompute_table()
    rows, codes = np.ascontiguousarray(rows, dtype=np.int64), np.ascontiguousarray(codes)
    ends = np.cumsum(sizes)
    for number, (start, end) in enumerate(zip(ends - sizes, ends, strict=True)):
        if end > start:
            ids, content = faiss.swig_ptr(rows[start:end]), faiss.swig_ptr(codes[start:end])
            index.invlists.add_entries(number, int(end - start), ids, content)
    index.ntotal = count
    return index


def _view(pointer: Any, size: int) -> np.ndarray:
    return faiss.rev_swig_ptr(pointer, size)


def _need(right: bool, what: str) -> None:
    if not right:
        raise IndexArraysError(f"{what} that do not fit")
