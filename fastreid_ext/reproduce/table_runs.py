"""The runs that make the rows of a paper's table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastreid_ext.engine.repeat import settings_of
from fastreid_ext.errors import ConfigError
from fastreid_ext.reproduce.paper_tables import SET, Cell, PaperTables, Table

SIZES = ("paper", "synthreid")
SYNTHREID = "SynthReID"


@dataclass(frozen=True)
class Run:
    """What is trained for a row on a data set; rows, and tables, with the same run share it.

    Attributes:
        config: a shipped config.
        overrides: KEY VALUE pairs.
        folder: below the output's "runs".
    """

    config: str
    overrides: tuple[str, ...]
    folder: str


@dataclass(frozen=True)
class Row:
    """A row on one data set, with the run that gives its numbers.

    Attributes:
        what: it is.
        paper_data: the data set of the paper's figures.
        paper: metric -> the paper's figure; empty where it has none.
        run: ours.
        data: the test set of the run whose results count.
    """

    what: str
    paper_data: str
    paper: Mapping[str, float]
    run: Run
    data: str


def table_named(tables: PaperTables, name: str) -> Table:
    """Return a table by its name, such as "table 2".

    Raises:
        ConfigError: there is none of that name.
    """
    found = tables.tables.get(" ".join(name.lower().split()))
    if found is None:
        raise ConfigError(
            f"{tables.project} has no {name!r}: choose from {', '.join((*tables.tables, *tables.pictures))}"
        )
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
            run = _small(tables, cells[name]) if size == "synthreid" else _full(tables, cells[name])
            if run is not None:
                tested = SYNTHREID if size == "synthreid" else name
                rows.append(Row(what, name, dict(zip(table.metrics, figures, strict=False)), run, tested))
    if not rows:
        raise ConfigError(f"none of the rows of {table.name} is there on SynthReID: leave --size synthreid out")
    return _sharing(rows) if size == "synthreid" else rows


def _sharing(rows: Sequence[Row]) -> list[Row]:
    """Have rows with the same settings share a run: on SynthReID what differs in the paper's size may be the same."""
    runs: dict[tuple[tuple[str, str], ...], Run] = {}
    settings = {run: tuple(settings_of(run.config, run.overrides).items()) for run in {row.run for row in rows}}
    return [replace(row, run=runs.setdefault(settings[row.run], row.run)) for row in rows]


def _full(tables: PaperTables, cell: Cell) -> Run:
    same_as = tables.configs[cell.config].same_as if cell.project == tables.project else ""
    name = same_as.replace(SET, cell.trained) or cell.config
    changes = {} if SET in same_as else cell.changes  # the config of that data set has its changes
    folder = name if cell.project == tables.project else f"{cell.project}/{name}"
    return Run(f"{cell.project}/{name}.yml", _pairs(changes), f"{folder}_{cell.trained}" if changes else folder)


def _small(tables: PaperTables, cell: Cell) -> Run | None:
    if cell.project != tables.project:
        other = tables.small_others.get(cell.path)
        return Run(other, (), other.removesuffix(".yml")) if other else None
    smaller = (one for one in tables.configs.values() if one.small_of.replace(SET, cell.trained) == cell.config)
    if (small := next(smaller, None)) is not None:
        name = small.same_as or small.name
        return Run(f"{tables.project}/{name}.yml", (), name)
    root, *line = _line(tables, cell.config)
    if not tables.small or root != f"Base-{tables.project}":  # else it also changes what the tables do not say
        return None
    changes = {k: v for one in line for k, v in tables.configs[one].changes.items() if not k.startswith("DATASETS.")}
    return Run(tables.small, _pairs(changes), f"synthreid/{cell.config if changes else Path(tables.small).stem}")


def _line(tables: PaperTables, name: str) -> list[str]:
    """Return a config and those that it builds on, these first; the first one is none of the tables'."""
    line = [name]
    while line[0] in tables.configs:
        base = (Path(line[0]).parent / tables.configs[line[0]].base).with_suffix("")
        line.insert(0, _without_dots(base))
    return line


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
