"""The numbers of every query: by hand, against a naive loop, and against FastReID's evaluator."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from fastreid.evaluation import ReidEvaluator

from fastreid_ext.config import get_cfg
from fastreid_ext.evaluation.evaluator import RankListEvaluator
from fastreid_ext.evaluation.query_metrics import query_metrics, summarise


def measure(distances, pids, camids):
    pids, camids = (tuple(np.array(part) for part in both) for both in (pids, camids))
    return query_metrics(np.array(distances, dtype=np.float32), pids, camids)


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_by_hand():
    """Order g1 g2 g0 g3: matches at ranks 1 and 3, so AP = (1/1 + 2/3) / 2 = 5/6 and INP = 2 / 3."""
    found = measure([[0.3, 0.1, 0.2, 0.4]], ([7], [7, 7, 2, 3]), ([0], [1, 2, 1, 1]))
    assert found.first_rank.tolist() == [1]
    assert found.average_precision == pytest.approx([5 / 6]) and found.inverse_penalty == pytest.approx([2 / 3])


def test_own_camera_is_left_out():
    """g1 is of the query's person and camera; without it the order is g2 g0 g3: the match is at rank 2."""
    found = measure([[0.3, 0.1, 0.2, 0.4]], ([7], [7, 7, 2, 3]), ([0], [1, 0, 0, 0]))
    assert found.first_rank.tolist() == [2]
    assert found.average_precision == pytest.approx([1 / 2])


def test_queries_without_a_match_do_not_count():
    found = measure([[0.1, 0.2]] * 3, ([7, 8, 9], [7, 8]), ([0, 0, 0], [1, 0]))  # 8: own camera alone; 9: not there
    assert found.scored.tolist() == [True, False, False]
    assert found.first_rank.tolist() == [1, 0, 0] and found.average_precision.tolist() == [1, 0, 0]
    assert summarise(found) == {
        "Rank-1": 100, "Rank-5": 100, "Rank-10": 100, "mAP": 100, "mINP": 100, "metric": 100
    }  # fmt: skip


def test_averages_leave_queries_without_a_match_out():
    """The one that counts finds its match at rank 2: a rank of 0 is no hit."""
    found = summarise(measure([[0.2, 0.1]] * 3, ([7, 8, 9], [7, 8]), ([0, 0, 0], [1, 0])))
    assert (found["Rank-1"], found["Rank-5"], found["mAP"], found["mINP"]) == (0, 100, 50, 50)


def test_averages_by_hand():
    """First matches at 1 and 6, AP 1 and 1/6."""
    distances = [[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.6, 0.5, 0.4, 0.3, 0.2, 0.1]]
    found = summarise(measure(distances, ([7, 7], [7, 1, 2, 3, 4, 5]), ([0, 0], [1] * 6)))
    assert found["Rank-1"] == 50 and found["Rank-5"] == 50 and found["Rank-10"] == 100
    assert found["mAP"] == pytest.approx(100 * (1 + 1 / 6) / 2)
    assert found["metric"] == pytest.approx((found["Rank-1"] + found["mAP"]) / 2)


def test_nothing_to_score():
    with pytest.raises(ValueError, match="nothing can be scored"):
        summarise(measure([[0.1]], ([7], [8]), ([0], [1])))


# ---- against others -------------------------------------------------------------------------------------------------


def naive(distances, pids, camids):
    """The definition, image by image: (first rank, AP, INP) of every query."""
    for row, pid, camid in zip(distances, pids[0], camids[0], strict=True):
        hits = []
        ordered = sorted(range(len(row)), key=lambda i: (row[i], i))  # noqa: B023
        kept = [i for i in ordered if not (pids[1][i] == pid and camids[1][i] == camid)]
        for place, i in enumerate(kept, start=1):
            if pids[1][i] == pid:
                hits.append(place)
        precisions = [(n + 1) / place for n, place in enumerate(hits)]
        yield (hits[0], sum(precisions) / len(hits), len(hits) / hits[-1]) if hits else (0, 0, 0)


@pytest.mark.parametrize("steps", [4, 10**6], ids=["ties", "no ties"])
def test_naive_reference(steps):
    rng = np.random.RandomState(1)
    distances = (rng.randint(0, steps, (40, 60)) / steps).astype(np.float32)
    camids = tuple(rng.randint(0, 3, n) for n in (40, 60))
    pids = rng.randint(0, 14, 40), rng.randint(0, 11, 60)  # three identities have no match
    found = query_metrics(distances, pids, camids)
    expected = np.array(list(naive(distances, pids, camids)))
    assert 0 < (expected[:, 0] == 0).sum() < 20  # both kinds of queries are among them
    columns = np.stack([found.first_rank, found.average_precision, found.inverse_penalty], 1)
    np.testing.assert_allclose(columns, expected, atol=1e-12)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["TEST.METRIC", "euclidean"],
        ["TEST.AQE.ENABLED", True],
        ["TEST.RERANK.ENABLED", True],
        ["TEST.RERANK.ENABLED", True, "TEST.METRIC", "euclidean"],
        ["TEST.ROC.ENABLED", True],
    ],
    ids=["cosine", "euclidean", "aqe", "rerank", "rerank euclidean", "roc"],
)
def test_the_hosts_evaluator(overrides, tmp_path):
    """Our evaluator sorts once for all that it tells; its numbers are those of FastReID's."""
    cfg = get_cfg()
    cfg.TEST.RANK_LIST.ENABLED = False
    cfg.merge_from_list(overrides)
    rng = torch.Generator().manual_seed(0)
    pids = torch.randint(0, 9, (60,), generator=rng)
    features = torch.randn(60, 8, generator=rng) + 1.5 * torch.randn(9, 8, generator=rng)[pids]
    camids = torch.randint(0, 3, (60,), generator=rng)
    evaluators = ReidEvaluator(cfg, 20), RankListEvaluator(cfg, 20, "x", str(tmp_path))
    host, ours = (_evaluate(evaluator, features, pids, camids) for evaluator in evaluators)
    assert isinstance(ours, OrderedDict) and list(ours) == list(host)
    assert ours == {key: pytest.approx(float(value), rel=1e-6) for key, value in host.items()}
    assert 0 < ours["Rank-1"] < 100


def _evaluate(evaluator, features, pids, camids):
    evaluator.reset()
    for part in torch.arange(len(pids)).split(16):
        batch = {"targets": pids[part], "camids": camids[part], "img_paths": [str(int(i)) for i in part]}
        evaluator.process(batch, features[part])
    return evaluator.evaluate()
