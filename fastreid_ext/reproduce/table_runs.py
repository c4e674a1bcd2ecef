"""The runs that make the rows of a paper's table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid_ext.errors import ConfigError
from fastreid_ext.reproduce.paper_tables import Cell, PaperTables, Table

SIZES = ("paper", "synthreid")
SYNTHREID = "SynthReID"


@dataclass(frozen=True)
class Run:
    """What is trained for a row on a data set; rows, and tables, with the same run share it.

    Attributes:
        config: a shipped config.
        overrides: KEY VALUE pairs.
        folder: below the output's "runs".
        data: the test set whose results count.
    """

    config: str
    overrides: tuple[str, ...]
    folder: str
    data: str


@dataclass(frozen=True)
class Row:
    """A row on one data set, with the run that gives its numbers.

    Attributes:
        what: it is.
        paper_data: the data set of the paper's figures.
        paper: metric -> the paper's figure; empty where it has none.
        run: ours.
    """

    what: str
    paper_data: str
    paper: Mapping[str, float]
    run: Run


def table_named(tables: PaperTables, name: str) -> Table:
    """Return a table by its name, such as "table 2".

    Raises:
        ConfigError: there is none of that name.
    """
    found = tables.tables.get(" ".join(name.lower().split()))
    if found is None:
        raise ConfigError(f"{tables.project} has no {name!r}: choose from {', '.join(tables.tables)}")
    return found


def rows_of(
    tables: PaperTables, table: Table, data: Sequence[str] = (), size: str = "paper", only: Sequence[str] = ()
) -> list[Row]:
    """Return the rows of a table with their runs.

    Args:
        tables: of the project.
        table: one of them.
        data: of the paper's data sets those that count; none = all.
        size: "paper", or "synthreid" for the same rows on SynthReID, in a size that a CPU can train: one run a row,
            beside the paper's figures on the first of the data sets. Rows that are not there in this size are left out.
        only: rows; none = all.

    Raises:
        ConfigError: a data set or a row that the table does not have, or no row that is left.
    """
    sets = list(dict.fromkeys(name for cells in table.rows.values() for name in cells))
    for given, known, option in ((data, sets, "--data"), (only, table.rows, "--only")):
        if unknown := [one for one in given if one not in known]:
            raise ConfigError(f"{option} is {unknown[0]!r}, and {table.name} has {', '.join(map(repr, known))}")
    rows = []
    for what, cells in table.rows.items():
        if only and what not in only:
            continue
        chosen = [name for name in cells if not data or name in data]
        for name in chosen[:1] if size == "synthreid" else chosen:
            figures = map(float, cells[name].paper.split(" / ")) if cells[name].paper else ()
            run = _small(tables, cells[name]) if size == "synthreid" else _full(tables, cells[name], name)
            if run is not None:
                rows.append(Row(what, name, dict(zip(table.metrics, figures, strict=False)), run))
    if not rows:
        raise ConfigError(f"none of the rows of {table.name} is there on SynthReID: leave --size synthreid out")
    return rows


def _full(tables: PaperTables, cell: Cell, data: str) -> Run:
    folder = f"{cell.config}_{data}" if cell.changes else cell.config
    return Run(f"{tables.project}/{cell.config}.yml", _pairs(cell.changes), folder, data)


def _small(tables: PaperTables, cell: Cell) -> Run | None:
    small = next((config for config in tables.configs.values() if config.small_of == cell.config), None)
    if small is not None:
        return Run(f"{tables.project}/{small.name}.yml", (), small.name, SYNTHREID)
    if not tables.small:
        return None
    changes = {key: value for key, value in _changes(tables, cell.config) if not key.startswith("DATASETS.")}
    return Run(tables.small, _pairs(changes), f"synthreid/{cell.config}", SYNTHREID)


def _changes(tables: PaperTables, name: str) -> Iterator[tuple[str, object]]:
    """Yield what a config changes, with what the configs of the same folder that it builds on change first."""
    config = tables.configs[name]
    base = (Path(name).parent / config.base).with_suffix("")
    base_name = _without_dots(base)
    if base_name in tables.configs:
        yield from _changes(tables, base_name)
    yield from config.changes.items()


def _without_dots(path: Path) -> str:
    """ablation/../Market1501_R50 -> Market1501_R50."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def _pairs(changes: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(text for key, value in changes.items() for text in (key, str(value)))
