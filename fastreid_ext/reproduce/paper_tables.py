"""The tables and figures of a paper: their rows, what each row changes, and what the paper reports.

``configs/<Project>/tables.yml`` holds them once. The configs of the rows and the README's table are written from it by
``python tools/write_tables.py``; ``fastreid-ext reproduce`` trains the rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
        small_of: the row that it is on SynthReID, in a size that a CPU can train; "{set}" in it is any data set.
        same_as: another config with the same settings, whose run it shares; "{set}" in it is the row's data set.
    """

    name: str
    base: str
    what: str
    changes: Mapping[str, Any]
    note: str = ""
    small_of: str = ""
    same_as: str = ""


@dataclass(frozen=True)
class Cell:
    """A row on one data set.

    Attributes:
        config: its name.
        project: the folder that has it: FastReID's own models, which papers compare with, are in another one.
        trained: the data set that is trained on.
        changes: config key -> value, of the data set where the config is for another one.
        paper: the paper's figures as it prints them, such as "84.7 / 94.2", in the order of the table's metrics; ""
            where it only draws them or has none.
    """

    config: str
    project: str
    trained: str
    changes: Mapping[str, Any]
    paper: str

    @property
    def path(self) -> str:
        """Its file, below the folder of all configs."""
        return f"{self.project}/{self.config}.yml"


@dataclass(frozen=True)
class Table:
    """A table or figure.

    Attributes:
        name: as the paper has it, such as "table 2".
        what: it compares.
        metrics: of the paper's figures, such as ("mAP", "Rank-1").
        rows: what a row is -> test set -> cell.
        drawn: how a figure is drawn: its kind -> settings, see :mod:`fastreid_ext.reproduce.figures.drawn_tables`;
            empty for a table.
    """

    name: str
    what: str
    metrics: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Cell]]
    drawn: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure without numbers: what trained models see, or what a formula gives.

    Attributes:
        name: as the paper has it, such as "figure 2".
        what: it shows.
        kind: how it is made, a key of :data:`fastreid_ext.reproduce.figures.pictures.KINDS`.
        data: the test set of the paper's; "" = none.
        models: name on the picture -> a config of the project, or a shipped one of another folder with ".yml".
        small: name on the picture -> the config on SynthReID, where the tables do not say it.
        small_occluded: whether its queries on SynthReID are the occluded ones.
    """

    name: str
    what: str
    kind: str
    data: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    small: Mapping[str, str] = field(default_factory=dict)
    small_occluded: bool = False


@dataclass(frozen=True)
class PaperTables:
    """All of a project's.

    Attributes:
        project: its folder in configs.
        written: the paper's short name.
        small: the config on SynthReID that a row without one of its own changes; "" where such rows are left out.
        configs: by name.
        tables: by name.
        small_others: config of another folder -> the same model in a size that a CPU can train.
        pictures: by name: the figures that are none of these.
    """

    project: str
    written: str
    small: str
    configs: Mapping[str, RowConfig]
    tables: Mapping[str, Table]
    small_others: Mapping[str, str]
    pictures: Mapping[str, Picture] = field(default_factory=dict)

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
    read = _Reader(project, known["sets"], known.get("others", {}), known["configs"], configs, known["metrics"])
    tables = {name: read.table(name, entry) for name, entry in known["tables"].items()}
    small_others = {f"{name}.yml": f"{entry['small']}.yml" for name, entry in read.others.items() if "small" in entry}
    pictures = {name: _picture(name, entry, configs) for name, entry in known.get("pictures", {}).items()}
    return PaperTables(project, known["paper"], known.get("small", ""), configs, tables, small_others, pictures)


def _configs(name: str, entry: Mapping[str, Any], sets: Mapping[str, Any]) -> Iterator[RowConfig]:
    """Yield one config, or one for each data set, or one for each value of a sweep."""
    base, what, changes = entry["base"], entry["what"], entry.get("changes", {})
    note, small_of, same_as = entry.get("note", ""), entry.get("small_of", ""), entry.get("same_as", "")
    if SET in name:
        for data in entry["sets"]:
            all_changes = {**changes, **sets[data]["changes"]}
            yield RowConfig(name.replace(SET, data), base, f"{what} on {data}", all_changes, note, small_of)
    elif VALUE in name:
        for ending, value in entry["values"].items():
            said, swept = what.replace(VALUE, str(value)), {**changes, entry["key"]: value}
            small, same = small_of.replace(VALUE, ending), (same_as or {}).get(ending, "")
            yield RowConfig(name.replace(VALUE, ending), base, said, swept, note, small, same)
    else:
        yield RowConfig(name, base, what, changes, note, small_of, same_as)


def _picture(name: str, entry: Mapping[str, Any], configs: Mapping[str, RowConfig]) -> Picture:
    data = entry.get("set", "")
    models = {label: config.replace(SET, data) for label, config in entry.get("models", {}).items()}
    for config in models.values():
        if config not in configs and not config.endswith(".yml"):
            raise ValueError(f"{name} has a model {config}, which is no config")
    settings = {key: entry[key] for key in ("small", "small_occluded") if key in entry}
    return Picture(name, entry["what"], entry["kind"], data, models, **settings)


@dataclass(frozen=True)
class _Reader:
    """Reads the tables of a file, whose other entries it has."""

    project: str
    sets: Mapping[str, Any]
    others: Mapping[str, Any]
    entries: Mapping[str, Any]
    configs: Mapping[str, RowConfig]
    metrics: str

    def table(self, name: str, entry: Mapping[str, Any]) -> Table:
        rows: dict[str, dict[str, Cell]] = {}
        for config, figures in self._rows(entry["rows"]):
            by_set = figures if isinstance(figures, dict) else dict.fromkeys(entry.get("sets", [entry["set"]]), figures)
            cells = {data: self._cell(config, data, entry["set"], text or "") for data, text in by_set.items()}
            for cell in cells.values():
                if cell.project == self.project and cell.config not in self.configs:
                    raise ValueError(f"{name} has a row {cell.config}, which is no config")
            what = self._what(config)
            if what in rows:
                raise ValueError(f"{name} has two rows {what!r}")
            rows[what] = cells
        metrics = tuple(entry.get("metrics", self.metrics).split(" / "))
        return Table(name, entry["what"], metrics, rows, entry.get("drawn", {}))

    def _cell(self, config: str, data: str, home: str, paper: str) -> Cell:
        trained, changes = self._trained(data), self.sets[data]["changes"]
        if config in self.others:
            project, _, name = config.partition("/")
            data_alone = {key: value for key, value in changes.items() if key.startswith("DATASETS.")}
            return Cell(name, project, trained, {} if data == self.others[config].get("set") else data_alone, paper)
        needs = SET not in config and trained != self._trained(home)
        return Cell(config.replace(SET, trained), self.project, trained, changes if needs else {}, paper)

    def _trained(self, data: str) -> str:
        """Return the data set that is trained on for a test set."""
        return self.sets[data].get("trained", data)

    def _what(self, config: str) -> str:
        for entries in (self.others, self.entries):
            if config in entries:
                return entries[config]["what"]
        return self.configs[config].what

    def _rows(self, rows: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield (config, the paper's figures); a sweep is a row for each of its values."""
        for config, figures in rows.items():
            if VALUE in config:
                for ending in self.entries[config]["values"]:
                    yield config.replace(VALUE, ending), (figures or {}).get(ending)
            else:
                yield config, figures
