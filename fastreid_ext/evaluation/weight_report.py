"""The result of a search for part weights: a table, a JSON record, and the curves of MGRe's figure 6."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fastreid_ext.evaluation.part_weights import Search, shares
from fastreid_ext.files import write_figure


def weight_table(search: Search) -> str:
    """Return a markdown table: a row per part, with its weight before and after and its share of the similarity."""
    rows = [
        [part, f"{search.start[part]:g}", f"{weight:g}", f"{100 * share:.1f}"]
        for (part, weight), share in zip(search.best.items(), shares(search.best).values(), strict=True)
    ]
    rows.append(["mAP (%)", f"{search.start_score:.2f}", f"{search.best_score:.2f}", ""])
    return tabulate(
        rows,
        headers=["part", "start", "best", "share of the similarity (%)"],
        tablefmt="github",
        disable_numparse=True,
        colalign=("left", *["right"] * 3),
    )


def curve_table(search: Search) -> str:
    """Return a markdown table: mAP in percent with one weight changed, a row per weight and a column per part."""
    columns = list(search.curves.values())
    rows = [[f"{points[0][0]:g}", *(f"{value:.2f}" for _, value in points)] for points in zip(*columns, strict=True)]
    return tabulate(
        rows,
        headers=["weight", *search.curves],
        tablefmt="github",
        disable_numparse=True,
        colalign=["right"] * (1 + len(columns)),
    )


def search_record(search: Search, option: str, warnings: Sequence[str], about: Mapping[str, Any]) -> str:
    """Return the search as JSON text; curves are lists of [weight, mAP].

    Args:
        search: the result; its scores are mAP in percent.
        option: KEY VALUE that sets the best weights.
        warnings: warnings about how far the numbers can be trusted.
        about: plain values that say what was searched.
    """
    record = dict(about) | {
        "start": {"weights": search.start, "mAP": search.start_score},
        "best": {"weights": search.best, "mAP": search.best_score, "shares": shares(search.best)},
        "option": option,
        "rounds": search.rounds,
        "converged": search.converged,
        "warnings": list(warnings),
        "curves": search.curves,
    }
    return json.dumps(record, indent=2) + "\n"


def draw_weight_curves(search: Search, path: Path, title: str = "") -> None:
    """Draw mAP over each weight, the others at their best, with the chosen weight marked (MGRe, figure 6)."""
    from matplotlib.figure import Figure  # needs neither pyplot nor a display

    columns = min(2, len(search.curves))
    rows = -(-len(search.curves) // columns)
    figure = Figure(figsize=(3.8 * columns, 2.7 * rows + 0.4), layout="constrained")
    # One scale, which shows the part that matters most.
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel, (part, points) in zip(panels.flat, search.curves.items(), strict=False):
        panel.plot(*zip(*points, strict=True), "o-", color="#2c3e50", markersize=3.5, linewidth=1.2)
        panel.axvline(search.best[part], color="#c0392b", linewidth=1, linestyle="--")
        panel.set_title(f"{part}: {search.best[part]:g}", fontsize=10)
        panel.set_xlabel("weight")
        panel.set_ylabel("mAP (%)")
        panel.grid(alpha=0.3)
    for panel in panels.flat[len(search.curves) :]:
        panel.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=11)
    write_figure(path, figure)
