"""What the similarity of test features says about all pairs of a test set, as a record and as tables."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from fastreid_ext.evaluation.calibration import measure
from fastreid_ext.evaluation.pair_report import FALSE_POSITIVE_RATES, RATES, thinned
from fastreid_ext.evaluation.pair_set import PairSet
from fastreid_ext.evaluation.same_person import SamePerson

CHOSEN = "best balanced accuracy"  # row of a threshold that was not measured before
NAMES_OF_SCORES = {"cosine": "cosine similarity", "euclidean": "minus Euclidean distance"}


def similarity_record(
    pairs: PairSet, metric: str, same_person: SamePerson | None, warnings: Sequence[str], about: Mapping[str, Any]
) -> tuple[dict[str, Any], Any]:
    """Return the numbers of a report, and the curve that they are from.

    Args:
        pairs: of a test set.
        metric: of their similarity.
        same_person: thresholds and probabilities that were measured on other people; None = the threshold with the
            best balanced accuracy on these very pairs.
        warnings: about how far the numbers can be trusted.
        about: plain values that say what was measured.
    """
    stored = {} if same_person is None else {k: v for k, v in same_person.thresholds.items() if v is not None}
    curve = pairs.curve(also=tuple(stored.values()))
    points = stored or {CHOSEN: curve.at_changes().best_balanced()}

    def known(similarity: float | None) -> dict[str, float | None]:
        unknown = similarity is None or same_person is None
        return {
            "similarity": similarity,
            "probability": None if unknown else float(same_person.probability(similarity)),
        }

    best = {rate: curve.at_changes().strictest(rate) for rate in FALSE_POSITIVE_RATES}
    record = dict(about) | {
        "score": NAMES_OF_SCORES[metric],
        "pairs": {"one_person": curve.positives, "two_people": curve.negatives},
        "area_below_roc": curve.area,
        "thresholds": {name: {**known(at), **curve.at(at)} for name, at in points.items()},
        "measured_on": None if same_person is None else same_person.measured_on,
        "calibration": None if same_person is None else measure(pairs, same_person.calibration),
        "true_positive_rate_at": {
            f"{rate:.0e}": {
                "false_positives_allowed": math.floor(rate * curve.negatives + 1e-9),
                "true_positive_rate": true,
                **known(at),
            }
            for rate, (true, at) in best.items()
        },
        "warnings": list(warnings),
        "roc": thinned(curve),
    }
    return record, curve


def similarity_tables(record: Mapping[str, Any]) -> str:
    """Return two markdown tables: the rates at the thresholds, and the true positive rates at low false ones."""
    rows = [
        [name, _digits(at["similarity"], 4), _digits(at["probability"], 4), *(f"{100 * at[key]:.2f}" for key in RATES)]
        for name, at in record["thresholds"].items()
    ]
    strict = [
        [
            rate,
            str(found["false_positives_allowed"]),
            f"{100 * found['true_positive_rate']:.2f}",
            _digits(found["similarity"], 4),
            _digits(found["probability"], 4),
        ]
        for rate, found in record["true_positive_rate_at"].items()
    ]
    rates = [f"{name} (%)" for name in RATES.values()]
    headers = ["false positive rate at most", "false positives at most", "true positive rate (%)", "from similarity"]
    tables = _table(rows, ["threshold", "similarity", "probability", *rates]), _table(strict, [*headers, "probability"])
    return "\n\n".join(tables)


def calibration_text(record: Mapping[str, Any]) -> str:
    """Return a sentence on how well the probabilities hold on the pairs of a report; "" without any."""
    found = record["calibration"]
    if found is None:
        return ""
    return (
        f"Probabilities measured on {record['measured_on']}, both kinds of pairs weighing the same: Brier score"
        f" {found['brier']:.4f}, expected calibration error {found['expected_calibration_error']:.4f}, log loss"
        f" {found['log_loss']:.4f}"
    )


def same_person_tables(found: SamePerson) -> str:
    """Return two markdown tables: both methods on people that their fits had not seen, and the thresholds."""
    methods = [
        [name, *(f"{values[key]:.4f}" for key in ("brier", "expected_calibration_error", "log_loss"))]
        for name, values in found.held_out.items()
    ]
    for row in methods:
        row[0] += " (chosen)" if row[0] == found.calibration.name else ""
    measures = _table(methods, ["held out", "Brier score", "expected calibration error", "log loss"])
    return f"{measures}\n\n{threshold_table(found)}"


def threshold_table(found: SamePerson) -> str:
    """Return a markdown table of the thresholds, with their probability and rates."""
    rows = [
        [
            name,
            _digits(at, 4),
            _digits(None if at is None else float(found.probability(at)), 4),
            *("-" if at is None else f"{100 * value:.2f}" for value in _rates(found, name)),
        ]
        for name, at in found.thresholds.items()
    ]
    return _table(rows, ["threshold", "similarity", "probability", "true positive rate (%)", "false positive rate (%)"])


def _rates(found: SamePerson, name: str) -> tuple[float, float]:
    rates = found.rates.get(name, {})
    return rates.get("true_positive_rate", math.nan), rates.get("false_positive_rate", math.nan)


def _digits(value: float | None, count: int) -> str:
    return "-" if value is None else f"{value:.{count}f}"


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    align = ("left", *["right"] * (len(headers) - 1))
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=align)
