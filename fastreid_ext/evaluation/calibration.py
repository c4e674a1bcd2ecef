"""From a similarity to a probability: isotonic regression and Platt's line, fitted by counts and measured held out.

Both give log odds at even prior odds, which is the log of how many times likelier a similarity is for a pair of one
person than for a pair of two. Any other prior adds its own log odds.

Platt, "Probabilistic outputs for support vector machines", 1999. Zadrozny & Elkan, "Transforming classifier scores
into accurate multiclass probability estimates", KDD 2002. Neither ends at a probability of 0 or 1: N pairs tell of
nothing that is rarer than one in N + 1, so the fits see one pair more of each kind where it fits least.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from fastreid_ext.evaluation.pair_curve import PairCurve
from fastreid_ext.evaluation.pair_set import PairSet

BINS = 15  # of the expected calibration error
EVEN = 0.5
MEASURES = ("brier", "expected_calibration_error", "log_loss")


@dataclass(frozen=True)
class Steps:
    """Isotonic regression: log odds that rise in steps.

    Attributes:
        starts: (S,) rising similarities, the first of each step but the lowest one.
        log_odds: (S + 1,) not falling.
    """

    name: ClassVar[str] = "isotonic"
    starts: tuple[float, ...]
    log_odds: tuple[float, ...]

    def __call__(self, similarity: np.ndarray) -> np.ndarray:
        """Return the log odds at even prior odds, of any shape."""
        return np.asarray(self.log_odds)[np.searchsorted(np.asarray(self.starts), similarity, side="right")]


@dataclass(frozen=True)
class Line:
    """Platt's scaling: log odds on a line, cut where the pairs that it was fitted on can't tell any more.

    Attributes:
        slope: 0 or more.
        offset: log odds at a similarity of 0.
        lowest, highest: of the log odds.
    """

    name: ClassVar[str] = "platt"
    slope: float
    offset: float
    lowest: float
    highest: float

    def __call__(self, similarity: np.ndarray) -> np.ndarray:
        """Return the log odds at even prior odds, of any shape."""
        return np.clip(self.slope * np.asarray(similarity) + self.offset, self.lowest, self.highest)


Calibration = Steps | Line


def fit_steps(curve: PairCurve) -> Steps:
    """Fit isotonic regression, both kinds of pairs weighing the same; exact, though most scores are only counted.

    Steps begin at scores of same-person pairs alone: between two of these there are only pairs of two people, which
    the fit pools with what is above or below.
    """
    _, one, two = _groups(curve)
    one[0] += 1
    two[-1] += 1
    shares = np.stack([one / one.sum(), two / two.sum()])
    weight = shares.sum(axis=0)
    filled = np.flatnonzero(weight)
    share, weight = shares[0][filled] / weight[filled], weight[filled]
    fitted = IsotonicRegression().fit_transform(np.arange(len(filled)), share, sample_weight=weight)
    first = np.flatnonzero(np.diff(fitted, prepend=-1.0) > 0)  # of each step
    sums = np.add.reduceat(shares[:, filled], first, axis=1)
    log_odds = np.maximum.accumulate(np.log(sums[0]) - np.log(sums[1]))
    # Group i > 0 begins at the i-th lowest threshold.
    starts = curve.thresholds[::-1][filled[first[1:]] - 1]
    return Steps(tuple(starts.tolist()), tuple(log_odds.tolist()))


def fit_line(curve: PairCurve) -> Line:
    """Fit a line by maximum likelihood to Platt's targets, both kinds of pairs weighing the same.

    Args:
        curve: with counts on a grid, because a pair of two people is taken to be in the middle of its two neighbours
            on the curve.
    """
    rising, one, two = _groups(curve)
    low, high = np.concatenate([rising[:1], rising]), np.concatenate([rising, rising[-1:]])
    scores = np.concatenate([low, (low + high) / 2])  # a same-person pair is at its threshold
    targets = [(count + 1) / (count + 2) for count in (curve.positives, curve.negatives)]
    of_one, of_two = one / curve.positives, two / curve.negatives
    likely = np.concatenate([of_one * targets[0], of_two * (1 - targets[1])])
    unlikely = np.concatenate([of_one * (1 - targets[0]), of_two * targets[1]])
    weight = likely + unlikely
    mean = np.average(scores, weights=weight)
    spread = math.sqrt(np.average((scores - mean) ** 2, weights=weight))
    lowest, highest = -math.log(curve.positives + 1), math.log(curve.negatives + 1)
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return Line(0.0, 0.0, lowest, highest)
    inputs = np.tile((scores - mean) / spread, 2)[:, None]
    labels = np.repeat([1, 0], len(scores))
    weights = np.concatenate([likely, unlikely])
    kept = weights > 0
    model = LogisticRegression(C=1e8, solver="newton-cholesky", tol=1e-8, max_iter=1000)
    model.fit(inputs[kept], labels[kept], sample_weight=weights[kept] * 1000)
    slope = float(model.coef_[0, 0]) / spread
    if slope <= 0:
        return Line(0.0, 0.0, lowest, highest)
    return Line(slope, float(model.intercept_[0]) - slope * mean, lowest, highest)


FITS = {Steps.name: fit_steps, Line.name: fit_line}


def _groups(curve: PairCurve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rising thresholds (T,), and how many pairs of each kind (T + 1,) are below, between and above them."""
    rising = curve.thresholds[::-1].astype(np.float64)
    counts = (
        -np.diff(np.concatenate([[total], reached[::-1], [0]]))
        for total, reached in ((curve.positives, curve.true), (curve.negatives, curve.false))
    )
    return (rising, *counts)


def measure(pairs: PairSet, calibration: Calibration) -> dict[str, float]:
    """Return how well probabilities hold, both kinds of pairs weighing the same; 0 is best.

    Args:
        pairs: those of people that the fit has not seen, to be of any worth.
        calibration: gives log odds.

    Returns:
        Each of MEASURES: "brier" (the mean of the squared error, 0.25 for 1/2 throughout),
        "expected_calibration_error" (over BINS equal widths) and "log_loss" (natural, 0.693 for 1/2 throughout).
    """
    counts, squares, losses = np.zeros(2), np.zeros(2), np.zeros(2)
    binned, sums = np.zeros((2, BINS)), np.zeros((2, BINS))
    for both in pairs.scores():
        for kind, scores in enumerate(both):
            log_odds = calibration(scores)
            p = probability_of(log_odds)
            counts[kind] += len(p)
            squares[kind] += ((p - 1 + kind) ** 2).sum()
            losses[kind] += np.logaddexp(0, log_odds if kind else -log_odds).sum()
            place = np.minimum((p * BINS).astype(np.int64), BINS - 1)
            binned[kind] += np.bincount(place, minlength=BINS)
            sums[kind] += np.bincount(place, weights=p, minlength=BINS)
    # Share of same-person pairs in a bin against its mean probability, times the bin's share of all pairs.
    error = np.abs((binned[0] - sums[0]) / counts[0] - sums[1] / counts[1]).sum() / 2
    mean = {"brier": squares, "log_loss": losses}
    return {"expected_calibration_error": float(error)} | {k: float((v / counts).mean()) for k, v in mean.items()}


def probability_of(log_odds: np.ndarray, prior: float = EVEN) -> np.ndarray:
    """Return the probability that has log odds which hold at even prior odds, at another prior."""
    shifted = np.asarray(log_odds) + math.log(prior) - math.log1p(-prior)
    small = np.exp(-np.abs(shifted))  # never overflows
    return np.where(shifted >= 0, 1, small) / (1 + small)
