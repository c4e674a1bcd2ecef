"""Groups of queries and their averages, by hand."""

import json

import numpy as np
import pytest

from fastreid_ext.evaluation.groups import Group, GroupRow, by_occlusion, by_training_images, by_trait, group_rows
from fastreid_ext.evaluation.query_metrics import QueryMetrics, query_metrics, summarise
from fastreid_ext.evaluation.report import group_record, group_table, stress_table, with_erased


def members(groups):
    return {group.label: np.flatnonzero(group.members).tolist() for group in groups}


# ---- by occlusion ---------------------------------------------------------------------------------------------------


def test_labels_of_0_and_1_have_no_edges():
    """1 or 0 alone says occluded or not, so the edges cut nothing; shares of 0 alone may be of any kind."""
    edges = [0.0, 0.25]
    assert members(by_occlusion([0.0, 1.0, None, 1.0], edges)) == {
        "not occluded": [0],
        "occluded": [1, 3],
        "occlusion unknown": [2],
    }
    assert members(by_occlusion([1.0, 1.0], edges)) == {"not occluded": [], "occluded": [0, 1]}
    assert list(members(by_occlusion([0.0], edges))) == ["not occluded", "occlusion up to 0.25", "occlusion above 0.25"]
    assert list(members(by_occlusion([0.0, 0.5, 1.0], edges)))[-1] == "occlusion above 0.25"


def test_by_occlusion():
    """An edge belongs to the group below it, so that 0 is a group of its own."""
    shares = [0.0, 0.01, 0.25, 0.2501, 0.35, 0.36, 1.0]
    assert members(by_occlusion(shares, [0.0, 0.25, 0.35])) == {
        "not occluded": [0],
        "occlusion up to 0.25": [1, 2],
        "occlusion 0.25 to 0.35": [3, 4],
        "occlusion above 0.35": [5, 6],
    }


def test_edges_of_all_kinds():
    shares = [0.0, 0.4, 0.6]
    assert members(by_occlusion(shares, [0.5])) == {"occlusion up to 0.5": [0, 1], "occlusion above 0.5": [2]}
    assert members(by_occlusion(shares, [0.0])) == {"not occluded": [0], "occlusion above 0": [1, 2]}
    assert members(by_occlusion(shares, [])) == {"occlusion known": [0, 1, 2]}


def test_unknown_occlusion_is_a_group_only_where_there_is_one():
    assert members(by_occlusion([0.0, None, 0.5], [0.0])) == {
        "not occluded": [0],
        "occlusion above 0": [2],
        "occlusion unknown": [1],
    }
    assert by_occlusion([None, None], [0.0]) == []


# ---- by training images ---------------------------------------------------------------------------------------------


def test_thirds_are_of_identities_not_of_queries():
    pids = ["a", "a", "a", "b", "c", "d", "e", "f"]
    counts = {"a": 2, "b": 9, "c": 40, "d": 3, "e": 4, "f": 2}
    assert members(by_training_images(pids, counts)) == {
        "head (40 to 9 training images)": [3, 4],
        "middle (4 to 3 training images)": [5, 6],
        "tail (2 training images)": [0, 1, 2, 7],
    }


def test_ties_are_cut_by_name_whatever_the_order():
    counts = dict.fromkeys("abcdefg", 5)
    labels = ["head (5 training images)", "middle (5 training images)", "tail (5 training images)"]
    for pids in (list("abcdefg"), list("gfedcba")):
        found = by_training_images(pids, counts)
        assert [group.label for group in found] == labels
        # Seven identities: the head has one more
        assert [sorted(np.array(pids)[group.members]) for group in found] == [list("abc"), list("de"), list("fg")]


def test_fewer_identities_than_thirds():
    assert members(by_training_images(["a"], {"a": 3})) == {"head (3 training images)": [0], "middle": [], "tail": []}


# ---- by a trait of the person ----------------------------------------------------------------------------------------


def test_thirds_of_identities_by_a_trait():
    pids = ["a", "a", "b", "c", "d", "e", "f", "g"]
    values = [0.9, 0.9, 0.1, 0.2, 0.5, 0.4, 0.3, 0.8]
    found = by_trait("skin tone", pids, values)
    assert members(found) == {
        "skin tone 0.10 to 0.30": [2, 3, 6],
        "skin tone 0.40 to 0.50": [4, 5],
        "skin tone 0.80 to 0.90": [0, 1, 7],
    }


def test_an_unknown_trait_is_a_group_only_where_there_is_one():
    assert by_trait("build", ["a", "b"], [None, None]) == []
    found = by_trait("build", ["a", "b", "c"], [1.0, None, 1.2])
    assert members(found) == {"build 1.00": [0], "build 1.20": [2], "build unknown": [1]}


# ---- averages -------------------------------------------------------------------------------------------------------


def metrics(first, precision):
    return QueryMetrics(np.array(first), np.array(precision), np.array(precision))


def test_averages_by_hand():
    found = metrics([1, 3, 0, 1, 2], [1.0, 0.3, 0.0, 0.5, 0.4])  # the third has no match
    groups = [Group("x", np.array([1, 1, 1, 0, 0], bool)), Group("none", np.zeros(5, bool))]
    groups += [Group("lost", np.array([0, 0, 1, 0, 0], bool)), Group("last", np.array([0, 0, 0, 1, 1], bool))]
    assert group_rows(found, [7, 7, 8, 9, 7], groups) == [
        GroupRow("x", 1, 2, 50.0, pytest.approx(65.0)),
        GroupRow("none", 0, 0, None, None),
        GroupRow("lost", 0, 0, None, None),  # its query does not count
        GroupRow("last", 2, 2, 50.0, pytest.approx(45.0)),
        GroupRow("all", 2, 4, 50.0, pytest.approx(55.0)),
    ]


def test_the_groups_are_parts_of_the_whole():
    """Weighted by their queries, groups that part the queries average to what the evaluator says of all."""
    rng = np.random.RandomState(2)
    pids, camids = (tuple(rng.randint(0, many, n) for n in (90, 120)) for many in (10, 3))
    found = query_metrics(rng.rand(90, 120), pids, camids)
    *rows, whole = group_rows(found, pids[0].tolist(), by_occlusion(rng.rand(90), [0.2, 0.5, 0.9]))
    total = summarise(found)
    assert (whole.rank1, whole.mean_ap) == (total["Rank-1"], total["mAP"])
    assert whole.queries == sum(row.queries for row in rows) == found.scored.sum()
    for name in ("rank1", "mean_ap"):
        weighted = sum(getattr(row, name) * row.queries for row in rows) / whole.queries
        assert weighted == pytest.approx(getattr(whole, name))


# ---- printing -------------------------------------------------------------------------------------------------------

ROWS = [GroupRow("head (9 to 5 training images)", 2, 3, 100.0, 66.666), GroupRow("tail", 0, 0, None, None)]


def test_table():
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in group_table(ROWS).splitlines()]
    assert lines[0] == ["group", "identities", "queries", "Rank-1", "mAP"]
    assert lines[2:] == [["head (9 to 5 training images)", "2", "3", "100.00", "66.67"], ["tail", "0", "0", "-", "-"]]


def test_record_is_json_without_nan():
    record = json.loads(group_record("X", ROWS), parse_constant=lambda name: pytest.fail(name))
    assert record["dataset"] == "X"
    assert record["groups"] == [
        {"group": ROWS[0].group, "identities": 2, "queries": 3, "Rank-1": 100.0, "mAP": 66.666},
        {"group": "tail", "identities": 0, "queries": 0, "Rank-1": None, "mAP": None},
    ]


def test_stress_table():
    clean = {"Rank-1": 80.0, "mAP": 60.0, "metric": 70.0}
    added = with_erased(clean, {"Rank-1": 50.0, "mAP": 70.0, "metric": 60.0})
    assert added == {"erased/Rank-1": 50.0, "erased/mAP": 70.0, "drop/Rank-1": 30.0, "drop/mAP": -10.0}
    table = stress_table({"X": clean | added})
    assert [cell.strip() for cell in table.splitlines()[-1].strip("|").split("|")] == [
        "X", "80.00", "50.00", "30.00", "60.00", "70.00", "-10.00"
    ]  # fmt: skip
