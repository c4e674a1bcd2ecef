"""The curves and the hardest queries that an evaluation leaves for the report."""

import json
import math
import os

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from fastreid_ext.config import get_cfg
from fastreid_ext.evaluation import details, query_file
from fastreid_ext.evaluation.details import SampledRows, curves, hardest_queries
from fastreid_ext.evaluation.distances import MatrixRows
from fastreid_ext.evaluation.evaluator import RankListEvaluator
from fastreid_ext.evaluation.groups import Group
from fastreid_ext.evaluation.query_file import write_queries
from fastreid_ext.evaluation.query_metrics import metrics_of
from fastreid_ext.evaluation.ranks import GroundTruth, find_matches

QUERIES, GALLERY = 12, 40


@pytest.fixture
def ranked():
    """(distances, people, identities, paths) of random features, the first query without a match."""
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 5, QUERIES), rng.integers(0, 5, GALLERY)
    pids[0][0] = 77
    camids = rng.integers(0, 3, QUERIES), rng.integers(0, 3, GALLERY)
    features = [rng.normal(size=(len(side), 6)) + rng.normal(size=(100, 6))[side] for side in pids]
    matrix = np.square(features[0][:, None] - features[1]).sum(axis=2).astype(np.float32)
    left_out = np.array([3]), np.array([7])
    paths = [f"q{n}.jpg" for n in range(QUERIES)], [f"g{n}.jpg" for n in range(GALLERY)]
    return matrix, GroundTruth(pids, camids, left_out), pids, paths


def others_of(matrix, people, pids, queries=range(QUERIES)):
    """Distances of two persons, one pair after the other."""
    return [
        matrix[q, g]
        for q in queries
        for g in range(GALLERY)
        if pids[0][q] != pids[1][g] and g not in people.left_out_of(q)
    ]


def matches_of(matrix, people, block=5, rows=None):
    return find_matches(rows or MatrixRows(matrix), people, range(QUERIES), block)


def test_others_are_those_of_two_persons(ranked):
    matrix, people, pids, _ = ranked
    rows = SampledRows(MatrixRows(matrix), people, 512)
    plain, sampled = matches_of(matrix, people), matches_of(matrix, people, rows=rows)
    assert all(np.array_equal(getattr(plain, name), getattr(sampled, name)) for name in ("counts", "ranks"))
    others = rows.others()
    assert np.array_equal(others, np.sort(others_of(matrix, people, pids))) and len(others) == people.others


@pytest.mark.parametrize("block", [1, 5, 12])
def test_a_sample_is_of_evenly_spread_queries_and_within_its_memory(ranked, block):
    matrix, people, pids, _ = ranked
    room = 3 * GALLERY * 4 * details.MEMORY_SHARE / 2**20  # of three rows
    rows = SampledRows(MatrixRows(matrix), people, room)
    matches_of(matrix, people, block, rows)
    others = rows.others()
    assert np.array_equal(others, np.sort(others_of(matrix, people, pids, (0, 4, 8))))
    assert others.nbytes <= room * 2**20 / details.MEMORY_SHARE


def test_curves(ranked):
    matrix, people, pids, _ = ranked
    matches = matches_of(matrix, people)
    metrics = metrics_of(matches)
    others = np.sort(np.array(others_of(matrix, people, pids)))
    found = curves(metrics, matches.distances, others)
    first = metrics.first_rank[metrics.scored]
    for rank, rate in zip(found["cmc"]["ranks"], found["cmc"]["rates"], strict=True):
        assert rate == pytest.approx((first <= rank).mean(), rel=1e-5)
    assert sum(found["average_precision"]) == metrics.scored.sum() == QUERIES - 1
    truth = np.r_[np.ones(len(matches.distances)), np.zeros(len(others))]
    scores = -np.r_[matches.distances, others]
    false, true, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    roc = found["roc"]
    rates = zip(roc["thresholds"], roc["false_positive_rates"], roc["true_positive_rates"], strict=True)
    for threshold, f, r in rates:
        place = np.abs(-thresholds - threshold).argmin()
        assert (f, r) == pytest.approx((false[place], true[place]), abs=1e-5)
    assert roc["false_positive_rates"][0] == pytest.approx(1 / len(others), rel=1e-4)  # the finest there can be
    assert roc["false_positive_rates"][-1] == 1.0
    assert roc["area"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-5)
    histogram = found["histogram"]
    assert sum(histogram["same"]) == pytest.approx(1, abs=1e-4) == sum(histogram["different"])
    assert len(histogram["edges"]) == len(histogram["same"]) + 1 <= details.BINS + 1


def test_a_model_that_tells_nobody_apart_has_curves_too():
    """All distances are equal: half of the area, and one point."""
    people = GroundTruth((np.array([0, 1]), np.array([0, 1, 1])), (np.array([0, 0]), np.array([1, 1, 2])))
    matches = find_matches(MatrixRows(np.ones((2, 3), np.float32)), people, range(2), 2)
    found = curves(metrics_of(matches), matches.distances, np.ones(3, np.float32))
    assert found["roc"] == {
        "false_positive_rates": [1.0],
        "true_positive_rates": [1.0],
        "thresholds": [1.0],
        "area": 0.5,
    }
    json.dumps(found, allow_nan=False)


def test_no_other_person(ranked):
    matrix, people, *_ = ranked
    matches = matches_of(matrix, people)
    assert set(curves(metrics_of(matches), matches.distances, np.zeros(0))) == {"cmc", "average_precision"}


def test_hardest_queries_come_first(ranked, monkeypatch):
    matrix, people, pids, paths = ranked
    monkeypatch.setattr(details, "LISTED", 3)
    metrics = metrics_of(matches_of(matrix, people))
    found = hardest_queries(MatrixRows(matrix), people, metrics, pids, paths)
    precisions = [one["average_precision"] for one in found]
    assert precisions == sorted(precisions) and len(found) == QUERIES - 1
    assert {os.path.basename(one["path"]) for one in found} == {f"q{n}.jpg" for n in range(1, QUERIES)}
    for one in found:
        query = int(os.path.basename(one["path"])[1:-4])
        own = (pids[1] == pids[0][query]) & (people.camids[1] == people.camids[0][query])
        own[people.left_out_of(query)] = True
        order = [g for g in np.argsort(matrix[query], kind="stable") if not own[g]]
        assert [int(os.path.basename(image["path"])[1:-4]) for image in one["list"]] == order[:3]
        assert [image["right"] for image in one["list"]] == [bool(pids[1][g] == pids[0][query]) for g in order[:3]]
        assert [image["rank"] for image in one["list"]] == [1, 2, 3]
        assert [image["distance"] for image in one["list"]] == pytest.approx(
            [matrix[query, g] for g in order[:3]], rel=1e-5
        )
        right = [rank for rank, g in enumerate(order, 1) if pids[1][g] == pids[0][query]]
        assert one["first_match"] == right[0] == metrics.first_rank[query]
        assert ("first_right" in one) == (right[0] > 3)
        if right[0] > 3:
            image = one["first_right"]
            assert (
                image["right"] and image["rank"] == right[0] and image["path"].endswith(f"g{order[right[0] - 1]}.jpg")
            )
    assert any("first_right" in one for one in found) and not all("first_right" in one for one in found)


def test_so_many_are_kept(ranked, monkeypatch):
    matrix, people, pids, paths = ranked
    monkeypatch.setattr(details, "HARDEST", 4)
    metrics = metrics_of(matches_of(matrix, people))
    assert len(hardest_queries(MatrixRows(matrix), people, metrics, pids, paths)) == 4


def evaluate(folder, *overrides):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "TEST.RANK_LIST.ENABLED", False, *overrides])
    evaluator = RankListEvaluator(cfg, 4, "people", str(folder))
    evaluator.reset()
    pids = torch.tensor([0, 1, 2, 3] * 3)
    camids = torch.tensor([0] * 4 + [1] * 4 + [2] * 4)
    torch.manual_seed(0)
    batch = {"targets": pids, "camids": camids, "img_paths": [f"{n}.jpg" for n in range(12)]}
    evaluator.process(batch, torch.randn(4, 8)[pids] + 0.8 * torch.randn(12, 8))
    return evaluator.evaluate()


def test_the_file(tmp_path):
    results = evaluate(tmp_path)
    found = json.loads((tmp_path / "details_people.json").read_text())
    assert found["format"] == details.FORMAT and found["dataset"] == "people" and not found["erased"]
    assert (found["queries"], found["scored"], found["gallery"]) == (4, 4, 8)
    assert found["metric"] == "cosine" and found["changed_by"] == [] and found["images_per_second"] > 0
    assert 100 * found["cmc"]["rates"][0] == pytest.approx(results["Rank-1"])
    mean = np.mean([one["average_precision"] for one in found["hardest"]])
    assert 100 * mean == pytest.approx(results["mAP"], rel=1e-4)
    assert all(os.path.isabs(one["path"]) for one in found["hardest"])
    assert math.isfinite(found["roc"]["area"])


def test_the_file_of_queries(tmp_path):
    """A number for each query, whose averages are the results."""
    results = evaluate(tmp_path)
    found = json.loads((tmp_path / "queries_people.json").read_text())
    assert found["format"] == query_file.FORMAT and found["dataset"] == "people" and not found["erased"]
    assert found["images"] == [f"{n}.jpg" for n in range(4)] and found["people"] == [0, 1, 2, 3]
    assert 100 * np.mean(found["average_precision"]) == pytest.approx(results["mAP"], abs=1e-3)
    assert 100 * np.mean(np.array(found["first_rank"]) == 1) == pytest.approx(results["Rank-1"])


def test_queries_without_a_match_and_groups_of_queries(tmp_path, ranked):
    matrix, people, pids, paths = ranked
    metrics = metrics_of(matches_of(matrix, people))
    odd = Group("odd", np.arange(QUERIES) % 2 == 1)
    path = tmp_path / "queries.json"
    write_queries(path, {"dataset": "people"}, metrics, [f"/somewhere/{name}" for name in paths[0]], pids[0], [odd])
    found = json.loads(path.read_text())
    assert found["groups"] == {"odd": [1, 3, 5, 7, 9, 11]} and found["images"] == paths[0]
    assert found["first_rank"][0] == 0 and found["average_precision"][0] == 0  # nobody has its identity
    assert found["average_precision"] == pytest.approx(metrics.average_precision, abs=1e-6)


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (["/data/query/a.jpg", "/data/query/b.jpg"], ["a.jpg", "b.jpg"]),
        (["/data/cam1/a.jpg", "/data/cam2/a.jpg", "/data/cam2/x/a.jpg"], ["cam1/a.jpg", "cam2/a.jpg", "cam2/x/a.jpg"]),
        (["data/people/a.jpg", "data/person/a.jpg"], ["people/a.jpg", "person/a.jpg"]),
        (["/data/a.jpg", "data/a.jpg"], ["/data/a.jpg", "data/a.jpg"]),
        (["a.jpg", "./b.jpg"], ["a.jpg", "b.jpg"]),
        ([], []),
    ],
)
def test_names_of_queries_in_several_folders(images, names):
    assert query_file.names_of(images) == names


def test_single_shots_have_the_ranks_of_their_protocol(tmp_path):
    results = evaluate(tmp_path, "TEST.PROTOCOL", "cuhk03", "TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 3)
    found = json.loads((tmp_path / "details_people.json").read_text())
    assert found["cmc"]["ranks"] == [1, 5, 10] and found["changed_by"] == ["RERANK"]
    assert [100 * rate for rate in found["cmc"]["rates"]] == pytest.approx([results[f"Rank-{k}"] for k in (1, 5, 10)])


def test_it_can_be_switched_off(tmp_path):
    evaluate(tmp_path, "TEST.REPORT.ENABLED", False)
    assert list(tmp_path.iterdir()) == []
