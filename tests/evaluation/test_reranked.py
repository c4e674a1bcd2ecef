"""Sparse re-ranking: against FastReID's dense one, and against a naive one in float64 written from the paper."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastreid.utils.compute_dist import build_dist

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation import reranked
from fastreid_ext.evaluation.distances import DistanceRows, MatrixRows
from fastreid_ext.evaluation.k_reciprocal import encode
from fastreid_ext.evaluation.reranked import ReRankedRows

CASES = [  # queries, gallery, k1, k2
    (30, 170, 20, 6),
    (30, 170, 20, 1),
    (17, 83, 7, 3),  # k1 / 2 = 3.5 is rounded to 4
    (17, 83, 5, 2),  # k1 / 2 = 2.5 is rounded to 2
    (12, 60, 1, 1),
    (12, 60, 3, 8),  # k2 > k1
    (6, 9, 20, 6),  # k1 > N
    (6, 9, 40, 30),  # k2 > N
    (1, 90, 20, 6),
    (1, 1, 20, 6),
    (1, 2, 2, 2),
]


def crowd(count, seed=0, spread=0.5, dim=24):
    """Unit features of people who are seen about six times: no two distances of an image are near each other."""
    generator = torch.Generator().manual_seed(seed)
    people = torch.randn(max(1, count // 6), dim, generator=generator)
    who = torch.randint(0, len(people), (count,), generator=generator)
    return F.normalize(people[who] + spread * torch.randn(count, dim, generator=generator))


def host(query, gallery, k1, k2, lambda_value, metric):
    """The lines of the evaluator that re-rank, with FastReID's dense function."""
    distances = build_dist(query, gallery, metric)
    if metric == "cosine":
        query, gallery = F.normalize(query, dim=1), F.normalize(gallery, dim=1)
    jaccard = build_dist(query, gallery, metric="jaccard", k1=k1, k2=k2)
    return jaccard * (1 - lambda_value) + distances * lambda_value


def naive_jaccard(features, queries, k1, k2):
    """Eq. (2) to (11) with Python sets, in float64, with FastReID's variants."""
    x = np.asarray(features, dtype=np.float64)
    squares = np.square(x[:, None] - x[None]).sum(2)
    count = len(x)
    k1 = min(k1, count)
    near = np.argsort(squares, axis=1, kind="stable")[:, :k1].tolist()

    def reciprocal(i, k):
        return {j for j in near[i][: k + 1] if i in near[j][: k + 1]}

    weights = np.zeros((count, count))
    for i in range(count):
        own = reciprocal(i, k1)
        grown = set(own)
        for candidate in own:
            theirs = reciprocal(candidate, round(k1 / 2))
            if 3 * len(theirs & own) > 2 * len(theirs):
                grown |= theirs
        total = sum(np.exp(-squares[i, j]) for j in grown)
        for j in grown:
            weights[i, j] = np.exp(-squares[i, j]) / total
    if k2 > 1:
        weights = np.array([np.mean([weights[j] for j in near[i][:k2]], axis=0) for i in range(count)])
    jaccard = np.zeros((queries, count - queries))
    for i in range(queries):
        for g in range(count - queries):
            overlap = sum(min(a, b) for a, b in zip(weights[i], weights[queries + g], strict=True))
            jaccard[i, g] = 1 - overlap / (2 - overlap)
    return jaccard, weights


def ours(query, gallery, k1, k2, lambda_value, metric, blocks=None):
    """All rows, in blocks of the sizes given."""
    rows = ReRankedRows(DistanceRows(query, gallery, metric), torch.cat((query, gallery)), metric, k1, k2, lambda_value)
    edges = np.cumsum([0, *(blocks or [len(query)])])
    return torch.cat([rows.rows(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]).cpu().numpy()


@pytest.mark.parametrize("lambda_value", [0, 0.3, 1])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("queries", "gallery", "k1", "k2"), CASES)
def test_like_the_host(device, queries, gallery, k1, k2, metric, lambda_value):
    features = crowd(queries + gallery)
    if metric == "cosine":
        features *= torch.rand(len(features), 1) + 0.5
    parts = features[:queries], features[queries:]
    kept = features.clone()
    found = ours(*(part.to(device) for part in parts), k1, k2, lambda_value, metric)
    np.testing.assert_allclose(found, host(*parts, k1, k2, lambda_value, metric), atol=1e-5)
    assert torch.equal(features, kept) and found.dtype == np.float32


@pytest.mark.parametrize("spread", [0.2, 1, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_like_the_host_on_other_crowds(seed, spread):
    """From tight clusters to nobody alike; long features, so that the weights are far from even."""
    features = crowd(400, seed, spread) * 2
    parts = features[:50], features[50:]
    np.testing.assert_allclose(
        ours(*parts, 20, 6, 0, "euclidean"), host(*parts, 20, 6, 0, "euclidean"), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize(("queries", "gallery", "k1", "k2"), CASES)
def test_like_the_paper(queries, gallery, k1, k2):
    features = crowd(queries + gallery, seed=3)
    jaccard, weights = naive_jaccard(features, queries, k1, k2)
    np.testing.assert_allclose(encode(features, k1, k2, "euclidean").toarray(), weights, atol=1e-6)
    np.testing.assert_allclose(
        ours(features[:queries], features[queries:], k1, k2, 0, "euclidean"), jaccard, atol=1e-6, rtol=0
    )


def test_by_hand():
    """Places 0, 1, 3 | 7 on a line, k1 = 2, k2 = 1.

    The nearest two, with the image: {0, 1}, {1, 0}, {3, 1}, {7, 3}. 0 and 1 have each other; 3 has itself alone, and 7
    too. So m of 0 to 3 and 7 is 0. The weights of 0 are 1 / (1 + e^-1) for itself and 1 - that for 1, those of 1 the
    other way round: m = 2 / (1 + e).
    """
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    m = 2 / (1 + np.e)
    expected = [[1 - m / (2 - m), 1, 1]]
    np.testing.assert_allclose(ours(line[:1], line[1:], 2, 1, 0, "euclidean"), expected, atol=1e-6)


def test_copies_keep_the_order_of_the_gallery():
    """Four times the same image, k1 = 2: all of them have the first two as neighbours, so the others have no set."""
    same, other = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    features = torch.cat((same, same, same, same, other))
    weights = encode(features, k1=2, k2=1, metric="euclidean").toarray()
    np.testing.assert_allclose(weights[:2, :2], 0.5)
    assert not weights[2:4].any() and weights[4].tolist() == [0, 0, 0, 0, 1]
    found = ours(features[:1], features[1:], 2, 1, 0, "euclidean")
    np.testing.assert_allclose(found, [[0, 1, 1, 1]], atol=1e-7)


@pytest.mark.parametrize("blocks", [[30], [1] * 30, [7, 23], [29, 1]])
def test_blocks_change_nothing(blocks, monkeypatch):
    """Nor do the inner blocks of few summands; the product before re-ranking is not part of it."""
    features = crowd(200)
    parts, matrix = (features[:30], features[30:]), torch.rand(30, 170)

    def all_rows(edges):
        rows = ReRankedRows(MatrixRows(matrix), torch.cat(parts))
        return torch.cat([rows.rows(a, b) for a, b in edges])

    expected = all_rows([(0, 30)])
    for pairs in (2**20, 1, 300, 5000):
        monkeypatch.setattr(reranked, "PAIRS", pairs)
        edges = np.cumsum([0, *blocks])
        assert torch.equal(all_rows(zip(edges[:-1], edges[1:], strict=True)), expected)


def test_the_sums_take_a_share_of_the_memory():
    """So that a row of distances fits beside them, however little there is; the numbers stay."""
    features, matrix = crowd(200), MatrixRows(torch.rand(30, 170))
    much, little = (ReRankedRows(matrix, features, memory_mb=memory_mb) for memory_mb in (256, 0.01))
    assert little.fixed_mb <= 0.01 / 4 < much.fixed_mb
    assert torch.equal(little.rows(0, 30), much.rows(0, 30))


def test_the_sets_are_grown_in_blocks(monkeypatch):
    features = crowd(100)
    expected = encode(features).toarray()
    monkeypatch.setattr("fastreid_ext.evaluation.k_reciprocal.ROWS", 7)
    monkeypatch.setattr("fastreid_ext.evaluation.k_reciprocal.CHUNK_MB", 1e-3)
    np.testing.assert_array_equal(encode(features, memory_mb=0.01).toarray(), expected)


def test_rows_sum_to_one_and_are_sparse():
    weights = encode(crowd(900), k1=10, k2=3)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert weights.nnz < 900 * 10 * 6 and weights.dtype == np.float32


def test_writes_into_what_it_is_given():
    features = crowd(40)
    rows = ReRankedRows(DistanceRows(features[:5], features[5:]), features)
    out = torch.full((6, 35), 7.0)
    assert rows.rows(1, 5, out[:4]).data_ptr() == out.data_ptr()
    assert torch.equal(out[:4], rows.rows(1, 5)) and (out[4:] == 7).all()
    assert rows.shape == (5, 35) and rows.rows(2, 2).shape == (0, 35)


def test_half_features():
    features = crowd(120).half()
    parts = features[:20], features[20:]
    expected = host(*(part.float() for part in parts), 20, 6, 0.3, "cosine")
    np.testing.assert_allclose(ours(*parts, 20, 6, 0.3, "cosine"), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"k1": 0}, "k1 and k2 must be at least 1, not 0 and 6"),
        ({"k2": 0}, "k1 and k2 must be at least 1, not 20 and 0"),
        ({"lambda_value": 1.5}, "lambda must be from 0 to 1, not 1.5"),
        ({"metric": "jaccard"}, "metric"),
        ({"distances": MatrixRows(torch.ones(2, 9))}, r"\(2, 9\) are not of 10 features"),
    ],
)
def test_bad_input(changed, sentence):
    features = crowd(10)
    given = {"distances": MatrixRows(torch.ones(2, 8)), "features": features}
    with pytest.raises(ValueError, match=sentence):
        ReRankedRows(**given | changed)


def test_a_feature_that_is_none():
    features = crowd(10)
    features[3, 0] = float("nan")
    with pytest.raises(EvaluationError, match="row 3"):
        encode(features)
