"""Writes what configs/<Project>/tables.yml is the source of: the configs of the rows, and the README's tables.

python tools/write_tables.py            writes them
python tools/write_tables.py --check    says which ones differ, and ends with 1 if any does
"""

import argparse
import json
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid_ext.reproduce.paper_tables import SET, Cell, PaperTables, RowConfig, Table, projects, tables_of

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- rows: python tools/write_tables.py -->", "<!-- end of rows -->"
WIDTH, GLUE = 120, "\0/\0"


def written(project: str) -> dict[Path, str]:
    """Return file -> what belongs into it."""
    tables = tables_of(project)
    configs = ROOT / "configs" / project
    files = {configs / f"{name}.yml": config_text(tables, config) for name, config in tables.configs.items()}
    readme = ROOT / "projects" / project / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if end:
        files[readme] = f"{before}{BEGIN}\n\n{readme_rows(tables)}\n\n{END}{after}"
    return files


def config_text(tables: PaperTables, config: RowConfig) -> str:
    """Return the yaml file of a config: what it is and what the paper reports, its base, its changes."""
    said = _comment(tables, config).replace(" / ", GLUE)  # the paper's figures stay on one line
    comment = textwrap.fill(said, WIDTH, initial_indent="# ", subsequent_indent="# ").replace(GLUE, " / ")
    parts = [f"{comment}\n_BASE_: {config.base}", *_nested(config.changes)]
    return "\n\n".join([*parts, f"OUTPUT_DIR: logs/{tables.project}/{config.name}"]) + "\n"


def _comment(tables: PaperTables, config: RowConfig) -> str:
    name = config.small_of or config.name
    cells = [
        (table, data, cell)
        for table, _, data, cell in tables.cells()
        if cell.path == f"{tables.project}/{name.replace(SET, cell.trained)}.yml"
    ]
    places = dict.fromkeys(table.name for table, _, _ in cells)
    where = f", {_listed(places)}" if places else ""
    said = f"{tables.written}{where}{' on SynthReID' if config.small_of else ''}: {config.what}"
    figures: dict[str, dict[str, None]] = {}
    for table, data, cell in cells:
        if cell.paper:
            figures.setdefault(" / ".join(table.metrics), {})[f"{cell.paper} on {data}"] = None
    if figures and not config.small_of:
        said += "; the paper's " + ", ".join(f"{metrics}: {', '.join(of)}" for metrics, of in figures.items())
    elif not config.small_of:
        said += "; the paper only draws it" if any(map(is_figure, places)) else "; not in the paper"
    return f"{said}. {config.note}" if config.note else said


def is_figure(place: str) -> bool:
    """Whether it is no table."""
    return place.startswith("figure")


def _listed(places: Iterable[str]) -> str:
    """["table 1", "table 2", "table 3"] -> "tables 1, 2 and 3"."""
    kinds: dict[str, list[str]] = {}
    for place in places:
        kind, _, number = place.partition(" ")
        kinds.setdefault(kind, []).append(number)
    return " and ".join(f"{kind}{'s' * (len(n) > 1)} {_joined(n)}" for kind, n in kinds.items())


def _joined(numbers: Sequence[str]) -> str:
    *first, last = numbers
    return f"{', '.join(first)} and {last}" if first else last


def _nested(changes: Mapping[str, Any]) -> list[str]:
    tree: dict[str, Any] = {}
    for key, value in changes.items():
        *outer, last = key.split(".")
        node = tree
        for part in outer:
            node = node.setdefault(part, {})
        node[last] = value
    return ["\n".join(_lines({key: value}, 0)) for key, value in tree.items()]


def _lines(node: Mapping[str, Any], depth: int) -> Iterable[str]:
    for key, value in node.items():
        indent = "  " * depth
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _lines(value, depth + 1)
        elif isinstance(value, list) and any(isinstance(one, list) for one in value):
            yield f"{indent}{key}:"
            yield from (f"{indent}  - {_value(one)}" for one in value)
        else:
            yield f"{indent}{key}: {_value(value)}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(json.dumps(one) if isinstance(one, str) else _value(one) for one in value)}]"
    return str(value)


def readme_rows(tables: PaperTables) -> str:
    """Return a Markdown table for each of the paper's: a column for each data set, the paper's figures as links."""
    return "\n\n".join(_readme_table(table) for table in tables.tables.values())


def _readme_table(table: Table) -> str:
    sets = list(dict.fromkeys(data for cells in table.rows.values() for data in cells))
    lines = [[what, *(_link(cells.get(data)) for data in sets)] for what, cells in table.rows.items()]
    name = f"{table.name[:1].upper()}{table.name[1:]}: {table.what}"
    return _markdown([name, *(f"{data}, {' / '.join(table.metrics)}" for data in sets)], lines)


def _link(cell: Cell | None) -> str:
    if cell is None:
        return ""
    return f"[{cell.paper or f'`{Path(cell.path).name}`'}](../../configs/{cell.path})"


def _markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    # Without padding: a new row changes one line.
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    files = {path: text for project in projects() for path, text in written(project).items()}
    differing = [path for path, text in files.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in differing:
        print(path.relative_to(ROOT))
        if not args.check:
            path.write_text(files[path], encoding="utf-8")
    sys.exit(1 if args.check and differing else 0)


if __name__ == "__main__":
    main()
