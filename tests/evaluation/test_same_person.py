"""Probabilities and thresholds of a similarity, against loops over every pair, SciPy and scikit-learn."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.metrics import brier_score_loss, log_loss

from fastreid_ext.errors import ConfigError, EvaluationError, UserError
from fastreid_ext.evaluation.calibration import BINS, Line, Steps, fit_line, fit_steps, measure, probability_of
from fastreid_ext.evaluation.distances import DistanceRows
from fastreid_ext.evaluation.pair_set import halves_of, similar_pairs, similarities, similarity_of_distance
from fastreid_ext.evaluation.same_person import SamePerson, SamePersonError

QUERIES, GALLERY, PEOPLE, DIM = 30, 50, 8, 12


def features_of(seed=0, noise=1.0, people=PEOPLE, queries=QUERIES, gallery=GALLERY, cameras=3):
    """(query, gallery, identities, cameras)."""
    rng = np.random.default_rng(seed)
    pids = tuple(np.arange(count) % people for count in (queries, gallery))
    camids = tuple(rng.integers(0, cameras, count) for count in (queries, gallery))
    centers = rng.normal(size=(people, DIM))
    both = [
        torch.tensor(centers[side] + noise * rng.normal(size=(len(side), DIM)), dtype=torch.float32) for side in pids
    ]
    return *both, pids, camids


def pairs_of(metric="cosine", left_out=((), ()), **kind):
    out = tuple(np.array(side, dtype=np.int64) for side in left_out)
    query, gallery, pids, camids = features_of(**kind)
    return dataclasses.replace(similar_pairs(query, gallery, pids, camids, metric, out), block=(7, 16))


def naive(metric="cosine", left_out=((), ()), **kind):
    """Similarities of all pairs of one person, and of all pairs of two, pair by pair in float64."""
    query, gallery, pids, camids = features_of(**kind)
    found = [], []
    for i, a in enumerate(query.double().numpy()):
        for j, b in enumerate(gallery.double().numpy()):
            same = pids[0][i] == pids[1][j]
            if (same and camids[0][i] == camids[1][j]) or (i, j) in set(zip(*left_out, strict=True)):
                continue
            cosine = a @ b / math.sqrt(a @ a) / math.sqrt(b @ b)
            found[0 if same else 1].append(cosine if metric == "cosine" else -math.sqrt(((a - b) ** 2).sum()))
    return np.array(found[0]), np.array(found[1])


METRICS = pytest.mark.parametrize("metric", ["cosine", "euclidean"])


# ---- similarities ---------------------------------------------------------------------------------------------------


@METRICS
def test_similarities(metric):
    one, two = (np.concatenate(side) for side in zip(*pairs_of(metric).scores(), strict=True))
    for found, expected in zip((one, two), naive(metric), strict=True):
        np.testing.assert_allclose(np.sort(found), np.sort(expected), atol=1e-12)
    query, gallery, *_ = features_of()
    paired = similarities(query, gallery[:QUERIES], metric)
    distances = DistanceRows(query, gallery[:QUERIES], metric).rows(0, QUERIES).diagonal().numpy()
    np.testing.assert_allclose(similarity_of_distance(distances, metric), paired, atol=1e-5)
    low, high = pairs_of(metric).span
    assert low <= min(one.min(), two.min()) and max(one.max(), two.max()) <= high


def test_features_that_are_no_numbers():
    query, gallery, pids, camids = features_of()
    query[3, 2] = torch.nan
    for call in (
        lambda: similar_pairs(query, gallery, pids, camids, "cosine"),
        lambda: similarities(query, gallery[:QUERIES], "cosine"),
    ):
        with pytest.raises(EvaluationError, match="row 3"):
            call()


def test_half_precision():
    """What a store in float16 holds has the similarities of those very numbers."""
    query, gallery, pids, camids = features_of()
    half = similar_pairs(query.half(), gallery.half(), pids, camids, "cosine")
    whole = similar_pairs(query.half().float(), gallery.half().float(), pids, camids, "cosine")
    every = slice(None)
    np.testing.assert_array_equal(half.score(every, every), whole.score(every, every))


def test_pairs_of_some_people():
    """What is left out of the whole is left out of each part, and a part has its own people's pairs alone."""
    left_out = ((0, 0, 5, 9), (2, 8, 5, 30))
    pairs, chosen = pairs_of(left_out=left_out), np.array([0, 3, 5])
    query, gallery, pids, camids = features_of()
    found = [np.concatenate(side) for side in zip(*pairs.of(chosen).scores(), strict=True)]
    expected = [], []
    for i in range(QUERIES):
        for j in range(GALLERY):
            same = pids[0][i] == pids[1][j]
            junk = (same and camids[0][i] == camids[1][j]) or (i, j) in set(zip(*left_out, strict=True))
            if {pids[0][i], pids[1][j]} <= set(chosen) and not junk:
                expected[0 if same else 1].append(similarities(query[i : i + 1], gallery[j : j + 1], "cosine")[0])
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.sort(ours), np.sort(theirs), atol=1e-12)


def test_halves():
    """Disjoint, all people, those with pairs and the others evenly; the same for one seed alone."""
    people, matched = np.arange(21), np.arange(0, 20, 2)
    one, two = halves_of(people, matched, seed=3)
    assert sorted([*one, *two]) == people.tolist()
    assert len(np.intersect1d(one, matched)) == len(np.intersect1d(two, matched)) == 5
    assert [half.tolist() for half in halves_of(people, matched, 3)] == [one.tolist(), two.tolist()]
    assert halves_of(people, matched, 4)[0].tolist() != one.tolist()
    with pytest.raises(EvaluationError, match="3 people are in query and gallery by two different cameras"):
        halves_of(people, matched[:3], 0)


# ---- fits -----------------------------------------------------------------------------------------------------------


def pooled(one, two):
    """Isotonic regression by its max-min formula (Robertson et al., 1988), with one more pair of each kind.

    score -> share of the pairs of one person, both kinds weighing the same.
    """
    one, two = [-np.inf, *one], [*two, np.inf]
    scores = np.unique([*one, *two])
    ones = np.array([np.sum(np.array(one) == score) for score in scores]) / len(one)
    both = ones + np.array([np.sum(np.array(two) == score) for score in scores]) / len(two)
    sums = np.concatenate([[0], np.cumsum(ones)]), np.concatenate([[0], np.cumsum(both)])
    mean = lambda first, last: (sums[0][last + 1] - sums[0][first]) / (sums[1][last + 1] - sums[1][first])  # noqa: E731
    count = len(scores)
    return {
        score: max(min(mean(a, b) for b in range(i, count)) for a in range(i + 1))
        for i, score in enumerate(scores)
        if np.isfinite(score)
    }


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("decimals", [None, 1])
def test_isotonic_regression(grid, decimals):
    """Exact at the score of every pair, also of those that are only counted; with ties, and with a finer curve."""
    kind = {"queries": 9, "gallery": 13, "people": 4, "noise": 1.5}
    pairs = pairs_of(**kind)
    score = pairs.score
    if decimals is not None:
        pairs = dataclasses.replace(pairs, score=lambda some, others: score(some, others).round(decimals))
    one, two = (np.concatenate(side) for side in zip(*pairs.scores(), strict=True))
    steps = fit_steps(pairs.curve(grid=grid))
    expected = pooled(one, two)
    found = probability_of(steps(np.array(list(expected))))
    np.testing.assert_allclose(found, list(expected.values()), atol=1e-12)
    assert 0 < found.min() and found.max() < 1 and len(steps.starts) > 1
    assert set(steps.starts) <= set(one)
    assert probability_of(steps(np.array([-2.0, 2.0]))).tolist() == [found.min(), found.max()]


@METRICS
def test_platts_line(metric):
    """The least cross entropy over all pairs to Platt's targets; the grid costs some 1e-3 of a log odd."""
    one, two = naive(metric)
    scores = np.concatenate([one, two])
    weight = np.repeat([1 / len(one), 1 / len(two)], [len(one), len(two)])
    target = np.repeat([(len(one) + 1) / (len(one) + 2), 1 / (len(two) + 2)], [len(one), len(two)])

    def loss(line):
        log_odds = line[0] * scores + line[1]
        return (weight * (target * np.logaddexp(0, -log_odds) + (1 - target) * np.logaddexp(0, log_odds))).sum()

    expected = minimize(loss, (1.0, 0.0), method="BFGS", options={"gtol": 1e-9}).x
    line = fit_line(pairs_of(metric).curve(grid=True))
    assert (line.slope, line.offset) == pytest.approx(expected, rel=5e-3, abs=5e-3)
    assert line(np.array([1e9, -1e9])) == pytest.approx([math.log(len(two) + 1), -math.log(len(one) + 1)])


@pytest.mark.parametrize("fit", [fit_steps, fit_line])
def test_measures(fit):
    pairs, (one, two) = pairs_of(), naive()
    fitted = fit(pairs_of(seed=1).curve(grid=True))
    found = measure(pairs, fitted)
    p = probability_of(fitted(np.concatenate([one, two])))
    same = np.repeat([1, 0], [len(one), len(two)])
    weight = np.repeat([0.5 / len(one), 0.5 / len(two)], [len(one), len(two)])
    assert found["brier"] == pytest.approx(brier_score_loss(same, p, sample_weight=weight), rel=1e-9)
    assert found["log_loss"] == pytest.approx(log_loss(same, p, sample_weight=weight), rel=1e-9)
    error = 0.0
    for number in range(BINS):
        here = (p >= number / BINS) & ((p < (number + 1) / BINS) | (number == BINS - 1))
        if here.any():
            share = weight[here].sum()
            error += share * abs(
                np.average(same[here], weights=weight[here]) - np.average(p[here], weights=weight[here])
            )
    assert found["expected_calibration_error"] == pytest.approx(error, rel=1e-9)


def test_the_better_method_on_people_that_were_not_seen():
    for kind in ({"noise": 0.7}, {"noise": 2.0, "seed": 5}):
        fitted = SamePerson.fit(pairs_of(**kind), "cosine", seed=2)
        held_out = {name: values["log_loss"] for name, values in fitted.held_out.items()}
        assert fitted.calibration.name == min(held_out, key=held_out.get)
        parts = [pairs_of(**kind).of(half) for half in halves_of(np.arange(PEOPLE), np.arange(PEOPLE), 2)]
        for name, fit in (("isotonic", fit_steps), ("platt", fit_line)):
            by_hand = [measure(parts[1 - n], fit(parts[n].curve(grid=True)))["brier"] for n in (0, 1)]
            assert fitted.held_out[name]["brier"] == pytest.approx(np.mean(by_hand), rel=1e-12)


def test_probabilities_hold_for_people_that_were_not_seen():
    """Of many new pairs that get about 0.8, 80 % are right, where as many show one person as two."""
    fitted = SamePerson.fit(pairs_of(noise=1.2, people=60, queries=120, gallery=240), "cosine")
    one, two = (
        np.concatenate(side)
        for side in zip(*pairs_of(noise=1.2, people=60, queries=120, gallery=240, seed=9).scores(), strict=True)
    )
    for low, high in ((0.1, 0.3), (0.3, 0.6), (0.6, 0.8), (0.8, 0.97)):
        shares, means = [], []
        for scores in (one, two):
            p = fitted.probability(scores)
            here = (p >= low) & (p < high)
            shares.append(here.mean())
            means.append(p[here].sum() / len(p))
        assert shares[0] / sum(shares) == pytest.approx(sum(means) / sum(shares), abs=0.08)


# ---- the prior ------------------------------------------------------------------------------------------------------


def test_another_prior_is_bayes_rule():
    fitted = SamePerson.fit(pairs_of(), "cosine")
    similarity = np.linspace(-1, 1, 9)
    even, rare = fitted.probability(similarity), fitted.with_prior(0.01).probability(similarity)
    np.testing.assert_allclose(rare, 0.01 * even / (0.01 * even + 0.99 * (1 - even)), rtol=1e-12)
    assert fitted.with_prior(0.01).are_same(similarity).tolist() == fitted.are_same(similarity).tolist()
    for wrong in (0, 1, -0.5, math.nan):
        with pytest.raises(ConfigError, match="the prior is"):
            fitted.with_prior(wrong)


# ---- thresholds -----------------------------------------------------------------------------------------------------


@METRICS
def test_thresholds(metric):
    one, two = naive(metric)
    fitted = SamePerson.fit(pairs_of(metric), metric)
    balanced = max(sorted(one)[::-1], key=lambda t: round((one >= t).mean() - (two >= t).mean(), 12))
    assert fitted.thresholds["balanced"] == pytest.approx(balanced, abs=1e-12)
    assert (fitted.positives, fitted.negatives, fitted.people) == (len(one), len(two), PEOPLE)
    for name, rate in (("fpr_1e-2", 1e-2), ("fpr_1e-3", 1e-3)):
        expected = min(t for t in one if (two >= t).mean() <= rate)
        assert fitted.thresholds[name] == pytest.approx(expected, abs=1e-12)
    assert "it rests on 13 of 1312 pairs" in fitted.notes["fpr_1e-2"] and "it rests on 1 of" in fitted.notes["fpr_1e-3"]
    # 1312 pairs can't tell how often one in 10,000 is wrong.
    assert fitted.thresholds["fpr_1e-4"] is None
    assert fitted.notes["fpr_1e-4"] == "its rate needs 10000 pairs of two people or more, and there are 1312"
    with pytest.raises(
        ConfigError, match="no threshold fpr_1e-4: its rate needs 10000 .* or fpr_1e-3 or a probability"
    ):
        fitted.are_same(np.zeros(1), "fpr_1e-4")


def test_answers():
    fitted = SamePerson.fit(pairs_of(), "cosine")
    at = fitted.thresholds["fpr_1e-2"]
    verdicts = [one.verdict for one in fitted.answers(np.array([at, at - 1e-9]), "fpr_1e-2")]
    assert verdicts == ["same person", "different people"]
    similarity = np.linspace(-1, 1, 50)
    for threshold in (0.9, "0.9"):
        assert fitted.are_same(similarity, threshold).tolist() == (fitted.probability(similarity) >= 0.9).tolist()
    for wrong in ("fpr_1e-5", "1.1", "-0.1", "nan", "", "BALANCED"):
        with pytest.raises(ConfigError, match="must be balanced, fpr_1e-2"):
            fitted.are_same(similarity, wrong)
    for wrong in (np.nan, np.inf):
        with pytest.raises(EvaluationError, match="not a finite number"):
            fitted.answers(np.array([0.0, wrong]))


def test_a_similarity_that_tells_nothing():
    pairs = pairs_of()
    constant = dataclasses.replace(pairs, score=lambda some, others: np.zeros_like(pairs.score(some, others)))
    fitted = SamePerson.fit(constant, "cosine")
    assert fitted.probability(np.array([-1.0, 0.0, 1.0])) == pytest.approx([0.5] * 3, abs=0.02)
    assert set(fitted.thresholds.values()) == {None}
    assert "says nothing about them" in fitted.notes["balanced"] and "as similar" in fitted.notes["fpr_1e-2"]
    with pytest.raises(ConfigError, match="no threshold balanced: .*; use a probability"):
        fitted.are_same(np.zeros(1))
    # One that says the contrary is no better.
    contrary = dataclasses.replace(pairs, score=lambda some, others: -pairs.score(some, others))
    assert (np.diff(SamePerson.fit(contrary, "cosine").probability(np.linspace(-1, 1, 9))) >= 0).all()


@pytest.mark.parametrize(("kind", "sentence"), [
    ({"people": 1}, "1 people are in query and gallery"),
    ({"people": 3}, "3 people are in query and gallery"),
    ({"cameras": 1}, "0 people are in query and gallery"),
])  # fmt: skip
def test_too_few_people(kind, sentence):
    with pytest.raises(EvaluationError, match=sentence):
        SamePerson.fit(pairs_of(**kind), "cosine")


def test_pairs_that_are_told_apart_without_a_mistake():
    """Neither 0 nor 1 is ever sure: so many pairs tell of nothing rarer than one in them."""
    fitted = SamePerson.fit(pairs_of(noise=1e-3), "cosine")
    p = fitted.probability(np.array([-1.0, 1.0]))
    odds = p / (1 - p)
    assert odds[1] <= fitted.negatives + 1.01 and odds[0] >= 1 / (fitted.positives + 1.01)
    assert p[0] < 0.05 and p[1] > 0.99


# ---- as JSON --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_read_as_it_was_written(method):
    fitted = SamePerson.fit(
        pairs_of(), "cosine", measured_on="Shop", warnings=("w",), model_sha256="a", config_sha256="b"
    )
    fit = {"isotonic": fit_steps, "platt": fit_line}[method]
    fitted = dataclasses.replace(fitted, calibration=fit(pairs_of().curve(grid=True)))
    assert SamePerson.from_dict(json.loads(json.dumps(fitted.to_dict())), "f") == fitted


def damaged():
    """Yield (what is wrong, a change of a good record)."""
    strange = (None, True, "text", [], {}, -1, 0.5, math.nan, math.inf, 10**400, [1], {"a": 1})
    for key in (field.name for field in dataclasses.fields(SamePerson)):
        yield key, lambda data, key=key: data.pop(key)
        for value in strange:
            yield key, lambda data, key=key, value=value: data.update({key: value})
    for key in ("method", "starts", "log_odds"):
        for value in (*strange, [math.nan], [1.0, 1.0], [2.0, 1.0], ["a"]):
            yield key, lambda data, key=key, value=value: data["calibration"].update({key: value})
    for key in ("slope", "offset", "lowest", "highest"):
        for value in strange:
            line = {"method": "platt", "slope": 1.0, "offset": 0.0, "lowest": -1.0, "highest": 1.0, key: value}
            yield key, lambda data, line=line: data.update(calibration=line)
    for value in strange:
        yield "thresholds", lambda data, value=value: data["thresholds"].update({"fpr_1e-2": value})
        yield "thresholds", lambda data, value=value: data["thresholds"].update({"fpr_1e-9": value})
        yield "format", lambda data, value=value: data.update(format=value)


def test_a_damaged_record():
    """Each is refused by one sentence, or means something that can be."""
    fitted = SamePerson.fit(pairs_of(), "cosine")
    fitted = dataclasses.replace(fitted, calibration=fit_steps(pairs_of().curve()))
    refused = 0
    for _, change in damaged():
        data = json.loads(json.dumps(fitted.to_dict()))
        change(data)
        try:
            p = SamePerson.from_dict(data, "same.json").probability(np.linspace(-3, 3, 7))
            assert (np.diff(p) >= 0).all() and ((p >= 0) & (p <= 1)).all()
        except SamePersonError as error:
            refused += "same.json" in str(error)
    assert refused > 200
    for other in (None, [], "text", 3, {}, {"format": "another"}):
        with pytest.raises(UserError, match=r"same\.json says"):
            SamePerson.from_dict(other, "same.json")


def test_steps_and_line_are_what_they_say():
    assert Steps((0.0,), (-1.0, 1.0))(np.array([-1e-9, 0.0, 5.0])).tolist() == [-1, 1, 1]
    assert Line(2.0, 1.0, -3.0, 4.0)(np.array([-9.0, 0.0, 9.0])).tolist() == [-3, 1, 4]
    assert probability_of(np.array([-800.0, 0.0, 800.0])).tolist() == pytest.approx([0, 0.5, 1])
