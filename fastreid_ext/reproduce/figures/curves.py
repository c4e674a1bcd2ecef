"""Curves over one key of the config: ours with the spread of the seeds, and the points that the paper reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastreid_ext.errors import ConfigError
from fastreid_ext.files import write_figure
from fastreid_ext.reproduce.comparison import Comparison, Summary
from fastreid_ext.reproduce.figures.style import COLOURS, PAPER, entitle, finish
from fastreid_ext.reproduce.paper_tables import PaperTables, Table
from fastreid_ext.reproduce.table_runs import Row

PANEL = (4.6, 3.1)  # inches
OURS = COLOURS[1]
AROUND = 2.0  # percent that a panel of one number leaves around it


@dataclass
class Curve:
    """One axis of a figure, on one data set.

    Attributes:
        label: name of the axis.
        points: (value of the key, row, what the runs gave), the values rising.
        levels: rows without the key, such as the baseline, which are lines.
    """

    label: str
    points: list[tuple[float, Row, Summary]] = field(default_factory=list)
    levels: list[tuple[Row, Summary]] = field(default_factory=list)


def curves_of(tables: PaperTables, table: Table, comparison: Comparison) -> list[Curve]:
    """Return the curves of a table: one for each axis and data set of the paper's that has points."""
    found = []
    for data in dict.fromkeys(row.paper_data for row, _ in comparison.rows):
        rows = [(row, summary) for row, summary in comparison.rows if row.paper_data == data and summary is not None]
        changes = {row.what: tables.configs[table.rows[row.what][data].config].changes for row, _ in rows}
        axes = table.drawn["curves"]
        for key, label in axes.items():
            curve = Curve(label)
            for row, summary in rows:
                if key in changes[row.what]:
                    curve.points.append((changes[row.what][key] * table.drawn.get("times", 1), row, summary))
                elif not any(other in changes[row.what] for other in axes):
                    curve.levels.append((row, summary))
            curve.points.sort(key=lambda point: point[0])
            found += [curve] if curve.points else []
    return found


def draw_curves(tables: PaperTables, table: Table, comparison: Comparison, path: Path) -> None:
    """Draw a panel for each curve and metric, with the paper's numbers in it, or beside it if they are of other data.

    Args:
        tables: of the project.
        table: with ``drawn["curves"]``: config key -> name of its axis; "times" scales the values, "log" the axis.
        comparison: the rows with what the runs gave.
        path: of the PNG.

    Raises:
        ConfigError: no row has a value of the axes.
    """
    from matplotlib.figure import Figure  # needs neither pyplot nor a display

    curves = curves_of(tables, table, comparison)
    if not curves:
        raise ConfigError(f"none of the rows of {table.name} is on its curve: name others with --only")
    apart = any(row.data != row.paper_data for row, _ in comparison.rows)
    apart = apart and any(row.paper for row, _ in comparison.rows)  # else there is nothing beside it
    rows = [(curve, metric) for curve in curves for metric in table.metrics]
    across = 2 if apart else len(table.metrics)
    down = len(rows) if apart else len(curves)
    figure = Figure(figsize=(PANEL[0] * across, PANEL[1] * down + 0.9), layout="constrained")
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for number, (curve, metric) in enumerate(rows):
        ours = panels[2 * number if apart else number]
        _draw_ours(ours, curve, metric)
        _draw_paper(panels[2 * number + 1] if apart else ours, curve, metric, alone=apart)
        for panel in panels[2 * number : 2 * number + 2] if apart else [ours]:
            _axes(panel, curve, metric, table.drawn)
    if len({curve.points[0][1].paper_data for curve in curves}) > 1:
        for number, (curve, _) in enumerate(rows):
            panels[2 * number if apart else number].set_title(curve.points[0][1].data)
    elif apart:
        rows_of = comparison.rows[0][0]
        panels[0].set_title(f"ours on {rows_of.data}")
        panels[1].set_title(f"the paper on {rows_of.paper_data}")
    named: dict[str, Any] = {}
    for panel in panels:
        named |= dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True))
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=2, frameon=False)
    entitle(figure, comparison.title)
    write_figure(path, figure)


def _draw_ours(panel: Any, curve: Curve, metric: str) -> None:
    values = [value for value, _, _ in curve.points]
    found = [summary[metric] for _, _, summary in curve.points]
    spreads = [one["spread"] or 0.0 for one in found]
    means = [one["mean"] for one in found]
    for value, one in zip(values, found, strict=True):
        dots = list(one["by_seed"].values())
        panel.plot([value] * len(dots), dots, ".", color=OURS, alpha=0.45, markersize=6)
    label = f"ours, {curve.points[0][1].data}, {seeds_of(found)}"
    panel.errorbar(values, means, yerr=spreads, fmt="o-", color=OURS, capsize=3, markersize=5, label=label)
    for row, summary in curve.levels:
        panel.axhline(summary[metric]["mean"], color=OURS, linestyle="--", label=f"ours, {row.what}")


def _draw_paper(panel: Any, curve: Curve, metric: str, alone: bool) -> None:
    printed = [(value, row.paper[metric]) for value, row, _ in curve.points if metric in row.paper]
    data = curve.points[0][1].paper_data
    if printed:
        style = {"marker": "*", "markersize": 15, "linestyle": "-", "color": PAPER}
        panel.plot(*zip(*printed, strict=True), label=f"paper, {data}, as it prints it", zorder=4, **style)
    levels = [(row.what, row.paper[metric]) for row, _ in curve.levels if metric in row.paper]
    for what, level in levels:
        panel.axhline(level, color=PAPER, linestyle=":", linewidth=2, label=f"paper, {what}")
    shown = [number for _, number in printed + levels]
    if alone and shown:
        panel.set_ylim(min(shown) - AROUND, max(shown) + AROUND)
        values = [value for value, _, _ in curve.points]
        panel.plot(values, [min(shown)] * len(values), linestyle="none")  # the same axis as ours


def _axes(panel: Any, curve: Curve, metric: str, drawn: Mapping[str, Any]) -> None:
    if drawn.get("log"):
        panel.set_xscale("log", base=2)
    values = [value for value, _, _ in curve.points]
    panel.set_xticks(values, [f"{value:g}" for value in values])
    panel.minorticks_off()
    panel.set_xlabel(curve.label, parse_math=False)
    panel.set_ylabel(f"{metric} (%)")
    finish(panel)


def seeds_of(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Return how many seeds the numbers of a curve are of, and what the bars are."""
    seeds = [list(summary["by_seed"]) for summary in summaries]
    if any(one != seeds[0] for one in seeds):  # a run failed
        counts = sorted(map(len, seeds))
        many = f"{counts[0]} to {counts[-1]}" if counts[0] < counts[-1] else f"{counts[0]}"
        return f"{many} seeds a point: mean ± standard deviation"
    if len(seeds[0]) == 1:
        return f"seed {seeds[0][0]}"
    return f"seeds {', '.join(seeds[0])}: mean ± standard deviation"
