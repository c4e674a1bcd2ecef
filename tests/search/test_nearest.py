"""What a search returns, against a search in float64 by loops."""

import numpy as np
import pytest

from fastreid_ext.search.index import build_index, plan_index
from fastreid_ext.search.nearest import (
    Neighbours,
    exact_candidates,
    neighbours,
    rank_shares,
    recall,
    same_camera_rows,
    same_person,
    true_distances,
)

METRICS = ("cosine", "euclidean")


def distance(a, b, metric):
    """One distance in float64, from its definition."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if metric == "euclidean":
        return float(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    return 1 - float(a @ b) / (float(a @ a) ** 0.5 * float(b @ b) ** 0.5)


def naive(queries, gallery, metric, topk, dropped=None):
    """(rows, distances) of the nearest images of each query, by loops."""
    lists = []
    for n, query in enumerate(queries):
        pairs = [(distance(query, g, metric), place) for place, g in enumerate(gallery)]
        if dropped is not None:
            pairs = [pair for pair in pairs if pair[1] not in set(dropped[n].tolist())]
        lists.append(sorted(pairs)[:topk])
    return lists


@pytest.fixture
def data():
    rng = np.random.RandomState(2)
    return rng.randn(200, 12).astype(np.float32), rng.randn(9, 12).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [None, "flat"])
@pytest.mark.parametrize("rows", [1000, 7])
def test_exact_search(data, make_store, metric, kind, rows, monkeypatch):
    monkeypatch.setattr("fastreid_ext.search.features.BLOCK_BYTES", 4 * 12 * rows)
    gallery, queries = data
    store = make_store(gallery, metric)
    index = None if kind is None else build_index(store, plan_index(kind, *gallery.shape))
    found = neighbours(store, queries, 6, index)
    for n, pairs in enumerate(naive(queries, gallery, metric, 6)):
        assert found.indices[n].tolist() == [place for _, place in pairs]
        np.testing.assert_allclose(found.distances[n], [d for d, _ in pairs], atol=1e-12)


@pytest.mark.parametrize("kind", [None, "flat"])
def test_equal_distances_keep_the_gallerys_order(make_store, kind):
    gallery = np.tile(np.eye(4, dtype=np.float32)[[1, 0, 2]], (5, 1))  # each image five times
    store = make_store(gallery)
    index = None if kind is None else build_index(store, plan_index(kind, *gallery.shape))
    found = neighbours(store, np.eye(4, dtype=np.float32)[:1], 5, index)
    assert found.indices.tolist() == [[1, 4, 7, 10, 13]] and found.distances.tolist() == [[0.0] * 5]


def test_an_approximate_index_gives_true_distances(data, make_store):
    gallery, queries = data
    store = make_store(gallery)
    plan = plan_index("ivfpq", *gallery.shape)
    found = neighbours(store, queries, 6, build_index(store, plan), candidates=40)
    for query, indices, distances in zip(queries, found.indices, found.distances, strict=True):
        np.testing.assert_allclose(distances, [distance(query, gallery[p], "cosine") for p in indices], atol=1e-12)
        assert (np.diff(distances) >= 0).all()
    exact = neighbours(store, queries, 6)
    assert (found.distances >= exact.distances - 1e-12).all()  # nothing is nearer than the nearest


def test_all_candidates_make_any_index_exact(data, make_store):
    gallery, queries = data
    store = make_store(gallery)
    index = build_index(store, plan_index("ivfpq", *gallery.shape))
    index.nprobe = index.nlist
    found, exact = neighbours(store, queries, 6, index, candidates=200), neighbours(store, queries, 6)
    np.testing.assert_array_equal(found.indices, exact.indices)
    assert recall(found, exact) == 1


@pytest.mark.parametrize("kind", [None, "flat", "hnsw"])
def test_the_same_cameras_images_are_replaced_by_further_ones(make_store, kind):
    rng = np.random.RandomState(3)
    gallery, queries = rng.randn(60, 8).astype(np.float32), rng.randn(4, 8).astype(np.float32)
    gallery[:40] += 4 * queries[0]  # forty images near the first query, all of its person and camera
    rows = [(f"{n}.jpg", "7" if n < 40 else "8", "1") for n in range(60)]
    labels = [("q.jpg", "7", "1"), ("r.jpg", "7", "2"), ("s.jpg", "8", "1"), ("t.jpg", "99", "1")]
    store = make_store(gallery, rows=rows)
    dropped = same_camera_rows(labels, rows)
    assert [len(d) for d in dropped] == [40, 0, 20, 0] and dropped[0].tolist() == list(range(40))
    index = None if kind is None else build_index(store, plan_index(kind, *gallery.shape))
    found = neighbours(store, queries, 5, index, dropped=dropped)
    for n, pairs in enumerate(naive(queries, gallery, "cosine", 5, dropped)):
        assert found.indices[n].tolist() == [place for _, place in pairs]


def test_fewer_images_than_asked_for(data, make_store):
    gallery, queries = data
    store = make_store(gallery[:4])
    dropped = [np.array([0, 1]), np.array([0, 1, 2, 3])]
    found = neighbours(store, queries[:2], 10, dropped=dropped)
    assert sorted(found.indices[0, :2].tolist()) == [2, 3] and (found.indices[0, 2:] == -1).all()
    assert (found.indices[1] == -1).all() and np.isinf(found.distances[1]).all()
    assert exact_candidates(store.features, queries[:2], "cosine", 10).shape == (2, 4)


def test_a_feature_of_zeros_has_a_distance():
    assert true_distances(np.zeros(3), np.eye(3), "cosine").tolist() == [1, 1, 1]


def test_unknown_labels_can_not_be_left_out():
    with pytest.raises(ValueError, match="the person or the camera of a.jpg is not known"):
        same_camera_rows([("a.jpg", "", "1")], [])


def lists(rows):
    rows = np.array(rows)
    return Neighbours(rows, np.zeros(rows.shape))


def test_recall_by_hand():
    exact = lists([[1, 2, 3, 4], [5, 6, -1, -1], [-1, -1, -1, -1]])
    assert recall(lists([[4, 9, 2, 8], [6, 5, -1, -1], [-1, -1, -1, -1]]), exact) == pytest.approx((0.5 + 1) / 2)
    assert recall(lists([[9, 9, 9, 9], [9, 5, -1, -1], [0, 0, 0, 0]]), exact) == pytest.approx((0 + 0.5) / 2)
    with pytest.raises(ValueError, match="nothing was to be found"):
        recall(lists([[1]]), lists([[-1]]))


def test_same_person_and_ranks_by_hand():
    gallery = [("0", "a", "1"), ("1", "a", "2"), ("2", "b", "1"), ("3", "", "1")]
    queries = [("q", "a", "1"), ("r", "b", "1"), ("s", "", "1"), ("t", "c", "1")]
    same = same_person(queries, gallery, np.array([[2, 0, 3], [2, 1, -1], [0, 1, 2], [0, 1, 2]]))
    assert same == [[False, True, None], [True, False], [None] * 3, [False] * 3]
    shares, count = rank_shares(queries, gallery, same, (1, 3))
    assert shares == {1: 50.0, 3: 100.0} and count == 2  # c is not in the gallery, s has no label
    dropped = same_camera_rows([q for q in queries if q[1]], gallery)
    shares, count = rank_shares([q for q in queries if q[1]], gallery, [same[0], same[1], same[3]], (1,), dropped)
    assert count == 1 and shares == {1: 0.0}  # b is only there under the query's camera
    assert rank_shares(queries[2:], gallery, same[2:], (1,)) == ({}, 0)
