"""TPIR at FPIR, against the definition's loops over thresholds in float64."""

import numpy as np
import pytest
import torch

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation import blocks
from fastreid_ext.evaluation.distances import MatrixRows
from fastreid_ext.evaluation.open_set import (
    NearestImages,
    nearest_images,
    open_set_metrics,
    open_set_rates,
    people_taken_out,
    without_people,
)
from fastreid_ext.evaluation.open_set_report import open_set_record, open_set_text

QUERIES, GALLERY, PEOPLE = 240, 90, 30
OUT = np.arange(0, PEOPLE, 2)
LEFT_OUT = np.array([0, 3, 3, 7]), np.array([5, 1, 33, 68])


@pytest.fixture(params=["distinct", "ties"])
def test_set(request):
    """(distances (Q, G), identities, cameras); many equal distances, or none."""
    rng = np.random.default_rng(0)
    pids = np.arange(QUERIES) % PEOPLE, rng.integers(0, PEOPLE + 3, GALLERY)
    camids = rng.integers(0, 3, QUERIES), rng.integers(0, 3, GALLERY)
    distances = rng.normal(5, 1, (QUERIES, GALLERY)) - 2 * (pids[0][:, None] == pids[1])
    distances = distances.astype(np.float32).astype(np.float64)  # as float32 keeps them
    return (
        (distances.round(1).astype(np.float32).astype(np.float64) if request.param == "ties" else distances),
        pids,
        camids,
    )


def naive(test_set):
    """(searches of people who are there, searches of strangers), each a sorted list of (distance, right)."""
    distances, pids, camids = test_set
    mated, nonmated = [], []
    for i in range(QUERIES):
        candidates, there = [], False
        for j in range(GALLERY):
            same = pids[0][i] == pids[1][j]
            if (
                pids[1][j] in OUT
                or (same and camids[0][i] == camids[1][j])
                or (i, j) in set(zip(*LEFT_OUT, strict=True))
            ):
                continue
            candidates.append((distances[i, j], j, bool(same)))
            there |= bool(same)
        (mated if there else nonmated).append(sorted(candidates))
    return mated, nonmated


def tpir(mated, nonmated, most):
    """The highest share of searches with the mate first and within a threshold, of the thresholds with FPIR <= most.

    FPIR(T) = searches without a mate that return a candidate within T, by all of these; TPIR(T) = searches with a mate
    that return it first and within T, by all of these (NISTIR 8271, section 3.2, with FNIR = 1 - TPIR and rank 1).
    """
    best = 0.0
    for threshold in sorted({distance for search in (*mated, *nonmated) for distance, *_ in search[:1]}):
        fpir = sum(search[0][0] <= threshold for search in nonmated) / len(nonmated)
        found = sum(search[0][0] <= threshold and search[0][2] for search in mated) / len(mated)
        best = max(best, found) if fpir <= most else best
    return best


def nearest_of(test_set, out=OUT, left_out=LEFT_OUT):
    distances, pids, camids = test_set
    return nearest_images(MatrixRows(distances), out, pids, camids, left_out, 512)


@pytest.mark.parametrize("block", [1024, 7])
def test_rates(test_set, block, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_ROWS", block)
    mated, nonmated = naive(test_set)
    nearest = nearest_of(test_set)
    assert (nearest.known.sum(), (~nearest.known).sum()) == (len(mated), len(nonmated))
    assert len(nonmated) > 100 and len(mated) > 50
    found = {float(one.rate): one for one in open_set_rates(nearest)}
    for rate in (1e-2, 1e-1):
        assert found[rate].tpir == pytest.approx(100 * tpir(mated, nonmated, rate), abs=1e-9)
        assert 0 < found[rate].tpir < 100 and found[rate].allowed == int(rate * len(nonmated) + 1e-9)
        let_in = sum(search[0][0] <= found[rate].distance for search in nonmated)
        assert let_in <= found[rate].allowed
    assert open_set_metrics(list(found.values())).keys() == {"TPIR@FPIR=1e-02", "TPIR@FPIR=1e-01"}


def test_nearest_images_are_the_first_of_equals(test_set):
    nearest = nearest_of(test_set)
    mated, nonmated = iter(naive(test_set)[0]), iter(naive(test_set)[1])
    for distance, right, known in zip(nearest.distances, nearest.right, nearest.known, strict=True):
        search = next(mated if known else nonmated)
        assert (distance, right) == (search[0][0], search[0][2])


def test_the_curve(test_set):
    """[FPIR, TPIR] at thresholds just below a stranger's distance; rises to all who are found first."""
    mated, nonmated = naive(test_set)
    nearest = nearest_of(test_set)
    rates = open_set_rates(nearest)
    record = open_set_record("people", nearest, rates, {"share": 0.5, "seed": 0, "people": 30, "taken_out": 15})
    assert record["queries"] == {"unknown": len(nonmated), "known": len(mated)}
    for fpir, found in record["curve"][::20]:
        assert found == pytest.approx(100 * tpir(mated, nonmated, fpir), abs=1e-9)
    text = open_set_text(record)
    assert f"15 of 30 people are taken out of the gallery (TEST.OPEN_SET), so {len(nonmated)} queries are of" in text
    assert f" {rates[0].tpir:.2f} |" in text and f"{rates[0].allowed} of {len(nonmated)} |" in text


def test_a_gallery_that_never_had_those_people(test_set):
    """Re-ranking and expansion are done anew without them: rows, labels and left-out pairs move together."""
    distances, pids, camids = test_set
    numbers = torch.arange(QUERIES + GALLERY, dtype=torch.float32)[:, None]
    kept, *labels = without_people(OUT, numbers, pids, camids, LEFT_OUT)
    gallery = kept[QUERIES:, 0].long().numpy() - QUERIES
    assert kept[:QUERIES, 0].tolist() == list(range(QUERIES)) and not np.isin(pids[1][gallery], OUT).any()
    smaller = nearest_images(MatrixRows(distances[:, gallery]), OUT, *labels, 512)
    for one, other in zip(vars(smaller).values(), vars(nearest_of(test_set)).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rates_that_too_few_strangers_can_tell():
    known = np.array([True] * 5 + [False] * 99)
    nearest = NearestImages(np.linspace(0, 1, 104, dtype=np.float32), known.copy(), known)
    fine, coarse = open_set_rates(nearest)
    assert (fine.allowed, fine.tpir, fine.distance) == (0, None, None)
    assert (coarse.allowed, coarse.tpir) == (9, 100.0)
    assert open_set_metrics([fine, coarse]) == {"TPIR@FPIR=1e-01": 100.0}
    about = {"share": 0.5, "seed": 0, "people": 30, "taken_out": 15}
    assert "0 of 99 |      - |" in open_set_text(open_set_record("people", nearest, [fine, coarse], about))


def test_a_stranger_that_is_as_near():
    """A threshold that lets one in lets the other in: 2 of 20 may be, the third is at 1.0."""
    known = np.array([True] * 4 + [False] * 20)
    distances = np.array([0.5, 1.0, 1.0, 2.0, 0.1, 0.2, *[1.0] * 18], dtype=np.float32)
    assert open_set_rates(NearestImages(distances, known.copy(), known))[1].tpir == 25.0


def test_strangers_that_are_nearer_than_anybody():
    known = np.array([True] * 5 + [False] * 20)
    nearest = NearestImages(np.where(known, 1, 0).astype(np.float32), known.copy(), known)
    _, coarse = open_set_rates(nearest)
    assert (coarse.allowed, coarse.tpir, coarse.distance) == (2, 0.0, None)


@pytest.mark.parametrize(("known", "verb"), [(True, "has"), (False, "lacks")])
def test_queries_of_one_kind(known, verb):
    nearest = NearestImages(np.zeros(3, np.float32), np.zeros(3, bool), np.full(3, known))
    with pytest.raises(EvaluationError, match=f"the gallery {verb} the people of all queries"):
        open_set_rates(nearest)


def test_a_gallery_without_an_image_left():
    """Nobody is found in it, and nobody is taken for somebody."""
    labels = (np.array([1, 1]), np.array([1, 2])), (np.array([0, 0]), np.array([0, 0]))
    nearest = nearest_images(
        MatrixRows(np.zeros((2, 2))), np.array([2]), *labels, (LEFT_OUT[0][:0], LEFT_OUT[1][:0]), 512
    )
    assert np.isinf(nearest.distances).all() and not nearest.right.any() and not nearest.known.any()


def test_who_is_taken_out():
    pids = np.repeat(np.arange(100, 120), 3)
    some, more = people_taken_out(pids, 0.3, 0), people_taken_out(pids, 0.6, 0)
    assert len(some) == 6 and more[:6].tolist() == some.tolist() and set(more) <= set(pids)
    assert people_taken_out(pids, 0.3, 1).tolist() != some.tolist()
    assert len(people_taken_out(pids, 1e-6, 0)) == 1 and len(people_taken_out(pids, 0.999, 0)) == 19
    with pytest.raises(EvaluationError, match="the queries show only one person"):
        people_taken_out(np.zeros(4, int), 0.5, 0)
