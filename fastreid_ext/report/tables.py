"""The tables of a report: cells as text, with the numbers that columns are sorted by."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastreid_ext.report.charts import members_of
from fastreid_ext.report.comparing import (
    METRICS,
    Group,
    Member,
    Value,
    config_differences,
    group_rows,
    metric_rows,
    value_of,
)

NONE = "–"


@dataclass(frozen=True)
class Cell:
    """What a cell shows, what it is sorted by, further words on it, and the number of a group whose colour it has."""

    text: str
    order: float | str = ""
    more: str = ""
    colour: int | None = None


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and filtered.

    Attributes:
        key: unique on the page.
        caption: what it shows.
        head: (name of the column, whether it holds numbers).
        rows: of cells; the first one names the row.
    """

    key: str
    caption: str
    head: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[Cell]]


def plain(text: str) -> Cell:
    """Return a cell of text."""
    return Cell(text or NONE, text.casefold())


def amount(value: float | None, shown: str, more: str = "") -> Cell:
    """Return a cell of a number, as a format shows it."""
    return Cell(NONE) if value is None else Cell(format(value, shown), value, more)


def spread(value: Value | None, digits: int = 1) -> Cell:
    """Return a cell of a mean and, of several runs, its spread."""
    if value is None:
        return Cell(NONE)
    text = f"{value.mean:.{digits}f}"
    if value.spread is not None:
        text += f" ± {value.spread:.{digits}f}"
    each = ", ".join(f"{one:.{digits}f}" for one in value.each) if len(value.each) > 1 else ""
    return Cell(text, value.mean, f"each run: {each}" if each else "")


def named_group(group: Group) -> Cell:
    """Return the cell that names a group of runs."""
    return Cell(group.name, group.name.casefold(), colour=group.number)


def named_run(member: Member) -> Cell:
    """Return the cell that names a run."""
    return Cell(member.name, member.name.casefold(), colour=member.group)


def results_table(groups: Sequence[Group]) -> Table:
    """Return Rank-k, mAP, mINP and, where it was measured, TPIR of each test set and group of runs."""
    found = metric_rows(groups)
    keys = [key for key in METRICS if any(row["values"][key] for row in found)]
    head = [("config", False), ("test set", False), *((key, True) for key in keys), ("runs", True)]
    rows = []
    for row in found:
        values = [spread(row["values"][key]) for key in keys]
        rows.append([named_group(row["group"]), plain(row["set"]), *values, amount(row["runs"], "d")])
    caption = "Percent. Runs of one config with different seeds are one row: mean ± standard deviation over the seeds."
    return Table("results", caption, head, rows)


def groups_table(groups: Sequence[Group]) -> Table:
    """Return Rank-1 and mAP by groups of queries, columns for each group of runs."""
    columns = [(f"{metric}, {group.name}", True) for group in groups for metric in ("Rank-1", "mAP")]
    head = [("queries", False), ("test set", False), ("cut by", False), ("persons", True), ("count", True), *columns]
    rows = []
    for place, row in enumerate(group_rows(groups)):
        cells = [spread(values[metric]) for values in row["values"] for metric in ("Rank-1", "mAP")]
        label = Cell(row["label"], place)  # in the order of the edges, not of the alphabet
        counts = amount(row["identities"], "d"), amount(row["queries"], "d")
        rows.append([label, plain(row["set"]), plain(row["kind"]), *counts, *cells])
    caption = "Percent, by how much of the person is hidden and by how many training images the person has."
    return Table("groups", caption, head, rows)


def costs_table(groups: Sequence[Group]) -> Table:
    """Return what each run's model costs."""
    columns = (
        "parameters (M)",
        "of the test (M)",
        "multiply-adds (G)",
        "feature",
        "training images/s",
        "test images/s",
    )
    rows = []
    for member in members_of(groups):
        model = member.run.record.get("model", {})
        size = " x ".join(f"{side:g}" for side in model.get("input", [])[:2])
        rows.append(
            [
                named_run(member),
                plain(model.get("architecture") or member.run.config.get("MODEL.META_ARCHITECTURE", "")),
                plain(size),
                amount(_millions(model.get("parameters")), ".2f"),
                amount(_millions(model.get("parameters_of_test")), ".2f"),
                amount(_millions(model.get("multiply_adds"), 1e9), ".3f"),
                amount(model.get("feature_dim"), "d"),
                amount(_training_pace(member), ".1f"),
                amount(_test_pace(member), ".1f"),
            ]
        )
    caption = (
        "Multiply-adds are of one test image. Training images/s is the median over the log, test images/s counts the"
        " last evaluation's features, both with loading: they depend on the machine and on what else it did."
    )
    head = [("run", False), ("model", False), ("input", False), *((name, True) for name in columns)]
    return Table("cost", caption, head, rows)


def _millions(value: Any, unit: float = 1e6) -> float | None:
    return None if value is None else value / unit


def _training_pace(member: Member) -> float | None:
    seconds = sorted(line["time"] for line in member.run.history if line.get("time", 0) > 0)
    images = member.run.config.get("SOLVER.IMS_PER_BATCH", "")
    return int(images[:9]) / seconds[len(seconds) // 2] if seconds and images.isdecimal() else None


def _test_pace(member: Member) -> float | None:
    found = value_of(details["images_per_second"] for details in member.run.details.values())
    return None if found is None else found.mean


def differences_table(groups: Sequence[Group]) -> Table:
    """Return the config keys that differ between groups of runs."""
    rows = [[plain(key), *(plain(value) for value in values)] for key, values in config_differences(groups)]
    head = [("key", False), *((group.name, False) for group in groups)]
    return Table("differences", "Keys that differ; seeds and folders are left out.", head, rows)


def environment_table(groups: Sequence[Group]) -> Table:
    """Return commit, environment and command of every run."""
    members = members_of(groups)
    records = [member.run.record for member in members]
    keys = dict.fromkeys(key for record in records for key in record.get("environment", {}))
    head_of = {"commit": "commit", "finished": "finished", "recorded by": "recorded_by", "command": "command"}
    rows = [
        [plain("seed"), *(plain("" if member.run.seed is None else str(member.run.seed)) for member in members)],
        *([plain(name), *(plain(record.get(key, "")) for record in records)] for name, key in head_of.items()),
        *([plain(key), *(plain(record.get("environment", {}).get(key, "")) for record in records)] for key in keys),
    ]
    head = [("", False), *((member.name, False) for member in members)]
    return Table("environment", "What the numbers depend on beside config and data.", head, rows)
