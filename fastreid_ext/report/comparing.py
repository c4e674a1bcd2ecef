"""Runs beside each other: seeds of one config as a group, the spread of their numbers, and what configs differ in."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fastreid_ext.evaluation.open_set import FALSE_RATES
from fastreid_ext.report.run_files import Run, named

NO_METHOD = (
    *("SEED", "OUTPUT_DIR", "MODEL.HEADS.NUM_CLASSES"),
    *(f"DATALOADER.{key}" for key in ("CACHE_DIR", "FAST_PIXELS", "VERIFY_IMAGES")),
)
OPEN_SET = tuple(f"TPIR@FPIR={rate}" for rate in FALSE_RATES)
METRICS = ("Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", *OPEN_SET, "erased/Rank-1", "erased/mAP")


@dataclass(frozen=True)
class Member:
    """A run of a group.

    Attributes:
        run: what its folder says.
        name: unique among all runs.
        number: place among all runs, from 0.
        group: number of its group, from 0.
        place: place in its group, from 0.
    """

    run: Run
    name: str
    number: int
    group: int
    place: int


@dataclass(frozen=True)
class Group:
    """Runs of one config with different seeds."""

    name: str
    number: int
    members: Sequence[Member]


@dataclass(frozen=True)
class Value:
    """A metric of a group: mean, standard deviation of a sample (None for one run), and each run's value."""

    mean: float
    spread: float | None
    each: Sequence[float]


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Put runs of one config with different seeds together; a run without a config is a group of its own.

    Raises:
        ConfigError: one folder is named twice.
    """
    names, places = named(list(runs)), dict[Any, list[int]]()
    for number, run in enumerate(runs):
        method = frozenset((key, value) for key, value in run.config.items() if key not in NO_METHOD)
        key = (method, run.record.get("eval_only", False)) if run.config else number
        places.setdefault(key, []).append(number)
    titles = _titles([[names[n] for n in numbers] for numbers in places.values()])
    groups = []
    for group, (numbers, title) in enumerate(zip(places.values(), titles, strict=True)):
        members = [Member(runs[n], names[n], n, group, place) for place, n in enumerate(numbers)]
        groups.append(Group(title, group, members))
    return groups


def _titles(names: Sequence[Sequence[str]]) -> list[str]:
    """Name each group by its run, or by the folder that its runs share; by all its runs where that names two groups."""
    titles = []
    for own in names:
        if len(own) == 1:
            titles.append(own[0])
            continue
        parts = [name.split("/") for name in own]
        shared = []
        for level in zip(*parts, strict=False):
            if len(set(level)) > 1:
                break
            shared.append(level[0])
        titles.append("/".join(shared) or (", ".join(own) if len(own) == 2 else f"{own[0]} and {len(own) - 1} more"))
    return [title if titles.count(title) == 1 else ", ".join(own) for title, own in zip(titles, names, strict=True)]


def value_of(values: Iterable[float | None]) -> Value | None:
    """Return mean and spread of the known ones of some values, None if there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Value(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, known)


def metric_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return a row of each test set and group: its metrics, None where no run has one."""
    rows = []
    for name in dict.fromkeys(name for group in groups for m in group.members for name in m.run.results):
        for group in groups:
            each = [member.run.results.get(name, {}) for member in group.members]
            if any(each):
                values = {key: value_of(one.get(key) for one in each) for key in METRICS}
                rows.append({"set": name, "group": group, "runs": sum(map(bool, each)), "values": values})
    return rows


def group_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return a row of each test set and group of queries: Rank-1 and mAP of each group of runs."""
    rows = []
    for name in dict.fromkeys(name for group in groups for m in group.members for name in m.run.groups):
        tables = [[_by_label(member.run.groups.get(name, [])) for member in group.members] for group in groups]
        labels = dict.fromkeys(label for each in tables for table in each for label in table)
        for label in labels:
            found = [[table[label] for table in each if label in table] for each in tables]
            some = next(row for each in found for row in each)
            if not some["queries"]:
                continue
            values = [{metric: value_of(row[metric] for row in each) for metric in ("Rank-1", "mAP")} for each in found]
            rows.append({"set": name, "label": label, "kind": kind_of(label), "values": values, **some})
    return rows


def _by_label(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["group"]: row for row in rows}


def kind_of(label: str) -> str:
    """Return what a group of queries was cut by."""
    if label.split(" ")[0] in ("head", "middle", "tail"):
        return "training images"
    return "" if label == "all" else "occlusion"


def config_differences(groups: Sequence[Group]) -> list[tuple[str, list[str]]]:
    """Return (key, value of each group) of the config keys that differ; "" where a group's config lacks the key."""
    configs = [group.members[0].run.config for group in groups]
    known = [config for config in configs if config]
    keys = sorted({key for config in known for key in config} - set(NO_METHOD))
    return [
        (key, [config.get(key, "") for config in configs])
        for key in keys
        if len({config.get(key) for config in known}) > 1
    ]
