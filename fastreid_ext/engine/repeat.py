"""Trains configs over several seeds, continues after interruptions, and gathers the results."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastreid_ext.config import BEFORE_THE_KEY, get_cfg
from fastreid_ext.engine.checks.ranges import MOST_SEED
from fastreid_ext.engine.key_tracking import leaves
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.run_folder import HeldFolder
from fastreid_ext.engine.trained import config_file_of
from fastreid_ext.errors import FileError, UserError
from fastreid_ext.evaluation.spread import Results, draw_box_plots, format_table, summarise
from fastreid_ext.files import make_folder, write_text
from fastreid_ext.foreign_files import is_number, read_json, shown
from fastreid_ext.processes import run_command

RESULTS, SETTINGS = "results.json", "repeat.json"
TABLE_METRICS = ("Rank-1", "mAP")
# They change no number.
NO_SETTING = ("OUTPUT_DIR", *(f"DATALOADER.{key}" for key in ("CACHE_DIR", "FAST_PIXELS", "VERIFY_IMAGES")))
# Key -> the text by which a config leaves it to the run, which settles it: any other one is no other setting then.
SETTLED = {"MODEL.HEADS.NUM_CLASSES": "0", "MODEL.CHANNELS_LAST": "None"}
MOST_PERCENT, MOST = 100.0, 1e100  # of what the table shows, and of any other metric
SHOWN = 200  # characters of a setting


class RepeatError(UserError):
    """Runs that can't be started or gathered; the message says what to do."""


def repeat(
    configs: Sequence[str], seeds: Sequence[int], output: Path, overrides: Sequence[str], num_gpus: int, title: str
) -> str:
    """Train configs over several seeds, write table, numbers and box plot into a folder, and return the table.

    Args:
        configs: files, or names of shipped configs.
        seeds: each config has one run per seed.
        output: folder of all runs; what an earlier call finished there is kept.
        overrides: KEY VALUE pairs of every run.
        num_gpus: processes of each run.
        title: above the box plot.

    Raises:
        RepeatError, ConfigError: runs that can't be made or gathered.
        FileError: a file that can't be written, or another process trains in the folder of a run.
    """
    check_seeds(seeds)
    names = names_of(configs)
    check_overrides(overrides)
    for config in names.values():  # before hours of the first
        settings_of(config, overrides)
    make_folder(output)
    for name, config in names.items():  # before hours of others
        for seed in seeds:
            check_kept(config, seed, output / name, overrides)
    summaries = {}
    for name, config in names.items():
        runs = {seed: train(config, seed, output / name, overrides, num_gpus) for seed in seeds}
        summaries[name] = summarise(runs)
        write_text(output / "summary.json", json.dumps(summaries, indent=2) + "\n")
    table = format_table(summaries, TABLE_METRICS)
    write_text(output / "summary.md", table + "\n")
    draw_box_plots(summaries, output / "boxplot.png", TABLE_METRICS, title)
    return table


def check_seeds(seeds: Sequence[int]) -> None:
    """Check the seeds of several runs.

    Raises:
        RepeatError: none, one twice, or one that no run can have.
    """
    given = f"--seeds is {' '.join(map(str, seeds))} and must be different numbers"
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise RepeatError(f"{given} of 0 or more")
    if max(seeds) > MOST_SEED:
        raise RepeatError(f"{given} of at most {MOST_SEED}")


def check_overrides(overrides: Sequence[str]) -> None:
    """Check that KEY VALUE pairs of several runs leave alone what differs between these.

    Raises:
        RepeatError: they don't.
    """
    ours = {"SEED", "OUTPUT_DIR"}.intersection(overrides[::2])
    if ours:
        raise RepeatError(f"--opts has {', '.join(sorted(ours))}, which --seeds and --output set")


def names_of(configs: Sequence[str]) -> dict[str, str]:
    """Return name -> config: the file's stem, or as much of its path as is needed to be unique.

    Raises:
        RepeatError: one config twice, or an empty name.
    """
    if not all(Path(config).name for config in configs):
        raise RepeatError(f"--configs has a name that is none: {' '.join(map(repr, configs))}")
    paths = [Path(config).with_suffix("") for config in configs]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["-".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return dict(zip(names, configs, strict=True))
    raise RepeatError(f"--configs names one config twice: {' '.join(configs)}")


def train(config: str, seed: int, folder: Path, overrides: Sequence[str], num_gpus: int = 1) -> Results:
    """Train one config with one seed in a process of its own, or read what an earlier call wrote.

    Raises:
        RepeatError: the run failed, its results are of no test set, or the folder holds a run of other settings.
        ConfigError: the config and the KEY VALUE pairs can't be merged.
    """
    output = folder_of(folder, seed)
    arguments = beginning(config, seed, folder, overrides, num_gpus)
    if arguments:
        check_ended(output, run_command(arguments))
    return results_of(output, seed)


def folder_of(folder: Path, seed: int) -> Path:
    """Return the OUTPUT_DIR of a seed's run."""
    return folder / f"seed{seed}"


def beginning(config: str, seed: int, folder: Path, overrides: Sequence[str], num_gpus: int = 1) -> list[str]:
    """Return the command line that trains a config with a seed, or goes on with it; empty if that is done.

    Raises:
        RepeatError: the folder holds a run of other settings.
        ConfigError: the config and the KEY VALUE pairs can't be merged.
        FileError: another process trains in the folder.
    """
    output = folder_of(folder, seed)
    begun, now = _checked(config, seed, output, overrides)
    if (output / RESULTS).is_file():
        return []
    with HeldFolder(output):  # not while another process trains there
        write_text(output / SETTINGS, json.dumps(now, indent=1))
    resume = ["--resume"] if begun else []  # otherwise the config of a run that never began would be compared
    return ["train", *resume, "--num-gpus", str(num_gpus), "--config-file", config, *_pairs(seed, output, overrides)]


def check_kept(config: str, seed: int, folder: Path, overrides: Sequence[str]) -> None:
    """Check what an earlier call left of a run.

    Raises:
        RepeatError: it is of other settings, or its results are those of no run, or of another one.
        ConfigError: as :func:`beginning`.
    """
    output = folder_of(folder, seed)
    _checked(config, seed, output, overrides)
    if (output / RESULTS).is_file():
        results_of(output, seed)


def _checked(config: str, seed: int, output: Path, overrides: Sequence[str]) -> tuple[bool, dict[str, str]]:
    """Return whether a run was begun, and its settings; raises if it was begun with others."""
    now = settings_of(config, _pairs(seed, output, overrides))
    # Else there is nothing to mix up with.
    begun = (output / RESULTS).is_file() or (output / "last_checkpoint").is_file()
    before = _first_settings() | _settings_in(output, now) if begun else now
    changed = [
        f"{key} was {_written(before.get(key))} and is {_written(now[key])}"
        for key in now
        if before.get(key) != now[key] and SETTLED.get(key) != now[key]
    ]
    if changed:
        raise RepeatError(f"{output} holds a run of other settings ({'; '.join(changed)}): choose another --output")
    return begun, now


def _written(setting: Any) -> str:
    """Return a setting for a message; repeat.json may hold anything."""
    plain = isinstance(setting, str) and setting.isprintable() and len(setting) <= SHOWN
    return setting if plain else shown(setting)


def _pairs(seed: int, output: Path, overrides: Sequence[str]) -> list[str]:
    return ["SEED", str(seed), "OUTPUT_DIR", str(output), *overrides]


def _settings_in(output: Path, unknown: dict[str, str]) -> dict[str, str]:
    """Return the settings that the run in a folder was begun with, also by ``train``; ``unknown`` if it has none."""
    if (output / SETTINGS).is_file():
        return _read(output / SETTINGS)
    written = output / "config.yaml"
    return settings_of(str(written), ()) if written.is_file() else unknown


def _first_settings() -> dict[str, str]:
    """Return what a run from before a key had in its place."""
    return {key: repr(value) for key, value in (dict(leaves(get_cfg())) | BEFORE_THE_KEY).items()}


def check_ended(output: Path, status: int, see: str = "log.txt") -> None:
    """Check the end of a run.

    Args:
        output: its OUTPUT_DIR.
        status: of its process.
        see: the file there that says why it ended.

    Raises:
        RepeatError: it failed.
    """
    if status or not (output / RESULTS).is_file():
        raise RepeatError(
            f"the run in {output} ended with status {status} (see its {see}); run"
            " this command again to continue from there"
        )


def results_of(output: Path, seed: int) -> Results:
    """Return the results that a finished run wrote.

    Raises:
        RepeatError: they are damaged, of another seed, or of no test set.
    """
    done = output / RESULTS
    found = _read(done)
    results, of_seed = found.get("results"), found.get("seed", seed)
    if not isinstance(results, dict) or not all(isinstance(values, dict) for values in results.values()):
        raise RepeatError(f"{done} is damaged: delete it, or choose another --output")
    if of_seed != seed:
        raise RepeatError(f"{done} is of seed {shown(of_seed)}, not {seed}: delete it, or choose another --output")
    if not results or any(metric not in values for values in results.values() for metric in TABLE_METRICS):
        raise RepeatError(f"the run in {output} was not tested on a test set with {' and '.join(TABLE_METRICS)}")
    if not all(_is_metric(name, value) for values in results.values() for name, value in values.items()):
        raise RepeatError(f"{done} is damaged: delete it, or choose another --output")
    return results


def _is_metric(name: str, value: Any) -> bool:
    if not is_number(value):
        return False
    return 0 <= value <= MOST_PERCENT if name in TABLE_METRICS else abs(value) <= MOST


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except FileError as error:
        raise RepeatError(f"{error}: delete it, or choose another --output") from error
    if not isinstance(content, dict):
        raise RepeatError(f"{file} is of another version of this command: choose another --output")
    return content


def settings_of(config: str, overrides: Sequence[str]) -> dict[str, str]:
    """Return the keys of a config with KEY VALUE pairs that may change a result, as text: an edited file has others.

    Raises:
        ConfigError: they can't be merged.
    """
    cfg = get_cfg()
    merge_config(cfg, config_file_of(config), list(overrides))
    return {key: repr(value) for key, value in leaves(cfg) if key not in NO_SETTING}
