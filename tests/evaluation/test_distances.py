"""Distances by rows: against loops in float64 and FastReID's matrix."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastreid.utils.compute_dist import build_dist

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation import distances
from fastreid_ext.evaluation.distances import DISTANCE_METRICS, DistanceRows, MatrixRows, full_float32


@pytest.fixture
def features():
    rng = torch.Generator().manual_seed(0)
    return 3 * torch.randn(11, 7, generator=rng), 5 * torch.randn(23, 7, generator=rng)


def naive(query, gallery, metric):
    query, gallery = (side.double().cpu().numpy() for side in (query, gallery))
    found = np.empty((len(query), len(gallery)))
    for i, a in enumerate(query):
        for j, b in enumerate(gallery):
            if metric == "cosine":
                found[i, j] = 1 - (a @ b) / max(np.sqrt(a @ a), 1e-12) / max(np.sqrt(b @ b), 1e-12)
            else:
                found[i, j] = ((a - b) ** 2).sum()
    return found


def whole(rows, step):
    starts = range(0, rows.shape[0], step)
    return torch.cat([rows.rows(start, min(start + step, rows.shape[0])) for start in starts])


@pytest.mark.parametrize("metric", DISTANCE_METRICS)
@pytest.mark.parametrize("step", [1, 4, 11])
def test_naive_reference(features, metric, step, device):
    query, gallery = (side.to(device) for side in features)
    rows = DistanceRows(query, gallery, metric)
    assert rows.shape == (11, 23) and rows.device.type == device
    found = whole(rows, step)
    assert found.dtype == torch.float32 and found.device.type == device
    np.testing.assert_allclose(found.cpu(), naive(*features, metric), rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("metric", DISTANCE_METRICS)
def test_the_hosts_distances(features, metric):
    np.testing.assert_allclose(whole(DistanceRows(*features, metric), 4), build_dist(*features, metric), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("metric", DISTANCE_METRICS)
def test_other_types_become_float32_in_chunks(features, metric, dtype, monkeypatch):
    monkeypatch.setattr(distances, "CHUNK_MB", 4 * 7 * 5 / 2**20)  # five rows: 23 is no multiple
    query, gallery = (side.to(dtype) for side in features)
    found = whole(DistanceRows(query, gallery, metric), 4)
    np.testing.assert_allclose(found, naive(query, gallery, metric), rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("metric", DISTANCE_METRICS)
def test_shared_memory_and_untouched_features(features, metric):
    before = [side.clone() for side in features]
    rows, out = DistanceRows(*features, metric), torch.full((4, 23), torch.nan)
    assert rows.rows(3, 7, out=out) is out
    assert torch.equal(out, rows.rows(3, 7))
    assert all(torch.equal(*pair) for pair in zip(features, before, strict=True))


def test_features_of_zeros():
    """The host divides zeros by 1e-12: they have the distance 1 to all, themselves too."""
    query = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    assert DistanceRows(query, query).rows(0, 2).tolist() == [[1, 1], [1, 0]]
    assert DistanceRows(query, query, "euclidean").rows(0, 2).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("metric", DISTANCE_METRICS)
def test_duplicates_have_equal_distances(metric):
    gallery = torch.randn(200, 64, generator=torch.Generator().manual_seed(1))
    found = DistanceRows(gallery[:9], torch.cat([gallery, gallery]), metric).rows(0, 9)
    assert torch.equal(found[:, :200], found[:, 200:])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38])
@pytest.mark.parametrize("side", [0, 1])
def test_features_that_are_no_numbers(features, side, value):
    features[side][6, 2] = value
    with pytest.raises(EvaluationError, match=f"{('query', 'gallery')[side]} row 6 has NaN"):
        DistanceRows(*features)


def test_many_wrong_features(features):
    features[0][:] = torch.nan
    with pytest.raises(EvaluationError, match="query row 0, query row 1, query row 2 and 8 more has NaN"):
        DistanceRows(*features)


def test_wrong_arguments(features):
    query, gallery = features
    with pytest.raises(ValueError, match="metric of .*'manhattan'"):
        DistanceRows(query, gallery, "manhattan")
    with pytest.raises(ValueError, match=r"\(11, 6\) and \(23, 7\)"):
        DistanceRows(query[:, 1:], gallery)
    with pytest.raises(ValueError, match="floating type"):
        DistanceRows(query.long(), gallery.long())


def test_a_matrix(features):
    matrix = build_dist(*features)
    rows, out = MatrixRows(matrix), torch.empty(4, 23)
    assert rows.shape == (11, 23)
    np.testing.assert_array_equal(rows.rows(3, 7, out=out), matrix[3:7])
    copy = rows.rows(3, 7)
    copy.zero_()
    assert matrix[3:7].any()


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_keep_float32(precision):
    """On a processor with bfloat16 units, and on CUDA, "medium" would lose 16 of 24 bits."""
    places = [getattr(backend, "matmul", None) for backend in (torch.backends.cuda, torch.backends.mkldnn)]
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        features = torch.randn(64, 128, generator=torch.Generator().manual_seed(2))
        found = DistanceRows(features, features).rows(0, 64)
        np.testing.assert_allclose(found, naive(features, features, "cosine"), atol=1e-6)
        with full_float32():
            if hasattr(places[0], "fp32_precision"):
                assert [place.fp32_precision for place in places] == ["ieee", "ieee"]
            else:
                assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)


def test_products_keep_float32_by_torch_2_8(monkeypatch):
    """It has no torch.backends.mkldnn.matmul, and one switch for all products."""
    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(torch, "backends", SimpleNamespace(cuda=SimpleNamespace(matmul=object()), mkldnn=object()))
    try:
        torch.set_float32_matmul_precision("medium")
        with full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
