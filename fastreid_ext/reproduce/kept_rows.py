"""Rows of a table that a call left out, with what earlier calls trained of them: a page keeps them."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastreid_ext.engine.repeat import check_kept, results_of
from fastreid_ext.errors import UserError
from fastreid_ext.evaluation.spread import Results, summarise
from fastreid_ext.reproduce.paper_tables import PaperTables, Table
from fastreid_ext.reproduce.table_runs import Row, Run, rows_of

SEED = "seed"


def with_kept_rows(
    tables: PaperTables,
    table: Table,
    of_rows: Sequence[tuple[Row, Any]],
    size: str,
    output: Path,
    overrides: Sequence[str],
) -> list[tuple[Row, Any]]:
    """Return the rows of a call with their summaries, and those of earlier calls, in the table's order.

    Args:
        tables, table: of the rows.
        of_rows: what the call is of.
        size: as for :func:`rows_of`.
        output: folder of all runs.
        overrides: KEY VALUE pairs of the call. A run that had others is left out, and so is one that has no results or
            damaged ones; all seeds of a run count.
    """
    given = {_name(row, size) for row, _ in of_rows}
    others: dict[tuple[str, str], tuple[Row, Any]] = {}
    for row in _candidates(tables, table, size, [what for what in table.rows if (what, "") not in given]):
        name = _name(row, size)
        if name in given or name in others:
            continue
        runs = {seed: results for seed, results in _finished(row.run, output, overrides) if row.data in results}
        with suppress(UserError):  # of seeds that were tested on different sets
            found = summarise(runs)[row.data] if runs else {}
            if all(metric in found for metric in table.metrics):
                others[name] = (row, found)
    places = {what: place for place, what in enumerate(table.rows)}
    return sorted([*of_rows, *others.values()], key=lambda pair: places[pair[0].what])


def _name(row: Row, size: str) -> tuple[str, str]:
    """Return what tells a row from others: in the small size, whichever data set its figures are of."""
    return row.what, row.paper_data if size == "paper" else ""


def _candidates(tables: PaperTables, table: Table, size: str, whats: Sequence[str]) -> Iterator[Row]:
    """Yield rows with the runs that they have in a call of all rows and, of some rows, in a call of one."""
    yield from rows_of(tables, table, size=size)
    for what in whats if size != "paper" else ():
        with suppress(UserError):  # it is not there in this size
            yield from rows_of(tables, table, size=size, only=[what])


def _finished(run: Run, output: Path, overrides: Sequence[str]) -> Iterator[tuple[int, Results]]:
    folder = output / "runs" / run.folder
    numbers = (done.parent.name.removeprefix(SEED) for done in folder.glob(f"{SEED}*/results.json"))
    for seed in sorted(int(number) for number in numbers if number.isdecimal() and number.isascii()):
        with suppress(UserError):
            check_kept(run.config, seed, folder, (*run.overrides, *overrides))
            yield seed, results_of(folder / f"{SEED}{seed}", seed)
