"""Thresholds on a score of pairs by name: at the best balanced accuracy, and at low false positive rates."""

import math

from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.pair_curve import PairCurve

BALANCED = "balanced"
RATES = {"fpr_1e-2": 100, "fpr_1e-3": 1000, "fpr_1e-4": 10_000}  # one false positive in so many pairs of two people
NAMES = (BALANCED, *RATES)
SURE = 30  # false positives, from which on a rate is within a third of the true one at 90 % confidence (rule of 30)
CHANCE = 0.5  # balanced accuracy of an answer that does not look


def read_threshold(threshold: str | float) -> str | float:
    """Return a name of NAMES as it is, and anything else as a probability.

    Raises:
        ConfigError: neither.
    """
    if threshold in NAMES:
        return str(threshold)
    try:
        value = float(threshold)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ConfigError(f"--threshold is {threshold} and must be {', '.join(NAMES)}, or a probability, from 0 to 1")
    return value


def thresholds_of(curve: PairCurve) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return of NAMES the threshold on a score, exact for the pairs of the curve, and what is to be said of it.

    A rate that the pairs of two people can't resolve has no threshold: 500 pairs do not tell where one in 1000 is.
    """
    curve = curve.at_changes()
    found: dict[str, float | None] = {BALANCED: curve.best_balanced()}
    notes = {}
    if curve.at(found[BALANCED])["balanced_accuracy"] <= CHANCE:
        notes[BALANCED] = "no threshold tells people apart better than chance: the similarity says nothing about them"
        found[BALANCED] = None
    for name, pairs in RATES.items():
        allowed = curve.negatives // pairs
        found[name] = curve.strictest(allowed / curve.negatives)[1] if allowed else None
        if not allowed:
            notes[name] = f"its rate needs {pairs} pairs of two people or more, and there are {curve.negatives}"
        elif found[name] is None:
            notes[name] = (
                "at the highest similarity of two images of one person, more pairs of two people are as similar"
            )
        elif allowed < SURE:
            notes[name] = (
                f"it rests on {allowed} of {curve.negatives} pairs of two people, so the true rate may be several times"
                f" as high: {SURE * pairs} pairs are enough"
            )
    return found, notes
