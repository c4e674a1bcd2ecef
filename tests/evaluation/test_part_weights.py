"""Distances for any weights of a feature's parts, and the search of the best ones, against what they stand for."""

import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fastreid.utils.compute_dist import build_dist
from PIL import Image

from fastreid_ext.config import get_cfg
from fastreid_ext.evaluation.evaluator import RankListEvaluator
from fastreid_ext.evaluation.part_weights import WeightedParts, coordinate_search, shares, weight_grid
from fastreid_ext.evaluation.weight_report import curve_table, draw_weight_curves, search_record, weight_table

WIDTHS = {"a": 16, "b": 5, "c": 32}
WEIGHTS = [(0.35, 0.5, 0.8), (1.0, 1.0, 1.0), (0.05, 1.0, 0.3), (7.0, 0.01, 2.0)]


@pytest.fixture
def people():
    """90 images of 12 people under 3 cameras: (parts -> features, identities, cameras); 30 of them are queries.

    Each part knows the person by another amount, so that weights matter; parts are not of length 1.
    """
    generator = torch.Generator().manual_seed(0)
    pids, camids = torch.arange(90) % 12, torch.arange(90) % 7 % 3
    parts = {}
    for noise, (name, width) in zip((2.0, 1.0, 3.0), WIDTHS.items(), strict=True):
        centres = torch.randn(12, width, generator=generator)
        parts[name] = centres[pids] + noise * torch.randn(90, width, generator=generator)
    return parts, pids, camids


def sides(parts):
    return {k: v[:30] for k, v in parts.items()}, {k: v[30:] for k, v in parts.items()}


def concatenated(parts, weights):
    return torch.cat([weights[name] * part for name, part in parts.items()], dim=1)


def evaluator_says(people, weights, metric, folder):
    """The metrics of the concatenation, by the evaluator of every run."""
    parts, pids, camids = people
    cfg = get_cfg()
    cfg.merge_from_list(["TEST.METRIC", metric, "TEST.RANK_LIST.ENABLED", False])
    evaluator = RankListEvaluator(cfg, 30, "people", str(folder))
    evaluator.reset()
    paths = [str(number) for number in range(90)]
    evaluator.process({"targets": pids, "camids": camids, "img_paths": paths}, concatenated(parts, weights))
    return evaluator.evaluate()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("values", WEIGHTS)
def test_distances_are_those_of_the_concatenation(people, metric, unit, values):
    """Within 1e-5 of the host's, relative where it grows with the weights (float32, sums in another order)."""
    parts = {name: F.normalize(part) if unit else part for name, part in people[0].items()}
    weights = dict(zip(WIDTHS, values, strict=True))
    found = WeightedParts(*sides(parts), metric).distances(weights)
    both = concatenated(parts, weights)
    expected = build_dist(both[:30], both[30:], metric)
    assert found.shape == (30, 60) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * (1.0 if metric == "cosine" else expected.max()))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("values", WEIGHTS)
def test_metrics_are_those_of_the_evaluator(people, metric, values, tmp_path):
    parts, pids, camids = people
    scored = WeightedParts(*sides(parts), metric)
    pids, camids = ((numbers[:30].numpy(), numbers[30:].numpy()) for numbers in (pids, camids))
    weights = dict(zip(WIDTHS, values, strict=True))
    found = scored.metrics(weights, pids, camids)
    expected = evaluator_says(people, weights, metric, tmp_path)
    assert found == pytest.approx(dict(expected), abs=1e-6)  # percent: the ranking is the same
    twice = scored.metrics({part: 2 * weight for part, weight in weights.items()}, pids, camids)
    assert twice == pytest.approx(found, abs=1e-6)


def test_weights_matter(people):
    """Or the tests above could not tell them apart: three weightings, three mAPs, that of the clearest part highest."""
    scored = WeightedParts(*sides(people[0]))
    pids, camids = ((numbers[:30].numpy(), numbers[30:].numpy()) for numbers in people[1:])
    one = {part: scored.metrics(dict.fromkeys(WIDTHS, 0.01) | {part: 1.0}, pids, camids)["mAP"] for part in WIDTHS}
    assert len({round(value) for value in one.values()}) == 3 and max(one, key=one.get) == "b"


def test_a_zero_feature_is_no_division_by_zero():
    zero, one = {"a": torch.zeros(1, 3), "b": torch.zeros(1, 2)}, {"a": torch.ones(2, 3), "b": torch.ones(2, 2)}
    assert WeightedParts(zero, one).distances({"a": 1.0, "b": 1.0}).tolist() == [[1.0, 1.0]]


def test_shares():
    """0.09 / 0.25 and 0.16 / 0.25, whatever the scale."""
    assert shares({"a": 0.3, "b": 0.4}) == pytest.approx({"a": 0.36, "b": 0.64})
    assert shares({"a": 3.0, "b": 4.0}) == pytest.approx({"a": 0.36, "b": 0.64})


@pytest.mark.parametrize(
    ("numbers", "grid"),
    [((0.05, 0.2, 0.05), [0.05, 0.1, 0.15, 0.2]), ((0.1, 0.35, 0.1), [0.1, 0.2, 0.3]), ((1.0, 1.0, 9.0), [1.0])],
)
def test_grid(numbers, grid):
    assert weight_grid(*numbers) == grid
    assert len(weight_grid(0.05, 1.0, 0.05)) == 20 and weight_grid(0.05, 1.0, 0.05)[-1] == 1.0


@pytest.mark.parametrize("numbers", [(0.0, 1.0, 0.1), (-1.0, 1.0, 0.1), (0.5, 0.4, 0.1), (0.1, 1.0, 0.0)])
def test_no_grid(numbers):
    with pytest.raises(ValueError, match="a grid needs 0 < FIRST <= LAST and a STEP above 0"):
        weight_grid(*numbers)


# ---- search ---------------------------------------------------------------------------------------------------------

GRID = weight_grid(0.1, 1.0, 0.1)


class Hill:
    """A score with one peak; ``coupled`` tilts it, so that one round is not enough."""

    def __init__(self, peak, coupled=0.0):
        self.peak, self.coupled, self.asked = peak, coupled, []

    def __call__(self, weights):
        self.asked.append(tuple(weights.values()))
        away = [weights[part] - place for part, place in self.peak.items()]
        return 50 - sum(x * x for x in away) - self.coupled * sum(x * y for x, y in itertools.pairwise(away))


def test_the_peak_of_independent_weights_is_found_in_a_round():
    hill = Hill({"a": 0.3, "b": 0.7, "c": 0.52})
    search = coordinate_search(hill, {"a": 1.0, "b": 0.55, "c": 0.52}, GRID, rounds=5)
    # c starts at its peak, off the grid, and stays
    assert search.best == {"a": 0.3, "b": 0.7, "c": 0.52} and search.best_score == pytest.approx(50)
    assert search.start == {"a": 1.0, "b": 0.55, "c": 0.52} and search.start_score == pytest.approx(50 - 0.49 - 0.0225)
    assert search.rounds == 2 and search.converged  # the second finds nothing to change


def test_nothing_is_asked_twice():
    hill = Hill({"a": 0.3, "b": 0.7}, 0.9)
    coordinate_search(hill, {"a": 1.0, "b": 0.5}, GRID, rounds=9)
    assert len(hill.asked) == len(set(hill.asked))


def test_weights_that_interfere():
    """More rounds than one; at the end no single change is better, asked without the search; curves are the score."""
    peak = {"a": 0.2, "b": 0.8, "c": 0.4}
    search = coordinate_search(Hill(peak, 0.9), dict.fromkeys(peak, 1.0), GRID, rounds=20)
    again = Hill(peak, 0.9)
    assert search.rounds > 2 and search.converged and search.best_score == again(search.best) > search.start_score
    for part, points in search.curves.items():
        assert [weight for weight, _ in points] == sorted({*GRID, *search.best.values()})
        assert points == [(weight, again(search.best | {part: weight})) for weight, _ in points]
        assert max(value for _, value in points) == search.best_score
    short = coordinate_search(Hill(peak, 0.9), dict.fromkeys(peak, 1.0), GRID, rounds=1)
    assert short.rounds == 1 and not short.converged and short.best_score < search.best_score


def test_equal_scores_change_nothing():
    search = coordinate_search(lambda weights: 42.0, {"a": 0.35, "b": 0.5}, GRID, rounds=3)
    assert search.best == {"a": 0.35, "b": 0.5} and search.rounds == 1 and search.converged


def test_the_search_refuses():
    for start, rounds in (({"a": 1.0}, 3), ({"a": 1.0, "b": 1.0}, 0)):
        with pytest.raises(ValueError, match="a search needs two parts and a round"):
            coordinate_search(lambda weights: 0.0, start, GRID, rounds)


def test_other_metrics_are_refused():
    with pytest.raises(ValueError, match=r"not for 'jaccard'"):
        WeightedParts({}, {}, "jaccard")


# ---- report ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def search():
    return coordinate_search(Hill({"a": 0.3, "b": 0.4, "c": 1.2}), {"a": 0.35, "b": 0.4, "c": 1.2}, GRID, rounds=5)


def cells(table):
    lines = [line for line in table.splitlines() if not line.startswith(("|-", "|:"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_tables(search):
    assert cells(weight_table(search)) == [
        ["part", "start", "best", "share of the similarity (%)"],
        ["a", "0.35", "0.3", "5.3"],  # 0.09 / (0.09 + 0.16 + 1.44)
        ["b", "0.4", "0.4", "9.5"],
        ["c", "1.2", "1.2", "85.2"],
        ["mAP (%)", "50.00", "50.00", ""],
    ]
    head, *rows = cells(curve_table(search))
    assert head == ["weight", "a", "b", "c"] and len(rows) == 11  # ten of the grid, and 1.2
    assert rows[0] == ["0.1", "49.96", "49.91", "48.79"] and rows[-1] == ["1.2", "49.19", "49.36", "50.00"]


def test_record(search):
    record = json.loads(search_record(search, 'KEY "[1]"', ["careful"], {"test_set": "Validation"}))
    assert record["test_set"] == "Validation" and record["option"] == 'KEY "[1]"' and record["warnings"] == ["careful"]
    assert record["best"] == {
        "weights": {"a": 0.3, "b": 0.4, "c": 1.2},
        "mAP": pytest.approx(50),
        "shares": pytest.approx({"a": 0.09 / 1.69, "b": 0.16 / 1.69, "c": 1.44 / 1.69}),
    }
    assert record["start"] == {"weights": {"a": 0.35, "b": 0.4, "c": 1.2}, "mAP": pytest.approx(49.9975)}
    assert record["curves"]["a"][0] == [0.1, pytest.approx(49.96)] and record["converged"] and record["rounds"] == 2


def test_picture(search, tmp_path):
    draw_weight_curves(search, tmp_path / "new" / "curves.png", "title")
    with Image.open(tmp_path / "new" / "curves.png") as picture:
        assert picture.format == "PNG" and picture.size[0] > 600 and picture.size[1] > 400
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    # the curves and, in red, the chosen weights
    assert (pixels.max(1) < 100).sum() > 500 and ((pixels[:, 0] > 150) & (pixels[:, 1:].max(1) < 120)).sum() > 50
