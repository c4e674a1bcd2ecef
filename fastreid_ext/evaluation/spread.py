"""Results of several seeds: mean, spread, best, and box plots of configs side by side."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fastreid_ext.errors import EvaluationError
from fastreid_ext.files import write_figure
from fastreid_ext.foreign_files import caption, shown

Results = Mapping[str, Mapping[str, float]]  # data set -> metric -> value


def summarise(runs: Mapping[int, Results]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return data set -> metric -> {"by_seed", "mean", "spread", "best"} of one config.

    The spread is the standard deviation of a sample (n - 1), None for a single seed; best is the largest value.

    Args:
        runs: seed -> results of that run.

    Raises:
        ValueError: no run.
        EvaluationError: runs that were tested on different data sets.
    """
    if not runs:
        raise ValueError("there is no run to summarise")
    first_seed, first = next(iter(runs.items()))
    if other := [seed for seed, results in runs.items() if results.keys() != first.keys()]:
        raise EvaluationError(
            f"the runs of seeds {first_seed} and {other[0]} were tested on different data sets"
            f" ({shown(sorted(first))} and {shown(sorted(runs[other[0]]))}): delete the results.json of one of them,"
            " and it is evaluated again"
        )
    return {
        dataset: {
            metric: _of_values({str(seed): results[dataset][metric] for seed, results in runs.items()})
            for metric in first[dataset]
            if all(metric in results[dataset] for results in runs.values())
        }
        for dataset in first
    }


def _of_values(by_seed: dict[str, float]) -> dict[str, Any]:
    values = list(by_seed.values())
    return {
        "by_seed": by_seed,
        "mean": statistics.fmean(values),
        "spread": statistics.stdev(values) if len(values) > 1 else None,
        "best": max(values),
    }


def format_table(
    summaries: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]], metrics: Sequence[str] = ("Rank-1", "mAP")
) -> str:
    """Return a markdown table: a row per config and data set; mean ± spread (best) of every metric."""

    def cell(value: Mapping[str, Any]) -> str:
        spread = "" if value["spread"] is None else f" ± {value['spread']:.1f}"
        return f"{value['mean']:.1f}{spread} (best {value['best']:.1f})"

    rows = [
        [name, dataset, len(next(iter(values.values()))["by_seed"]), *(cell(values[metric]) for metric in metrics)]
        for name, datasets in summaries.items()
        for dataset, values in datasets.items()
    ]
    return tabulate(rows, headers=["config", "test set", "seeds", *metrics], tablefmt="github")


def draw_box_plots(
    summaries: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]],
    path: Path,
    metrics: Sequence[str] = ("Rank-1", "mAP"),
    title: str = "",
) -> None:
    """Draw one panel per test set and metric: a box per config over its seeds, every run a dot (MSReID, figure 5).

    A config that was not tested on a set has no box there.
    """
    from matplotlib.figure import Figure  # needs neither pyplot nor a display

    datasets = list(dict.fromkeys(dataset for tested in summaries.values() for dataset in tested))
    size = (max(3.5, 0.7 * len(summaries) + 1.2) * len(metrics), 3.2 * len(datasets) + 0.4)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(datasets), len(metrics), squeeze=False)
    for row, dataset in zip(panels, datasets, strict=True):
        names = [name for name, tested in summaries.items() if dataset in tested]
        for panel, metric in zip(row, metrics, strict=True):
            values = [list(summaries[name][dataset][metric]["by_seed"].values()) for name in names]
            panel.boxplot(values, widths=0.5, showfliers=False, medianprops={"color": "#c0392b"})
            for column, dots in enumerate(values, start=1):
                panel.plot([column] * len(dots), dots, "o", color="#2c3e50", markersize=3.5, alpha=0.7)
            panel.set_xticks(
                range(1, len(names) + 1),
                [caption(name) for name in names],
                rotation=30 if max(map(len, names)) > 4 else 0,
                ha="center",
                parse_math=False,
            )
            panel.set_ylabel(f"{metric} (%)")
            panel.set_title(dataset, fontsize=10)
            panel.grid(axis="y", alpha=0.3)
    if title:
        figure.suptitle(caption(title), fontsize=11, parse_math=False)
    write_figure(path, figure)
