"""Pairs that no ranking has: every metric is that of the gallery without the image, query by query."""

import numpy as np
import pytest
import torch

from fastreid_ext.evaluation import pair_curve, roc, single_shot
from fastreid_ext.evaluation.distances import MatrixRows
from fastreid_ext.evaluation.part_weights import WeightedParts
from fastreid_ext.evaluation.query_metrics import query_metrics, summarise
from fastreid_ext.evaluation.rank_list import rank_queries
from fastreid_ext.evaluation.ranks import GroundTruth, find_matches

Q, G = 23, 40


@pytest.fixture
def case():
    """Distances with ties, labels, and pairs: the same person and camera, the same person, another person."""
    rng = np.random.default_rng(5)
    distances = rng.integers(0, 12, (Q, G)).astype(np.float32)
    pids = rng.integers(0, 5, Q), rng.integers(0, 5, G)
    camids = rng.integers(0, 3, Q), rng.integers(0, 3, G)
    chosen = np.argwhere(rng.random((Q, G)) < 0.12)
    distances[tuple(chosen.T)] = 0  # its own file is nearest
    return distances, pids, camids, (chosen[:, 0], chosen[:, 1])


def alone(case, query):
    """The case of one query whose gallery lacks what is left out for it."""
    distances, pids, camids, left_out = case
    kept = ~np.isin(np.arange(G), left_out[1][left_out[0] == query])
    rows = slice(query, query + 1)
    return (
        distances[rows, kept],
        (pids[0][rows], pids[1][kept]),
        (camids[0][rows], camids[1][kept]),
        np.flatnonzero(kept),
    )


def test_the_case_has_pairs_of_every_kind(case):
    _, pids, camids, (q, g) = case
    same, camera = pids[0][q] == pids[1][g], camids[0][q] == camids[1][g]
    assert (same & camera).any() and (same & ~camera).any() and (~same).any()


def test_rank_k_map_and_minp(case):
    distances, pids, camids, left_out = case
    found = query_metrics(distances, pids, camids, left_out)
    for query in range(Q):
        wanted = query_metrics(*alone(case, query)[:3])
        for name in ("first_rank", "average_precision", "inverse_penalty"):
            assert getattr(found, name)[query] == getattr(wanted, name)[0]
    assert not np.array_equal(found.first_rank, query_metrics(distances, pids, camids).first_rank)


@pytest.mark.parametrize("block", [1, 7, Q])
def test_in_blocks_and_shares(case, block):
    distances, pids, camids, left_out = case
    people = GroundTruth(pids, camids, left_out)
    whole = find_matches(MatrixRows(distances), people, range(Q), Q)
    halves = [find_matches(MatrixRows(distances), people, share, block) for share in (range(9), range(9, Q))]
    for name in ("counts", "ranks", "distances"):
        assert np.array_equal(np.concatenate([getattr(half, name) for half in halves]), getattr(whole, name))


def test_rank_lists(case):
    distances, pids, camids, left_out = case
    paths = [f"q{i}" for i in range(Q)], [f"g{i}" for i in range(G)]
    people = GroundTruth(pids, camids, left_out)
    ranked = rank_queries(distances, paths, pids, camids, 10, people.left_out_of)
    for query in range(Q):
        rows, own_pids, own_camids, kept = alone(case, query)
        own_paths = [paths[0][query]], [paths[1][i] for i in kept]
        assert rank_queries(rows, own_paths, own_pids, own_camids, 10) == [ranked[query]]


def brute_force_pairs(case):
    """(scores of one person's pairs, of two persons'), without junk and without what is left out."""
    distances, pids, camids, left_out = case
    same = pids[0][:, None] == pids[1][None]
    out = same & (camids[0][:, None] == camids[1][None])
    out[left_out] = True
    return distances[same & ~out], distances[~same & ~out]


def test_roc(case):
    distances, pids, camids, left_out = case
    matches, others = brute_force_pairs(case)
    people, rows = GroundTruth(pids, camids, left_out), MatrixRows(distances)
    assert people.others == len(others)
    assert sorted(find_matches(rows, people, range(Q), 4).distances) == sorted(matches)
    thresholds = np.arange(13, dtype=np.float32)
    no_nearer, farther = roc.count_others(rows, people, range(Q), 4, thresholds)
    assert no_nearer.tolist() == [(others >= t).sum() for t in thresholds]
    assert farther.tolist() == [(others > t).sum() for t in thresholds]


@pytest.mark.parametrize("block", [(512, 2048), (5, 7)])
def test_verification(case, block):
    distances, pids, camids, left_out = case
    curve = pair_curve.pair_curve(lambda q, g: -distances[q, g], pids, camids, (), block, left_out)
    positives, negatives = brute_force_pairs(case)
    assert (curve.positives, curve.negatives) == (len(positives), len(negatives))
    assert curve.false.tolist() == [(-negatives >= t).sum() for t in curve.thresholds]
    assert curve.true.tolist() == [(-positives >= t).sum() for t in curve.thresholds]


def test_single_shots_never_draw_or_meet_what_is_left_out():
    """A gallery of one image of each identity: the one of another person, nearest of all, is left out for query 0."""
    distances = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]], dtype=np.float32)
    pids, camids = (np.array([1, 1]), np.array([0, 1, 1])), (np.zeros(2), np.ones(3))
    people = GroundTruth(pids, camids, (np.array([0]), np.array([0])))
    hits = single_shot.single_shot_hits(MatrixRows(distances), people, range(2), 2, (1, 2))
    assert hits.tolist() == [[1, 1], [0, 1]]


def test_weighted_parts(case):
    """A search of weights ranks as an evaluation does."""
    _, pids, camids, left_out = case
    rng = torch.Generator().manual_seed(0)
    parts = [{name: torch.randn(count, 4, generator=rng) for name in ("a", "b")} for count in (Q, G)]
    weights = {"a": 1.0, "b": 0.5}
    weighted = WeightedParts(*parts, "cosine", left_out)
    wanted = summarise(query_metrics(weighted.distances(weights), pids, camids, left_out))
    assert weighted.metrics(weights, pids, camids) == wanted
    assert WeightedParts(*parts, "cosine").metrics(weights, pids, camids) != wanted
