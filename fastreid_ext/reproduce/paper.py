"""Trains the rows of a paper's table and sets what they give beside the paper's figures."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.repeat import check_overrides, check_seeds, folder_of
from fastreid_ext.engine.trained import config_file_of
from fastreid_ext.errors import ConfigError, UserError, counted
from fastreid_ext.evaluation.spread import summarise
from fastreid_ext.files import make_folder, write_text
from fastreid_ext.reproduce.comparison import Comparison
from fastreid_ext.reproduce.estimate import estimates
from fastreid_ext.reproduce.kept_rows import with_kept_rows
from fastreid_ext.reproduce.paper_tables import PaperTables, Table
from fastreid_ext.reproduce.requirements import missing_sets, unrendered, weights_to_download
from fastreid_ext.reproduce.side_by_side import Place, Training, train_all
from fastreid_ext.reproduce.table_runs import SIZES, Row, Run


class ReproduceError(UserError):
    """Runs of a table that have no results."""


def plan(
    tables: PaperTables, table: Table, rows: Sequence[Row], seeds: Sequence[int], output: Path, overrides: Sequence[str]
) -> str:
    """Return what :func:`reproduce_table` would do, a line for each run.

    Raises:
        RepeatError, ConfigError: a call that :func:`check_call` refuses.
    """
    check_call(rows, seeds, overrides)
    runs = _runs(rows)
    configs = [_config(run, overrides) for run in runs]
    lines = [f"{tables.written}, {table.name}, {table.what}: rows: {len(rows)}, runs: {len(runs) * len(seeds)}"]
    for run, cfg in zip(runs, configs, strict=True):
        shared = sum(row.run == run for row in rows)
        changes = f" with {' '.join(run.overrides)}" if run.overrides else ""
        rows_of = f", for {shared} rows" if shared > 1 else ""
        lines.append(
            f"- {run.config}{changes}, {counted(cfg.SOLVER.MAX_EPOCH, 'epoch')}{rows_of}: {_states(run, seeds, output)}"
        )
    lines += [f"- missing: {sentence}" for sentence in missing(rows, overrides)]
    lines += [f"- weights: {sentence}" for sentence in weights_to_download(configs)[0]]
    return "\n".join(lines)


def estimate(
    rows: Sequence[Row],
    seeds: Sequence[int],
    output: Path,
    overrides: Sequence[str],
    places: Sequence[Place],
    num_gpus: int = 1,
    render: bool = True,
) -> Iterator[str]:
    """Yield, line by line as steps are timed, what the runs take that are not done, or why nobody can tell.

    Args:
        rows, seeds, output, overrides, num_gpus: as for :func:`reproduce_table`.
        places: where runs are trained; the first one's is timed.
        render: make a data set of SynthReID's that is not there, as the first run would.
    """
    counts = {run: sum(not _is_done(_folder(run, seed, output)) for seed in seeds) for run in _runs(rows)}
    left = {run: count for run, count in counts.items() if count}
    made_first = [] if render else unrendered(_config(run, overrides) for run in left)
    if not left:
        yield "estimate: all runs are done"
    elif missing(rows, overrides):
        yield "no estimate: steps are timed with the data, and what the plan calls missing is not there"
    elif made_first:
        yield f"no estimate: steps are timed with the data, and the first run makes {' and '.join(made_first)}"
    else:
        yield from estimates(left, overrides, dict(places[0].environment), len(places), num_gpus)


def check_call(rows: Sequence[Row], seeds: Sequence[int], overrides: Sequence[str]) -> None:
    """Check a call before hours of training.

    Raises:
        RepeatError: seeds that no runs can have, or KEY VALUE pairs that these set themselves.
        ConfigError: a config that can't be merged, or a run that is not tested on what its rows are of.
    """
    check_seeds(seeds)
    check_overrides(overrides)
    for run in _runs(rows):
        tests = _config(run, overrides).DATASETS
        for data in _tested(run, rows):
            if data not in (*tests.TESTS, *tests.TESTS_OPTIONAL):
                raise ConfigError(f"DATASETS.TESTS lacks {data}, which the rows are of: leave it out of --opts")


def missing(rows: Sequence[Row], overrides: Sequence[str]) -> list[str]:
    """Return, a sentence each, which data sets of the runs are not there, and which weights can't be had."""
    configs = {run: _config(run, overrides) for run in _runs(rows)}
    sets = missing_sets((cfg, _tested(run, rows)) for run, cfg in configs.items())
    return [*sets, *weights_to_download(configs.values())[1]]


def reproduce_table(
    tables: PaperTables,
    table: Table,
    rows: Sequence[Row],
    seeds: Sequence[int],
    output: Path,
    overrides: Sequence[str] = (),
    num_gpus: int = 1,
    places: Sequence[Place] = (Place("here"),),
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Train what is missing, and write the comparison as Markdown, JSON and HTML.

    Rows of the table that the call leaves out are there too where an earlier one has trained them.

    Args:
        tables: of the project.
        table: one of them.
        rows: of :func:`rows_of`.
        seeds: a run of each row for each.
        output: folder; its runs are shared by all tables, and what an earlier call finished is kept.
        overrides: KEY VALUE pairs of every run.
        num_gpus: processes of each run.
        places: where runs are trained, side by side where there are several.
        say: takes a line at the start and at the end of each run that is trained side by side.

    Returns:
        the comparison; what failed is in its ``lacks``, and the other runs are in the table.

    Raises:
        RepeatError, ConfigError: a call that :func:`check_call` refuses, or data sets that are not there.
        ReproduceError: no run has results.
        FileError: a file can't be written.
    """
    check_call(rows, seeds, overrides)
    devices = {_config(run, overrides).MODEL.DEVICE for run in _runs(rows)}
    if any(place.environment for place in places) and "cpu" in devices:
        raise ConfigError("--gpus is for runs on GPUs, and MODEL.DEVICE is cpu: use --jobs")
    if absent := missing(rows, overrides):
        raise ConfigError("\n".join(absent))
    make_folder(output)
    trainings = {
        run: {
            seed: Training(run.config, seed, output / "runs" / run.folder, (*run.overrides, *overrides), num_gpus)
            for seed in seeds
        }
        for run in _runs(rows)
    }
    results, failed = train_all([one for by_seed in trainings.values() for one in by_seed.values()], places, say)
    for run, by_seed in trainings.items():
        for one in results.keys() & by_seed.values():
            if untested := [data for data in _tested(run, rows) if data not in results[one]]:
                del results[one]
                failed[one] = (
                    f"{one.output / 'results.json'} lacks {' and '.join(untested)}: delete it, and the run is evaluated"
                    " again"
                )
    if not results:
        raise ReproduceError(next(iter(failed.values())))
    summaries = {}
    for run, by_seed in trainings.items():
        done = {seed: results[one] for seed, one in by_seed.items() if one in results}
        summaries[run] = summarise(done) if done else None
    of_rows = [(row, (found := summaries[row.run]) and found[row.data]) for row in rows]
    lacking = [(row, m) for row, summary in of_rows if summary for m in table.metrics if m not in summary]
    if lacking:
        row, metric = lacking[0]
        raise ConfigError(f"the runs of {row.what} have no {metric}: see TEST in {row.run.config}")
    changed = f" with {' '.join(overrides)}" if overrides else ""
    trained = f"{counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))}){changed}"
    made = f"{trained}; the paper's figures are its own."
    title = f"{tables.written}, {table.name}: {table.what}"
    small = rows[0].data != rows[0].paper_data
    all_rows = with_kept_rows(tables, table, of_rows, SIZES[small], output, overrides)
    if kept := len(all_rows) - len(of_rows):
        made += f" {counted(kept, 'row')} of earlier calls {'is' if kept == 1 else 'are'} there with all seeds so far."
    comparison = Comparison(title, table.metrics, all_rows, made, tuple(failed.values()))
    name = f"{table.name.replace(' ', '')}{'_synthreid' if small else ''}"
    write_text(output / f"{name}.md", comparison.markdown())
    write_text(output / f"{name}.json", json.dumps(comparison.numbers(), indent=1) + "\n")
    write_text(output / f"{name}.html", comparison.page())
    return comparison


def _runs(rows: Sequence[Row]) -> list[Run]:
    return list(dict.fromkeys(row.run for row in rows))


def _tested(run: Run, rows: Sequence[Row]) -> list[str]:
    """Return the test sets of a run that rows are of."""
    return list(dict.fromkeys(row.data for row in rows if row.run == run))


def _config(run: Run, overrides: Sequence[str]) -> CfgNode:
    return _merged(run.config, (*run.overrides, *overrides))


@lru_cache(maxsize=64)
def _merged(config: str, overrides: tuple[str, ...]) -> CfgNode:
    cfg = get_cfg()
    merge_config(cfg, config_file_of(config), list(overrides))
    cfg.freeze()
    return cfg


def _folder(run: Run, seed: int, output: Path) -> Path:
    return folder_of(output / "runs" / run.folder, seed)


def _states(run: Run, seeds: Sequence[int], output: Path) -> str:
    return ", ".join(f"seed {seed} {_state(_folder(run, seed, output))}" for seed in seeds)


def _state(folder: Path) -> str:
    if _is_done(folder):
        return "is done"
    return "goes on" if (folder / "last_checkpoint").is_file() else "is to be trained"


def _is_done(folder: Path) -> bool:
    return (folder / "results.json").is_file()
