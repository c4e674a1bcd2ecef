"""Rates over all pairs, against loops over every pair and every threshold, and scikit-learn."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from fastreid_ext.evaluation.pair_curve import pair_curve
from fastreid_ext.evaluation.pair_report import draw_roc, pair_record, pair_table, probability, record_text

QUERIES, GALLERY = 23, 41


@pytest.fixture(params=["distinct", "ties"])
def test_set(request):
    """(scores (Q, G), identities, cameras) with pairs of one identity and one camera; many equal scores, or none."""
    rng = np.random.RandomState(0)
    pids = rng.randint(0, 5, QUERIES), rng.randint(0, 6, GALLERY)
    camids = rng.randint(0, 3, QUERIES), rng.randint(0, 3, GALLERY)
    scores = rng.randn(QUERIES, GALLERY) + 1.5 * (pids[0][:, None] == pids[1])
    return scores.round(1) if request.param == "ties" else scores, pids, camids


def curve_of(test_set, also=(), block=(7, 16)):
    scores, pids, camids = test_set
    return pair_curve(lambda some, others: scores[some, others], pids, camids, also, block)


def naive(test_set):
    """[(score, one person)] of every pair that counts."""
    scores, pids, camids = test_set
    pairs = []
    for i in range(QUERIES):
        for j in range(GALLERY):
            same = pids[0][i] == pids[1][j]
            if not (same and camids[0][i] == camids[1][j]):
                pairs.append((scores[i, j], bool(same)))
    return pairs


def rates(pairs, threshold):
    """(true positive rate, false positive rate, accuracy) of "one person if the score is no less"."""
    one, two = [s for s, same in pairs if same], [s for s, same in pairs if not same]
    true, false = sum(s >= threshold for s in one), sum(s >= threshold for s in two)
    return true / len(one), false / len(two), (true + len(two) - false) / len(pairs)


@pytest.mark.parametrize("block", [(7, 16), (1, 1), (100, 100), (23, 41)])
def test_every_threshold(test_set, block):
    """Counts are whole numbers: exact, whatever the blocks."""
    pairs, curve = naive(test_set), curve_of(test_set, also=[0.0, 99.0, -99.0, 0.25], block=block)
    assert curve.positives + curve.negatives == len(pairs) < QUERIES * GALLERY  # some pairs are left out
    assert curve.thresholds.tolist() == sorted(
        {s for s, same in pairs if same} | {0.0, 99.0, -99.0, 0.25}, reverse=True
    )
    for threshold in curve.thresholds:
        true, false, accuracy = rates(pairs, threshold)
        found = curve.at(threshold)
        assert (found["true_positive_rate"], found["false_positive_rate"]) == (true, false)
        assert found["accuracy"] == accuracy and found["balanced_accuracy"] == (true + 1 - false) / 2
    assert curve.at(99.0)["true_positive_rate"] == 0 and curve.at(-99.0)["false_positive_rate"] == 1


def test_the_best_of_all_thresholds(test_set):
    """No score of any pair, of two people too, is a better threshold."""
    pairs, curve = naive(test_set), curve_of(test_set)
    everywhere = [rates(pairs, score) for score in sorted({s for s, _ in pairs})]
    best = max(true - false for true, false, _ in everywhere)
    true, false, _ = rates(pairs, curve.best_balanced())
    assert true - false == pytest.approx(best, abs=1e-12)
    for limit in (0.5, 0.1, 0.01, 1 / curve.negatives, 0.0):
        expected = max((true for true, false, _ in everywhere if false <= limit), default=0.0)
        found, at = curve.strictest(limit)
        assert found == expected
        if at is not None:
            assert rates(pairs, at)[:2] == (found, curve.at(at)["false_positive_rate"]) and rates(pairs, at)[1] <= limit


def test_the_highest_of_equally_good_thresholds():
    """At 3 one of two pairs of one person and none of the others; at 1 both, and one of two: 1/2 either way."""
    scores, pids, camids = np.array([[3.0, 2.0, 1.0, 0.0]]), ([0], [0, 1, 0, 1]), ([0], [1, 1, 1, 1])
    labels = (tuple(map(np.array, side)) for side in (pids, camids))
    assert pair_curve(lambda some, others: scores[some, others], *labels).best_balanced() == 3.0


def test_area(test_set):
    pairs = naive(test_set)
    expected = roc_auc_score([same for _, same in pairs], [score for score, _ in pairs])
    assert curve_of(test_set).area == pytest.approx(expected, abs=1e-12)
    assert curve_of(test_set, also=[0.1, 50.0]).area == pytest.approx(expected, abs=1e-12)


def test_nothing_fits():
    """The highest score is of two people."""
    pids, camids = (np.array([0]), np.array([0, 1])), (np.array([0]), np.array([1, 1]))
    curve = pair_curve(lambda q, g: np.array([[0.0, 1.0]])[q, g], pids, camids)
    assert curve.strictest(0.5) == (0.0, None) and curve.strictest(1.0) == (1.0, 0.0)
    record = pair_record(curve, 0.0, "here", [], {})
    assert record["true_positive_rate_at"]["1e-02"] == {
        "false_positives_allowed": 0,
        "true_positive_rate": 0.0,
        "log_odds": None,
        "probability": None,
    }
    assert ["1e-02", "0", "0.00", "-"] in [row.replace("|", " ").split() for row in pair_table(record).splitlines()]


@pytest.mark.parametrize(("negatives", "allowed"), [(29_000, [290, 29, 2]), (999, [9, 0, 0]), (100, [1, 0, 0])])
def test_how_many_false_positives_a_rate_allows(negatives, allowed):
    """As many as are counted at it: of so few pairs 1e-4 may mean none, which the table says.

    Pairs of two people score 1 ... negatives, one person's below: at a threshold of n there are negatives - n + 1.
    """
    positives = np.arange(negatives, 0, -1) - 0.5  # behind 1, 2, 3 ... of the others
    pids = np.zeros(1), np.concatenate([np.zeros(negatives), np.ones(negatives)])
    scores = np.concatenate([positives, np.arange(negatives) + 1.0])[None]
    curve = pair_curve(lambda q, g: scores[q, g], pids, (np.zeros(1), np.ones(2 * negatives)), also=[0.0])
    record = pair_record(curve, 0.0, "here", [], {})
    found = record["true_positive_rate_at"]
    assert [found[rate]["false_positives_allowed"] for rate in ("1e-02", "1e-03", "1e-04")] == allowed
    rates = [found[rate]["true_positive_rate"] for rate in ("1e-02", "1e-03", "1e-04")]
    assert rates == [count / negatives for count in allowed]  # the n-th of one person lets n others in
    assert "false positives" in pair_table(record)


def test_refusals(test_set):
    scores, pids, camids = test_set
    score = lambda some, others: scores[some, others]  # noqa: E731
    one = (np.zeros(QUERIES), np.zeros(GALLERY))
    with pytest.raises(ValueError, match="no person is in query and gallery by two"):
        pair_curve(score, pids, one)
    with pytest.raises(ValueError, match="show only one person"):
        pair_curve(score, one, camids)
    with pytest.raises(ValueError, match="not a number"):
        pair_curve(lambda some, others: scores[some, others] * np.nan, pids, camids)
    with pytest.raises(ValueError, match="no counts at 0.123"):
        curve_of(test_set).at(0.123)


def test_record_and_picture(test_set, tmp_path):
    curve = curve_of(test_set, also=[0.0, 0.5])
    record = json.loads(record_text(pair_record(curve, 0.5, "Validation", ["a", "b"], {"test_set": "T"})))
    assert record["pairs"] == {"one_person": curve.positives, "two_people": curve.negatives}
    assert curve.positives < curve.negatives and record["area_below_roc"] == curve.area
    assert record["test_set"] == "T" and record["warnings"] == ["a", "b"]
    assert record["threshold"] == {"probability": pytest.approx(0.62245933), "log_odds": 0.5, "chosen_on": "Validation"}
    assert record["at_threshold"] == curve.at(0.5) and record["at_one_half"] == curve.at(0.0)
    assert set(record["true_positive_rate_at"]) == {"1e-02", "1e-03", "1e-04"}
    assert record["true_positive_rate_at"]["1e-02"]["true_positive_rate"] == curve.strictest(0.01)[0]
    assert record["roc"][0] == [0.0 if curve.false[0] == 0 else curve.false_rate[0], curve.true_rate[0]]
    table = [[cell.strip() for cell in row.strip("|").split("|")] for row in pair_table(record).splitlines()]
    for name, at, threshold in (("chosen on Validation", "0.622459", 0.5), ("one half", "0.500000", 0.0)):
        keys = ("true_positive_rate", "false_positive_rate", "accuracy", "balanced_accuracy")
        assert [name, at, *(f"{100 * curve.at(threshold)[key]:.2f}" for key in keys)] in table
    assert table[0][2:] == [f"{key.replace('_', ' ')} (%)" for key in keys]
    assert record["roc"] == sorted(record["roc"]) and len(record["roc"]) <= 200
    draw_roc(curve, record, tmp_path / "new" / "roc.png", "T")
    with Image.open(tmp_path / "new" / "roc.png") as picture:
        assert picture.format == "PNG" and picture.size[0] > 400
    assert probability(0.0) == 0.5 and probability(-800.0) == 0.0 and probability(800.0) == 1.0
