"""The tables and figures of a paper: their rows, what each row changes, and what the paper reports.

``configs/<Project>/tables.yml`` holds them once. The configs of the rows and the README's table are written from it by
``python tools/write_tables.py``; ``fastreid-ext reproduce`` trains the rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo.shipped import TABLES, config_folder

SET, VALUE = "{set}", "{value}"  # in the names of configs: one for each data set, one for each value of a sweep


@dataclass(frozen=True)
class RowConfig:
    """A config of the project's folder.

    Attributes:
        name: without ".yml", from the folder on, such as "ablation/table1_ie3".
        base: the file that it changes, as seen from its own folder.
        what: it is, in the words of the paper's row.
        changes: config key -> value.
        note: a sentence more for its first line.
        small_of: the row that it is on SynthReID, in a size that a CPU can train.
    """

    name: str
    base: str
    what: str
    changes: Mapping[str, Any]
    note: str = ""
    small_of: str = ""


@dataclass(frozen=True)
class Cell:
    """A row on one data set.

    Attributes:
        config: its name.
        changes: config key -> value, of the data set where the config is for another one.
        paper: the paper's figures as it prints them, such as "84.7 / 94.2", in the order of the table's metrics; ""
            where it only draws them or has none.
    """

    config: str
    changes: Mapping[str, Any]
    paper: str


@dataclass(frozen=True)
class Table:
    """A table or figure.

    Attributes:
        name: as the paper has it, such as "table 2".
        what: it compares.
        metrics: of the paper's figures, such as ("mAP", "Rank-1").
        rows: what a row is -> test set -> cell.
    """

    name: str
    what: str
    metrics: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Cell]]


@dataclass(frozen=True)
class PaperTables:
    """All of a project's.

    Attributes:
        project: its folder in configs.
        written: the paper's short name.
        small: the config on SynthReID that a row without one of its own changes; "" where such rows are left out.
        configs: by name.
        tables: by name.
    """

    project: str
    written: str
    small: str
    configs: Mapping[str, RowConfig]
    tables: Mapping[str, Table]

    def cells(self) -> Iterator[tuple[Table, str, str, Cell]]:
        """Yield (table, what the row is, test set, cell)."""
        for table in self.tables.values():
            for what, cells in table.rows.items():
                for name, cell in cells.items():
                    yield table, what, name, cell


def projects() -> list[str]:
    """Return the projects that have tables."""
    return sorted(path.parent.name for path in config_folder().glob(f"*/{TABLES}"))


def tables_of(project: str) -> PaperTables:
    """Read the tables of a project.

    Raises:
        ConfigError: a project without tables.
        ValueError: a row that is no config.
    """
    file = config_folder() / project / TABLES
    if not file.is_file():
        raise ConfigError(f"{project} has no {TABLES}: choose from {', '.join(projects())}")
    known = yaml.safe_load(file.read_text(encoding="utf-8"))
    entries = [config for name, entry in known["configs"].items() for config in _configs(name, entry, known["sets"])]
    configs = {config.name: config for config in entries}
    tables = {name: _table(name, entry, known, configs) for name, entry in known["tables"].items()}
    return PaperTables(project, known["paper"], known.get("small", ""), configs, tables)


def _configs(name: str, entry: Mapping[str, Any], sets: Mapping[str, Any]) -> Iterator[RowConfig]:
    """Yield one config, or one for each data set, or one for each value of a sweep."""
    base, what, changes = entry["base"], entry["what"], entry.get("changes", {})
    note, small_of = entry.get("note", ""), entry.get("small_of", "")
    if SET in name:
        for data in entry["sets"]:
            all_changes = {**changes, **sets[data]["changes"]}
            yield RowConfig(name.replace(SET, data), base, f"{what} on {data}", all_changes, note, small_of)
    elif VALUE in name:
        for ending, value in entry["values"].items():
            said, swept = what.replace(VALUE, str(value)), {**changes, entry["key"]: value}
            yield RowConfig(name.replace(VALUE, ending), base, said, swept, note, small_of.replace(VALUE, ending))
    else:
        yield RowConfig(name, base, what, changes, note, small_of)


def _table(name: str, entry: Mapping[str, Any], known: Mapping[str, Any], configs: Mapping[str, RowConfig]) -> Table:
    """Read a table; ``known`` is the whole file."""
    home, rows = entry["set"], {}
    for config, figures in _rows(entry["rows"], known["configs"]):
        by_set = figures if isinstance(figures, dict) else {home: figures}
        cells = {}
        for data, text in by_set.items():
            changes = known["sets"][data]["changes"] if SET not in config and data != home else {}
            cells[data] = Cell(config.replace(SET, data), changes, text or "")
            if cells[data].config not in configs:
                raise ValueError(f"{name} has a row {cells[data].config}, which is no config")
        what = known["configs"][config]["what"] if SET in config else configs[config].what
        rows[what] = cells
    return Table(name, entry["what"], tuple(entry.get("metrics", known["metrics"]).split(" / ")), rows)


def _rows(rows: Mapping[str, Any], configs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (config, the paper's figures); a sweep is a row for each of its values."""
    for config, figures in rows.items():
        if VALUE in config:
            for ending in configs[config]["values"]:
                yield config.replace(VALUE, ending), (figures or {}).get(ending)
        else:
            yield config, figures
