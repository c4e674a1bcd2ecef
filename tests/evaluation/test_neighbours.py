"""Exact neighbours: against a naive sort in float64, with ties, for every way that the selection takes."""

import numpy as np
import pytest
import torch

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.distances import MatrixRows
from fastreid_ext.evaluation.neighbours import nearest, nearest_of, smallest


def naive(query, gallery, k, metric):
    """Distances and places by a stable sort of all of them in float64."""
    query, gallery = (np.asarray(part.cpu(), dtype=np.float64) for part in (query, gallery))
    if metric == "cosine":
        query, gallery = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (query, gallery))
        distances = 1 - query @ gallery.T
    else:
        distances = np.square(query[:, None] - gallery[None]).sum(2)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, 1), order


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("count", "others", "k"), [(1, 1, 1), (3, 7, 7), (5, 40, 3), (4, 3001, 5), (9, 700, 20)])
def test_like_a_naive_sort(device, metric, count, others, k):
    query, gallery = torch.randn(count, 16, device=device), torch.randn(others, 16, device=device)
    kept = query.clone(), gallery.clone()
    distances, places = nearest(query, gallery, k, metric)
    expected, order = naive(query, gallery, k, metric)
    np.testing.assert_allclose(distances.cpu(), expected, atol=2e-5)
    np.testing.assert_array_equal(places.cpu(), order)
    assert distances.dtype == torch.float32 and places.dtype == torch.int64 and places.device == query.device
    assert torch.equal(query, kept[0]) and torch.equal(gallery, kept[1])


@pytest.mark.parametrize("memory_mb", [0, 0.05, 0.2, 64])
def test_blocks_change_nothing(device, memory_mb):
    """16 signs have the length 4: float32 is exact, so that every block size has the same bits; and they tie often."""
    query, gallery = (torch.randint(0, 2, (n, 16), device=device).float() * 2 - 1 for n in (23, 1500))
    distances, places = nearest(query, gallery, 5, "euclidean", memory_mb)
    expected, order = naive(query, gallery, 5, "euclidean")
    np.testing.assert_array_equal(distances.cpu(), expected)
    np.testing.assert_array_equal(places.cpu(), order)


@pytest.mark.parametrize("levels", [1, 2, 5, 50, 1000, 100_000])
@pytest.mark.parametrize(("n", "k"), [(64, 64), (641, 2), (1000, 1), (1024, 3), (5003, 19)])
def test_ties_keep_the_order_of_columns(device, levels, n, k):
    """From all equal (whole rows are sorted) to hardly any tie (groups are singled out)."""
    values = torch.randint(0, levels, (13, n), device=device).float()
    values[3] = values[3].sort().values
    values[4] = values[4].sort(descending=True).values
    values[5, -n // 3 :] = -1  # the smallest are all at the end
    found, places = smallest(values, k)
    order = np.argsort(values.cpu().numpy(), axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(places.cpu(), order)
    assert torch.equal(found, values.gather(1, places))


def test_infinite_distances_come_last():
    values = torch.full((2, 600), float("inf"))
    values[0, 599], values[1, 3] = 1, 2
    found, places = smallest(values, 3)
    assert places.tolist() == [[599, 0, 1], [3, 0, 1]] and found[:, 0].tolist() == [1, 2]


def test_half_features_and_a_matrix():
    query, gallery = torch.randn(4, 8).half(), torch.randn(30, 8).half()
    expected = naive(query, gallery, 6, "cosine")[1]
    np.testing.assert_array_equal(nearest(query, gallery, 6)[1], expected)
    matrix = torch.rand(4, 30)
    assert torch.equal(nearest_of(MatrixRows(matrix), 6)[0], matrix.sort(dim=1).values[:, :6])


def test_no_queries():
    distances, places = nearest(torch.zeros(0, 8), torch.randn(5, 8), 2)
    assert distances.shape == places.shape == (0, 2)


@pytest.mark.parametrize("k", [0, 6, -1])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match=f"k must be from 1 to the 5 gallery images, not {k}"):
        nearest(torch.ones(2, 3), torch.ones(5, 3), k)


def test_a_feature_that_is_none():
    gallery = torch.ones(5, 3)
    gallery[4, 0] = float("nan")
    with pytest.raises(EvaluationError, match="gallery row 4"):
        nearest(torch.ones(2, 3), gallery, 1)
