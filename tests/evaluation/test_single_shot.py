"""CUHK03's protocol: against a loop with the same draws, and against FastReID's function."""

import numpy as np
import pytest
from fastreid.evaluation.rank import eval_cuhk03

from fastreid_ext.evaluation.distances import MatrixRows
from fastreid_ext.evaluation.ranks import GroundTruth
from fastreid_ext.evaluation.single_shot import DRAWS, single_shot_hits

RANKS = (1, 2, 5)


@pytest.fixture(params=[3, 10**6], ids=["ties", "no ties"])
def ranked(request):
    """(distances, identities, cameras); query 0 has no match, query 1 its own camera's alone."""
    rng = np.random.RandomState(0)
    pids, camids = (rng.randint(0, 7, 20), rng.randint(0, 7, 50)), (rng.randint(0, 2, 20), rng.randint(0, 2, 50))
    pids[0][:2], pids[1][0], camids[0][1], camids[1][0] = (99, 98), 98, 1, 1
    return rng.randint(0, request.param, (20, 50)).astype(np.float32), pids, camids


def hits(ranked, queries=range(20), block=6, seed=0):
    distances, pids, camids = ranked
    return single_shot_hits(MatrixRows(distances), GroundTruth(pids, camids), queries, block, RANKS, seed)


def naive(ranked, seed=0):
    """Draw the same number for an identity, and look image by image."""
    distances, pids, camids = ranked
    found = np.zeros((20, len(RANKS)))
    identities = sorted(set(pids[1]))
    for q, row in enumerate(distances):
        chances = np.random.default_rng((seed, q)).random((DRAWS, len(identities)))
        own = [i for i in range(50) if pids[1][i] == pids[0][q] and camids[1][i] != camids[0][q]]
        if not own:
            continue
        for chance in chances:
            drawn = []
            for pid, share in zip(identities, chance, strict=True):
                images = own if pid == pids[0][q] else [i for i in range(50) if pids[1][i] == pid]
                drawn.append(images[int(share * len(images))])
            drawn.sort(key=lambda i: (row[i], i))  # noqa: B023, used at once
            place = 1 + [pids[1][i] for i in drawn].index(pids[0][q])
            found[q] += [place <= k for k in RANKS]
    return found / DRAWS


def test_naive_reference(ranked):
    found = hits(ranked)
    np.testing.assert_allclose(found, naive(ranked), atol=1e-12)
    assert not found[:2].any() and 0 < found[2:, 0].mean() < 1


def test_draws_are_repeatable(ranked):
    """They follow from the seed and the query: neither from blocks, nor shares, nor what was drawn before."""
    whole = hits(ranked)
    np.random.seed(1)
    np.testing.assert_array_equal(hits(ranked, block=20), whole)
    np.testing.assert_array_equal(np.concatenate([hits(ranked, range(12)), hits(ranked, range(12, 20))]), whole)
    assert (hits(ranked, seed=1) != whole).any()


def test_the_hosts_numbers_where_nothing_is_left_to_chance():
    """One gallery image of each identity: every draw is the same."""
    rng = np.random.RandomState(3)
    distances = rng.rand(30, 40).astype(np.float32)
    pids, camids = (rng.randint(0, 40, 30), np.arange(40)), (np.zeros(30, int), np.ones(40, int))
    curve, _ = eval_cuhk03(distances, *pids, *camids, max_rank=10)
    found = single_shot_hits(MatrixRows(distances), GroundTruth(pids, camids), range(30), 7, RANKS)
    np.testing.assert_allclose(found.mean(axis=0), [curve[k - 1] for k in RANKS], atol=1e-6)


@pytest.mark.slow
def test_the_hosts_numbers_on_average():
    """Other draws: over 60 seeds the means agree within three standard errors, about 0.5 points."""
    rng = np.random.RandomState(4)
    pids, camids = (rng.randint(0, 8, 25), rng.randint(0, 8, 60)), (np.zeros(25, int), np.ones(60, int))
    distances = (rng.rand(25, 60) + 0.3 * (pids[0][:, None] != pids[1])).astype(np.float32)
    rows, people = MatrixRows(distances), GroundTruth(pids, camids)
    ours, host = [], []
    for seed in range(60):
        ours.append(single_shot_hits(rows, people, range(25), 25, RANKS, seed).mean(axis=0))
        np.random.seed(seed)
        host.append(eval_cuhk03(distances, *pids, *camids, max_rank=10)[0][[k - 1 for k in RANKS]])
    error = np.sqrt((np.var(ours, axis=0) + np.var(host, axis=0)) / 60)
    assert (error < 0.01).all()
    np.testing.assert_array_less(np.abs(np.mean(ours, axis=0) - np.mean(host, axis=0)), 3 * error + 1e-6)
