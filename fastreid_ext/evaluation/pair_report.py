"""The answers for pairs as CSV, and the report on all test pairs: a JSON record, a table, and the ROC curve."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from fastreid_ext.evaluation.pair_curve import PairCurve
from fastreid_ext.files import write_figure, write_text

FALSE_POSITIVE_RATES = (1e-2, 1e-3, 1e-4)
UNDECIDED = 0.0  # log odds of a probability of 1/2
POINTS = 200  # of the curve in the record
MARKS = (("#c0392b", "o"), ("#2980b9", "s"), ("#27ae60", "^"), ("#8e44ad", "D"))  # colour and shape of each threshold


def probability(log_odds: float) -> float:
    """Return the probability that has these log odds."""
    return 1 / (1 + math.exp(-log_odds)) if log_odds > -700 else 0.0


def pairs_csv(pairs: Sequence[tuple[str, str]], columns: Mapping[str, Sequence[Any]]) -> str:
    """Return CSV text with a row per pair: first, second, and what the columns have for it.

    Args:
        pairs: of image files.
        columns: name -> a value for each pair.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["first", "second", *columns])
    table.writerows([*pair, *values] for pair, *values in zip(pairs, *columns.values(), strict=True))
    return text.getvalue()


def write_report(
    output: Path, curve: PairCurve, record: Mapping[str, Any], tables: str, architecture: str, more: Sequence[str] = ()
) -> list[str]:
    """Write verify.json, verify.md and verify.png, and return the paragraphs of verify.md without its warnings.

    Args:
        output: a folder that exists.
        curve: of all pairs.
        record: with "test_set", "area_below_roc" and "warnings"; see :func:`draw_roc`.
        tables: of the record, in Markdown.
        architecture: of the model, for the title of the picture.
        more: paragraphs behind the area below the curve.

    Raises:
        FileError: they can't be written.
    """
    name = record["test_set"]
    lines = [
        f"All pairs of a query and a gallery image of {name} but those of one person and one camera: "
        f"{curve.positives} of one person, {curve.negatives} of two",
        tables,
        f"Area below the ROC curve: {record['area_below_roc']:.4f}",
        *more,
    ]
    cautions = [f"Warning: {sentence}." for sentence in record["warnings"]]
    write_text(output / "verify.json", record_text(record))
    write_text(output / "verify.md", "\n\n".join(lines + cautions) + "\n")
    draw_roc(curve, record, output / "verify.png", f"{architecture} on {name}")
    return lines


def pair_record(
    curve: PairCurve, threshold: float, chosen_on: str, warnings: Sequence[str], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the numbers of a report; probabilities beside log odds, which tell near 0 and 1 apart.

    Args:
        curve: of log odds; has counts at UNDECIDED and at the threshold.
        threshold: log odds from which on a pair is taken for one person.
        chosen_on: test set that the threshold is from.
        warnings: warnings about how far the numbers can be trusted.
        about: plain values that say what was measured.
    """
    best = {rate: curve.strictest(rate) for rate in FALSE_POSITIVE_RATES}
    allowed = {rate: math.floor(rate * curve.negatives) for rate in FALSE_POSITIVE_RATES}
    return dict(about) | {
        "pairs": {"one_person": curve.positives, "two_people": curve.negatives},
        "area_below_roc": curve.area,
        "threshold": {"probability": probability(threshold), "log_odds": threshold, "chosen_on": chosen_on},
        "at_threshold": curve.at(threshold),
        "at_one_half": curve.at(UNDECIDED),
        "true_positive_rate_at": {
            f"{rate:.0e}": {
                "false_positives_allowed": allowed[rate],
                "true_positive_rate": true,
                "log_odds": at,
                "probability": None if at is None else probability(at),
            }
            for rate, (true, at) in best.items()
        },
        "warnings": list(warnings),
        "roc": thinned(curve),
    }


def thinned(curve: PairCurve) -> list[list[float]]:
    """Return [false positive rate, true positive rate] of at most POINTS thresholds, evenly spread over the latter."""
    indices = np.unique(np.linspace(0, len(curve.thresholds) - 1, num=POINTS).round().astype(int))
    return [[float(curve.false_rate[i]), float(curve.true_rate[i])] for i in indices]


def pair_table(record: Mapping[str, Any]) -> str:
    """Return two markdown tables: the rates at both thresholds, and the true positive rates at low false ones."""
    rows = [
        [name, f"{at:.6f}", *(f"{100 * rates[key]:.2f}" for key in RATES)]
        for name, at, rates in (
            (
                f"chosen on {record['threshold']['chosen_on']}",
                record["threshold"]["probability"],
                record["at_threshold"],
            ),
            ("one half", 0.5, record["at_one_half"]),
        )
    ]
    headers = ["threshold", "probability", *(f"{name} (%)" for name in RATES.values())]
    strict = [
        [
            rate,
            str(found["false_positives_allowed"]),
            f"{100 * found['true_positive_rate']:.2f}",
            "-" if found["probability"] is None else f"{found['probability']:.6f}",
        ]
        for rate, found in record["true_positive_rate_at"].items()
    ]
    return "\n\n".join(
        [
            tabulate(rows, headers, tablefmt="github", disable_numparse=True, colalign=("left", *["right"] * 5)),
            tabulate(
                strict,
                [
                    "false positive rate at most",
                    "false positives at most",
                    "true positive rate (%)",
                    "from probability",
                ],
                tablefmt="github",
                disable_numparse=True,
                colalign=["right"] * 4,
            ),
        ]
    )


RATES = {
    "true_positive_rate": "true positive rate",
    "false_positive_rate": "false positive rate",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}


def record_text(record: Mapping[str, Any]) -> str:
    """Return a record as JSON text."""
    return json.dumps(record, indent=2) + "\n"


def draw_roc(curve: PairCurve, record: Mapping[str, Any], path: Path, title: str = "") -> None:
    """Draw the ROC curve over a logarithmic false positive rate, with the thresholds marked.

    Args:
        curve: of all pairs.
        record: of :func:`pair_record`, or one whose "thresholds" have rates.
        path: of the PNG.
        title: above the picture.
    """
    from matplotlib.figure import Figure  # needs neither pyplot nor a display

    figure = Figure(figsize=(5.2, 4.0), layout="constrained")
    panel = figure.subplots()
    least = 0.5 / curve.negatives  # where no pair of two people is let in, on a scale that has no 0
    rates = np.maximum(curve.false_rate, least)
    panel.plot(rates, curve.true_rate, drawstyle="steps-post", color="#2c3e50", linewidth=1.4)
    points = record.get("thresholds") or {"chosen": record["at_threshold"], "one half": record["at_one_half"]}
    for (name, point), (colour, mark) in zip(points.items(), MARKS, strict=False):
        rate = max(point["false_positive_rate"], least)
        panel.plot(rate, point["true_positive_rate"], mark, color=colour, label=name)
    panel.set_xscale("log")
    panel.set_xlim(least, 1)
    panel.set_ylim(0, 1.02)
    panel.set_xlabel("false positive rate")
    panel.set_ylabel("true positive rate")
    panel.set_title(f"{title}\narea below the curve: {record['area_below_roc']:.4f}".strip(), fontsize=10)
    panel.legend(title="threshold", fontsize=9)
    panel.grid(alpha=0.3)
    write_figure(path, figure)
