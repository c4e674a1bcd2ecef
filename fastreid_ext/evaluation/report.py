"""The results of an evaluation as tables and as JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from fastreid_ext.evaluation.groups import GroupRow


def group_table(rows: Sequence[GroupRow]) -> str:
    """Draw the rows of :func:`fastreid_ext.evaluation.groups.group_rows`; a dash means that no query counts."""
    cells = [(r.group, r.identities, r.queries, _percent(r.rank1), _percent(r.mean_ap)) for r in rows]
    return tabulate(
        cells,
        headers=("group", "identities", "queries", "Rank-1", "mAP"),
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", *["right"] * 4),
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def group_record(name: str, rows: Sequence[GroupRow]) -> str:
    """Return the rows as JSON text; null where nothing counts."""
    groups = [
        {"group": r.group, "identities": r.identities, "queries": r.queries, "Rank-1": r.rank1, "mAP": r.mean_ap}
        for r in rows
    ]
    return json.dumps({"dataset": name, "groups": groups}, indent=2) + "\n"


def with_erased(clean: Mapping[str, Any], erased: Mapping[str, Any]) -> dict[str, float]:
    """Return what a stress test adds to the metrics of a test set: erased/* and drop/* of Rank-1 and mAP.

    Args:
        clean: metrics of the images as they are.
        erased: metrics of the erased ones.
    """
    names = ("Rank-1", "mAP")
    return {f"erased/{name}": float(erased[name]) for name in names} | {
        f"drop/{name}": float(clean[name]) - float(erased[name]) for name in names
    }


def stress_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the numbers of every test set as it is, erased, and their difference.

    Args:
        results: test set -> its metrics with those of :func:`with_erased`.
    """
    cells = [
        [name, *(f"{metrics[where + key]:.2f}" for key in ("Rank-1", "mAP") for where in ("", "erased/", "drop/"))]
        for name, metrics in results.items()
    ]
    return tabulate(
        cells,
        headers=("test set", "Rank-1", "erased", "drop", "mAP", "erased", "drop"),
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", *["right"] * 6),
    )
