"""The rates of an open set as a record for other programs and as a text with a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from fastreid_ext.evaluation.open_set import NearestImages, OpenSetRate, sorted_distances

POINTS = 200  # of the curve in the record


def open_set_record(
    name: str, nearest: NearestImages, rates: Sequence[OpenSetRate], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the rates and [FPIR, TPIR] of at most POINTS thresholds; None where nothing is known.

    Args:
        name: of the test set.
        nearest: of all queries.
        rates: of :func:`fastreid_ext.evaluation.open_set.open_set_rates`.
        about: "share", "seed", "people" and how many of them are "taken_out" of the gallery.
    """
    strangers, right = sorted_distances(nearest)
    known = int(nearest.known.sum())
    allowed = np.unique(np.linspace(0, len(strangers) - 1, num=POINTS).astype(int))
    found = np.searchsorted(right, strangers[allowed], side="left")
    return {
        "dataset": name,
        **about,
        "queries": {"unknown": len(strangers), "known": known},
        "rates": [
            {"FPIR": one.rate, "strangers": one.allowed, "TPIR": one.tpir, "distance": one.distance} for one in rates
        ],
        "curve": [[float(a / len(strangers)), float(100 * b / known)] for a, b in zip(allowed, found, strict=True)],
    }


def open_set_text(record: Mapping[str, Any]) -> str:
    """Return what was taken out of the gallery, and a table; a dash means that there are too few unknown queries."""
    unknown, known = record["queries"]["unknown"], record["queries"]["known"]
    cells = [
        (
            one["FPIR"],
            f"{one['strangers']} of {unknown}",
            "-" if one["TPIR"] is None else f"{one['TPIR']:.2f}",
            "-" if one["distance"] is None else f"{one['distance']:.4f}",
        )
        for one in record["rates"]
    ]
    table = tabulate(
        cells,
        headers=("FPIR at most", "strangers identified at most", "TPIR", "distance at most"),
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("right",) * 4,
    )
    return (
        f"{record['taken_out']} of {record['people']} people are taken out of the gallery (TEST.OPEN_SET), so {unknown}"
        f" queries are of strangers and {known} of people in it:\n{table}"
    )
