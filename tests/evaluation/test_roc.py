"""True positive rates from counts, against scikit-learn's curve of all pairs, as FastReID reads it."""

import numpy as np
import pytest
import torch
from fastreid.evaluation.roc import evaluate_roc
from sklearn.metrics import roc_curve

from fastreid_ext.evaluation import roc
from fastreid_ext.evaluation.distances import MatrixRows
from fastreid_ext.evaluation.ranks import GroundTruth, find_matches
from fastreid_ext.evaluation.roc import FALSE_POSITIVE_RATES, count_others, true_positive_rates

RATES = (*FALSE_POSITIVE_RATES, 0.05, 0.3, 0.5, 0.77, 1.0)


def host(distances, pids, camids):
    scores, labels = evaluate_roc(distances, *pids, *camids)
    false, true, _ = roc_curve(labels, scores)
    return {f"TPR@FPR={rate:.0e}": true[np.argmin(np.abs(false - rate))] for rate in RATES}


def ours(distances, pids, camids, block=7):
    rows, people = MatrixRows(distances), GroundTruth(pids, camids)
    queries = range(len(distances))
    matches = find_matches(rows, people, queries, block).distances
    count = lambda thresholds: count_others(rows, people, queries, block, thresholds)  # noqa: E731
    return true_positive_rates(matches, people.others, count, RATES)


def labels(seed, queries=23, gallery=60, people=9):
    rng = np.random.RandomState(seed)
    pids = rng.randint(0, people, queries), rng.randint(0, people, gallery)
    camids = rng.randint(0, 3, queries), rng.randint(0, 3, gallery)
    return rng, pids, camids


CASES = {
    "distinct": lambda rng, same: rng.rand(*same.shape) + 0.4 * ~same,
    "ties": lambda rng, same: rng.randint(0, 6, same.shape) + 1.0 * ~same,
    "all equal": lambda rng, same: np.ones(same.shape),
    "matches nearest": lambda rng, same: rng.rand(*same.shape) + 2.0 * ~same,
    "matches farthest": lambda rng, same: rng.rand(*same.shape) + 2.0 * same,
    "lines": lambda rng, same: rng.permutation(same.size).reshape(same.shape) // 2 + 0.0,
    "one value in both": lambda rng, same: np.where(same, 0.5, rng.randint(0, 2, same.shape)),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("around", [1, 2, 32])
def test_the_hosts_rates(case, seed, around, monkeypatch):
    monkeypatch.setattr(roc, "AROUND", around)
    rng, pids, camids = labels(seed)
    distances = CASES[case](rng, pids[0][:, None] == pids[1]).astype(np.float32)
    assert ours(distances, pids, camids) == pytest.approx(host(distances, pids, camids), abs=1e-12)


def test_the_first_point_stays():
    """A match and another pair at each of 2, 1 and 0: on one line, of which scikit-learn keeps both ends."""
    distances = np.array([[2, 1, 0, 2, 1, 0]], dtype=np.float32)
    pids, camids = (np.zeros(1, int), np.array([0, 0, 0, 1, 2, 3])), (np.zeros(1, int), np.ones(6, int))
    assert ours(distances, pids, camids) == pytest.approx(host(distances, pids, camids), abs=1e-12)


def test_many_pairs():
    """So many matches that the smallest rate is no longer that of none."""
    rng, pids, camids = labels(9, 150, 500, 3)
    distances = (rng.rand(150, 500) + 0.1 * (pids[0][:, None] != pids[1])).astype(np.float32)
    found = ours(distances, pids, camids, 64)
    assert found == pytest.approx(host(distances, pids, camids), abs=1e-12)
    assert 0 < found["TPR@FPR=1e-04"] < found["TPR@FPR=1e-03"] < found["TPR@FPR=1e-02"]


def test_counts_on_a_gpu_are_the_same(monkeypatch):
    """The function of the GPU, run on the CPU."""
    monkeypatch.setattr("fastreid_ext.evaluation.blocks.SORT_MB", 4 * 60 * 2 / 2**20)
    rows = torch.from_numpy(np.random.RandomState(0).randint(0, 9, (7, 60)).astype(np.float32))
    thresholds = np.array([-1, 0, 3, 3.5, 8, 9], dtype=np.float32)
    found = roc._count_on_gpu(rows, thresholds)
    assert found.tolist() == [[int((rows >= t).sum()) for t in thresholds], [int((rows > t).sum()) for t in thresholds]]


def test_nothing_to_tell_apart():
    for pids in (([1], [2]), ([1], [1])):
        pids = tuple(np.array(side) for side in pids)
        with pytest.raises(ValueError, match=r"TEST.ROC needs pairs"):
            ours(np.ones((1, 1), np.float32), pids, (np.array([0]), np.array([1])))
