"""What the folder of a run says: results, history, details, environment and config, as far as it has them."""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastreid_ext.engine.config_files import MOST_BYTES, read_with_bases, tree_of
from fastreid_ext.engine.run_record import FORMAT as RECORD_FORMAT
from fastreid_ext.engine.run_record import NAME as RECORD
from fastreid_ext.errors import ConfigError, FileError, UserError
from fastreid_ext.evaluation.details import FORMAT as DETAILS_FORMAT
from fastreid_ext.files import read_bytes, reason
from fastreid_ext.foreign_files import read_json, shown
from fastreid_ext.image_files import check_is_file
from fastreid_ext.report import checked

LARGEST = 64 << 20  # bytes of one file
MOST_SETS = 100
HISTORY_POINTS = 400  # of a curve over training: a screen shows no more
SEED_ALONE = re.compile(r"seed_?\d+")  # as repeat names folders
CONFIG, RESULTS, HISTORY = "config.yaml", "results.json", "metrics.json"
WEIGHTS = ("model_best.pth", "model_final.pth")  # FastReID's model zoo has the last alone
NOT_ENDED = "the run has not ended, or FastReID's own trainer made it, which writes none"


@dataclass(frozen=True)
class Run:
    """A run's folder.

    Attributes:
        folder: where it lies.
        config: dotted key -> value as text.
        seed: of the run, if it is known.
        results: test set -> metric -> value in percent.
        history: lines of metrics.json: name -> value.
        groups: test set -> rows of Rank-1 and mAP by groups of queries.
        details: test set -> curves and the hardest queries.
        record: report.json: environment, commit, cost.
        missing: sentences on what the folder lacks or what of it can't be read.
    """

    folder: Path
    config: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    results: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    history: list[Mapping[str, float]] = field(default_factory=list)
    groups: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    details: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def read_run(folder: Path) -> Run:
    """Read a run's folder; what it lacks becomes a sentence of the report.

    Raises:
        FileError: it is no folder, or has no file of a run.
    """
    if not folder.is_dir():
        raise FileError(f"{folder} is no folder: name the OUTPUT_DIR of a run")
    missing: list[str] = []

    def part(name: str, read: Callable[[Path], Any], otherwise: Any, lacking: str) -> Any:
        if not (folder / name).exists():
            missing.append(lacking)
            return otherwise
        try:
            return read(folder / name)
        except UserError as error:
            missing.append(f"{error}.")
            return otherwise

    found = part(RESULTS, _results, {}, f"There are no results ({RESULTS}): {NOT_ENDED}.")
    history = part(HISTORY, _history, [], f"There are no losses ({HISTORY}): nothing was trained into this folder.")
    record = part(RECORD, _record, {}, f"Cost, environment and commit were not recorded ({RECORD}).")
    if record and history:  # an evaluation into the folder of a training run
        record["eval_only"] = False
    if (folder / CONFIG).exists() or not record.get("config"):
        config = part(CONFIG, _config, {}, f"There is no {CONFIG}.")
    else:
        config = part(RECORD, lambda path: _flat(tree_of(record["config"], str(path))), {}, "")
    details = dict(_files(folder, "details_", _details, missing))
    if not details:
        missing.append("Curves and rank lists were not recorded (details_*.json).")
    if not (details and record):
        missing.append(f"To record what an evaluation gives: {command_for(folder)}")
    groups = dict(_files(folder, "report_", _groups, missing))
    if not (found or history or record or config or details or groups):
        raise FileError(
            f"{folder} has none of the files of a run ({RESULTS}, {HISTORY}, {CONFIG}): name the OUTPUT_DIR of one"
        )
    order = {name: place for place, name in enumerate(found.get("results", {}))}
    details, groups = (
        dict(sorted(sets.items(), key=lambda item: order.get(item[0].removesuffix("_erased"), len(order))))
        for sets in (details, groups)
    )
    seed = checked.whole(found.get("seed", record.get("seed")))
    return Run(folder, config, seed, found.get("results", {}), history, groups, details, record, missing)


def command_for(folder: Path) -> str:
    """Return the command that evaluates a run's weights again into its own folder."""
    place = folder.absolute()
    weights = next((place / name for name in WEIGHTS if (place / name).is_file()), place / WEIGHTS[0])
    words = ["--config-file", place / CONFIG, "MODEL.WEIGHTS", weights, "OUTPUT_DIR", place]
    return f"fastreid-ext train --eval-only {shlex.join(map(str, words))}"


def _files(folder: Path, start: str, read: Callable[[Path], Any], missing: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield (test set, content) of the files of a kind, by name."""
    try:
        paths = sorted(path for path in folder.glob(f"{start}*.json"))[:MOST_SETS]
    except OSError as error:
        raise FileError(f"{folder} can't be read: {reason(error)}") from error
    for path in paths:
        try:
            yield checked.text(path.stem.removeprefix(start)), read(path)
        except UserError as error:
            missing.append(f"{error}.")


def _read(path: Path) -> dict[str, Any]:
    """Return an object of JSON from a file of a bounded size.

    Raises:
        FileError: it is another file.
    """
    _check_size(path)
    found = read_json(path)
    if not isinstance(found, dict):
        raise FileError(f"{path} is not the file of a run: it has no object")
    return found


def _check_size(path: Path) -> None:
    try:
        check_is_file(path)
        size = path.stat().st_size
    except OSError as error:
        raise FileError(f"{path} can't be read: {reason(error)}") from error
    if size > LARGEST:
        raise FileError(f"{path} has {size >> 20} MB, and no run writes so much: it is left out")


def _results(path: Path) -> dict[str, Any]:
    found = _read(path)
    sets = {
        name: {key: value for key, one in checked.pairs(values).items() if (value := checked.number(one)) is not None}
        for name, values in checked.pairs(found.get("results")).items()
    }
    return {"results": {name: values for name, values in sets.items() if values}, "seed": found.get("seed")}


def _history(path: Path) -> list[dict[str, float]]:
    """Return the lines of metrics.json that have an iteration, by it; of one that occurs twice, the later one."""
    _check_size(path)
    lines: dict[int, dict[str, float]] = {}
    for line in read_bytes(path).split(b"\n"):
        try:
            found = checked.pairs(json.loads(line)) if line.strip() else {}
        except (ValueError, RecursionError):  # half a line, of a run that was killed
            continue
        values = {key: value for key, one in found.items() if (value := checked.number(one)) is not None}
        if "iteration" in values:
            lines[int(values["iteration"])] = values
    if not lines and path.stat().st_size:
        raise FileError(f"{path} has no line of a training: it is damaged, or of something else")
    ordered = [lines[iteration] for iteration in sorted(lines)]
    step = -(-len(ordered) // HISTORY_POINTS) or 1
    return ordered[::-1][::step][::-1]  # the last one is kept


def _record(path: Path) -> dict[str, Any]:
    found = _read(path)
    if found.get("format") != RECORD_FORMAT:
        raise FileError(f"{path} says {shown(found.get('format'))} of its format, this version reads {RECORD_FORMAT!r}")
    model, environment = checked.pairs(found.get("model")), checked.pairs(found.get("environment"))
    config = found.get("config")
    sizes = ("parameters", "parameters_of_test", "multiply_adds", "feature_dim")
    return {
        "seed": found.get("seed"),
        "finished": checked.text(found.get("finished")),
        "commit": checked.text(found.get("commit")),
        "command": " ".join(checked.text(word) for word in checked.items(found.get("command"))),
        "eval_only": found.get("eval_only") is True,
        "recorded_by": "evaluation" if found.get("eval_only") is True else "training",
        "environment": {key: checked.text(value) for key, value in environment.items()},
        "model": {
            "architecture": checked.text(model.get("architecture")),
            "input": [int(side) for side in checked.numbers(model.get("input"))],
            **{name: checked.whole(model.get(name)) for name in sizes},
        },
        "config": config if isinstance(config, str) and len(config) <= MOST_BYTES else "",
    }


def _config(path: Path) -> dict[str, str]:
    return _flat(read_with_bases(str(path))[-1][1])


def _flat(tree: Mapping[Any, Any], start: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in tree.items():
        name = f"{start}{checked.text(key)}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: checked.text(value)}
    return found


def _groups(path: Path) -> list[dict[str, Any]]:
    rows = [checked.pairs(row) for row in checked.items(_read(path).get("groups"))]
    return [
        {
            "group": checked.text(row.get("group")),
            **{name: checked.whole(row.get(name)) for name in ("identities", "queries")},
            **{name: checked.number(row.get(name)) for name in ("Rank-1", "mAP")},
        }
        for row in rows
    ]


def _details(path: Path) -> dict[str, Any]:
    found = _read(path)
    if found.get("format") != DETAILS_FORMAT:
        raise FileError(
            f"{path} says {shown(found.get('format'))} of its format, this version reads {DETAILS_FORMAT!r}"
        )
    curves = {name: checked.pairs(found.get(name)) for name in ("cmc", "roc", "histogram")}
    wanted = {
        "cmc": ("ranks", "rates"),
        "roc": ("false_positive_rates", "true_positive_rates", "thresholds"),
        "histogram": ("edges", "same", "different"),
    }
    return {
        "metric": checked.text(found.get("metric")),
        "erased": found.get("erased") is True,
        "protocol": checked.text(found.get("protocol")),
        "changed_by": [checked.text(one) for one in checked.items(found.get("changed_by"))],
        **{name: checked.whole(found.get(name)) for name in ("queries", "scored", "gallery")},
        "images_per_second": checked.number(found.get("images_per_second")),
        **{name: {key: checked.numbers(curves[name].get(key)) for key in keys} for name, keys in wanted.items()},
        "area": checked.number(curves["roc"].get("area")),
        "average_precision": checked.numbers(found.get("average_precision")),
        "hardest": [_query(checked.pairs(one)) for one in checked.items(found.get("hardest"))],
    }


def _query(found: Mapping[str, Any]) -> dict[str, Any]:
    listed = [_image(checked.pairs(one)) for one in checked.items(found.get("list"))]
    first = checked.pairs(found.get("first_right"))
    return {
        **_image(found),
        "average_precision": checked.number(found.get("average_precision")) or 0.0,
        "first_match": checked.whole(found.get("first_match")) or 0,
        "list": listed[:50],
        "first_right": _image(first) if first else None,
    }


def _image(found: Mapping[str, Any]) -> dict[str, Any]:
    path = found.get("path")
    return {
        "path": path if isinstance(path, str) and "\0" not in path else "",
        "rank": checked.whole(found.get("rank")),
        "person": checked.text(found.get("person")),
        "camera": checked.text(found.get("camera")),
        "distance": checked.number(found.get("distance")),
        "right": found.get("right") is True,
    }


def named(runs: list[Run]) -> list[str]:
    """Return as much of each folder's path as tells it from the others; what is named by its seed alone says more.

    Raises:
        ConfigError: a folder is named twice.
    """
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise ConfigError(f"one run is named twice: {' '.join(str(run.folder) for run in runs)}")
    parts = [run.folder.absolute().parts for run in runs]
    parts = [(*one[:-2], "/".join(one[-2:])) if SEED_ALONE.fullmatch(one[-1]) else one for one in parts]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            return [checked.text(name) for name in names]
    raise ConfigError(f"one run is named twice: {' '.join(str(run.folder) for run in runs)}")
