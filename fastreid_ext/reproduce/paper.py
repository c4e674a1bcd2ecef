"""Trains the rows of a paper's table and sets what they give beside the paper's figures."""

import json
from collections.abc import Sequence
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.repeat import check_overrides, train
from fastreid_ext.engine.trained import config_file_of
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.spread import summarise
from fastreid_ext.files import make_folder, write_text
from fastreid_ext.reproduce.comparison import Comparison
from fastreid_ext.reproduce.paper_tables import PaperTables, Table
from fastreid_ext.reproduce.table_runs import Row, Run

RENDERED = "SynthReID"  # how the names begin of the sets that are made on first use


def plan(
    tables: PaperTables, table: Table, rows: Sequence[Row], seeds: Sequence[int], output: Path, overrides: Sequence[str]
) -> str:
    """Return what :func:`reproduce_table` would do, a line for each run.

    Raises:
        ConfigError: a call that :func:`check_call` refuses.
    """
    check_call(rows, seeds, overrides)
    runs = _runs(rows)
    epochs = [_config(run, overrides).SOLVER.MAX_EPOCH for run in runs]
    lines = [f"{tables.written}, {table.name}, {table.what}: rows: {len(rows)}, runs: {len(runs) * len(seeds)}"]
    for run, count in zip(runs, epochs, strict=True):
        shared = sum(row.run == run for row in rows)
        changes = f" with {' '.join(run.overrides)}" if run.overrides else ""
        rows_of = f", for {shared} rows" if shared > 1 else ""
        lines.append(f"- {run.config}{changes}, {count} epochs{rows_of}: {_states(run, seeds, output)}")
    lines += [f"- missing: {sentence}" for sentence in missing(rows, overrides)]
    return "\n".join(lines)


def check_call(rows: Sequence[Row], seeds: Sequence[int], overrides: Sequence[str]) -> None:
    """Check a call before hours of training.

    Raises:
        ConfigError: seeds that are none, a config that can't be merged, or a run that is not tested on what its rows
            are of.
    """
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds is {' '.join(map(str, seeds))} and must be different numbers of 0 or more")
    check_overrides(overrides)
    for run in _runs(rows):
        tests = _config(run, overrides).DATASETS
        for data in _tested(run, rows):
            if data not in (*tests.TESTS, *tests.TESTS_OPTIONAL):
                raise ConfigError(f"DATASETS.TESTS lacks {data}, which the rows are of: leave it out of --opts")


def missing(rows: Sequence[Row], overrides: Sequence[str]) -> list[str]:
    """Return, a sentence each, which data sets of the runs are not there."""
    names = []
    for run in _runs(rows):
        cfg = _config(run, overrides)
        names += [(name, ("train",)) for name in cfg.DATASETS.NAMES]
        names += [
            (name, ("query", "gallery")) for name in (*cfg.DATASETS.TESTS, *_tested(run, rows))
        ]  # which may be optional
    sentences = []
    for name, splits in dict.fromkeys(names):
        if name.startswith(RENDERED):
            continue
        try:
            load_dataset(name, splits)
        except DataSetError as error:
            sentences.append(str(error))
    return list(dict.fromkeys(sentences))


def reproduce_table(
    tables: PaperTables,
    table: Table,
    rows: Sequence[Row],
    seeds: Sequence[int],
    output: Path,
    overrides: Sequence[str] = (),
    num_gpus: int = 1,
) -> Comparison:
    """Train what is missing, and write the comparison as Markdown, JSON and HTML.

    Args:
        tables: of the project.
        table: one of them.
        rows: of :func:`rows_of`.
        seeds: a run of each row for each.
        output: folder; its runs are shared by all tables, and what an earlier call finished is kept.
        overrides: KEY VALUE pairs of every run.
        num_gpus: processes of each run.

    Raises:
        ConfigError: a call that :func:`check_call` refuses, or data sets that are not there.
        RepeatError: a run failed, or the folder holds a run of other settings.
        FileError: a file can't be written.
    """
    check_call(rows, seeds, overrides)
    if absent := missing(rows, overrides):
        raise ConfigError("\n".join(absent))
    make_folder(output)
    summaries = {}
    for run in _runs(rows):
        folder, pairs = output / "runs" / run.folder, _all(run, overrides)
        results = {seed: train(run.config, seed, folder, pairs, num_gpus) for seed in seeds}
        summaries[run] = summarise(results)
    of_rows = [(row, summaries[row.run][row.data]) for row in rows]
    lacking = [(row, metric) for row, summary in of_rows for metric in table.metrics if metric not in summary]
    if lacking:
        row, metric = lacking[0]
        raise ConfigError(f"the runs of {row.what} have no {metric}: see TEST in {row.run.config}")
    changed = f" with {' '.join(overrides)}" if overrides else ""
    made = f"{len(seeds)} seeds ({', '.join(map(str, seeds))}){changed}; the paper's figures are its own."
    comparison = Comparison(f"{tables.written}, {table.name}: {table.what}", table.metrics, of_rows, made)
    name = f"{table.name.replace(' ', '')}{'_synthreid' if rows and rows[0].data != rows[0].paper_data else ''}"
    write_text(output / f"{name}.md", comparison.markdown())
    write_text(output / f"{name}.json", json.dumps(comparison.numbers(), indent=1) + "\n")
    write_text(output / f"{name}.html", comparison.page())
    return comparison


def _runs(rows: Sequence[Row]) -> list[Run]:
    return list(dict.fromkeys(row.run for row in rows))


def _tested(run: Run, rows: Sequence[Row]) -> list[str]:
    """Return the test sets of a run that rows are of."""
    return list(dict.fromkeys(row.data for row in rows if row.run == run))


def _all(run: Run, overrides: Sequence[str]) -> list[str]:
    return [*run.overrides, *overrides]


def _config(run: Run, overrides: Sequence[str]) -> CfgNode:
    cfg = get_cfg()
    merge_config(cfg, config_file_of(run.config), _all(run, overrides))
    return cfg


def _states(run: Run, seeds: Sequence[int], output: Path) -> str:
    return ", ".join(f"seed {seed} {_state(output / 'runs' / run.folder / f'seed{seed}')}" for seed in seeds)


def _state(folder: Path) -> str:
    if (folder / "results.json").is_file():
        return "is done"
    return "goes on" if (folder / "last_checkpoint").is_file() else "is to be trained"
