"""Figures whose points are the rows of a table: what ``reproduce`` trained for it, drawn beside what the paper reports.

``drawn`` of a table says how: ``curves`` over a key of the config, ``boxes`` of all seeds, or ``weights`` of a test
feature's parts, which are searched on the validation set of the run.
"""

from collections.abc import Sequence
from pathlib import Path

from fastreid_ext.errors import counted
from fastreid_ext.evaluation.spread import draw_box_plots
from fastreid_ext.reproduce.comparison import Comparison, Summary
from fastreid_ext.reproduce.figures.curves import draw_curves
from fastreid_ext.reproduce.figures.searched_weights import draw_searched_weights
from fastreid_ext.reproduce.paper_tables import PaperTables, Table
from fastreid_ext.reproduce.table_runs import Row


def draw_table(
    tables: PaperTables, table: Table, comparison: Comparison, seeds: Sequence[int], output: Path, opts: Sequence[str]
) -> Path:
    """Draw a table that is a figure into a PNG, beside the numbers, and return its path.

    Args:
        tables: of the project.
        table: with ``drawn``.
        comparison: its rows with what the runs gave.
        seeds: of the runs.
        output: folder of runs and results.
        opts: KEY VALUE pairs that every run had.

    Raises:
        ConfigError: what :func:`draw_searched_weights` refuses.
    """
    path = output / f"{file_name(table.name, any(row.data != row.paper_data for row, _ in comparison.rows))}.png"
    kind = next(iter(table.drawn))
    if kind == "curves":
        draw_curves(tables, table, comparison, path)
    elif kind == "boxes":
        found: dict[str, dict[str, Summary]] = {}
        for row, summary in comparison.rows:
            if summary is not None:
                found.setdefault(_short(table, row), {})[row.data] = summary
        lacking = "; some are missing" if comparison.lacks else ""
        draw_box_plots(
            found, path, table.metrics, f"{tables.written}, {table.name} ({counted(len(seeds), 'seed')}{lacking})"
        )
    else:
        draw_searched_weights(table, comparison, seeds, output, opts, path)
    return path


def file_name(name: str, small: bool) -> str:
    """Return the name of a figure's files without ending: "figure7", or "figure7_synthreid" of the small size."""
    return f"{name.replace(' ', '')}{'_synthreid' if small else ''}"


def _short(table: Table, row: Row) -> str:
    """Return the name of a row's config without its folder: the paper's letters, such as ALM."""
    return table.rows[row.what][row.paper_data].config.rpartition("/")[2]
