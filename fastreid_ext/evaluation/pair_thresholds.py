"""Thresholds on a score of pairs by name: at the best balanced accuracy, and at low false positive rates."""

import math

from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.pair_curve import PairCurve

BALANCED = "balanced"
RATES = {"fpr_1e-2": 100, "fpr_1e-3": 1000, "fpr_1e-4": 10_000}  # one false positive in so many pairs of two people
NAMES = (BALANCED, *RATES)
SURE = 30  # false positives, from which on a rate is within a third of the true one at 90 % confidence (rule of 30)
MEASURED_AT = ("true_positive_rate", "false_positive_rate")  # each threshold
CHANCE = 0.5  # balanced accuracy of an answer that does not look


def read_threshold(threshold: str | float) -> str | float:
    """Return a name of NAMES as it is, and anything else as a probability.

    Raises:
        ConfigError: neither.
    """
    if isinstance(threshold, str) and threshold in NAMES:
        return threshold
    try:
        value = math.nan if isinstance(threshold, bool) else float(threshold)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 1:
        raise ConfigError(f"--threshold is {threshold} and must be {', '.join(NAMES)}, or a probability, from 0 to 1")
    return value


Rates = dict[str, dict[str, float]]


def thresholds_of(curve: PairCurve) -> tuple[dict[str, float | None], Rates, dict[str, str]]:
    """Return of NAMES the threshold on a score, exact for the pairs of the curve, its rates, and what is to be said.

    A rate that the pairs of two people can't resolve has no threshold: 500 pairs do not tell where one in 1000 is.

    Returns:
        Name -> threshold or None; name -> "true_positive_rate" and "false_positive_rate" at those that there are; name
        -> why there is none, or how far it can be trusted, for those that need it.
    """
    curve = curve.at_changes()
    best = curve.best_balanced()
    found: dict[str, float | None] = {BALANCED: best}
    notes = {}
    if curve.at(best)["balanced_accuracy"] <= CHANCE:
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
    rates = {name: {key: curve.at(at)[key] for key in MEASURED_AT} for name, at in found.items() if at is not None}
    return found, rates, notes
