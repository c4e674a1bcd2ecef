"""The trained models of a figure: the user's own, or runs that the tables share with the figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.repeat import train
from fastreid_ext.engine.trained import config_file_of, load_trained
from fastreid_ext.errors import ConfigError
from fastreid_ext.reproduce import table_runs
from fastreid_ext.reproduce.paper_tables import Cell, PaperTables, Picture, Table
from fastreid_ext.reproduce.table_runs import Run, rows_of

FINAL = "model_final.pth"
SYNTHREID, OCCLUDED = "SynthReID", "SynthReIDOccluded"  # how the names of its sets begin, by the queries
Given = Mapping[str, tuple[str, str]]  # name on the picture -> (config, weights) of the user


@dataclass(frozen=True)
class FigureModel:
    """A model with what it was made of.

    Attributes:
        cfg: with MODEL.WEIGHTS.
        model: in evaluation mode.
        made: config and seed, or config and weights, in words.
    """

    cfg: CfgNode
    model: nn.Module
    made: str


def runs_of(tables: PaperTables, picture: Picture, size: str) -> dict[str, Run]:
    """Return name on the picture -> the run that gives the model.

    Raises:
        ConfigError: a model that is not there in this size.
    """
    if not picture.models:
        return {}
    small = size == "synthreid"
    other = {**picture.models, **(picture.small if small else {})}
    other = {name: config for name, config in other.items() if config.endswith(".yml")}
    own = {name: config for name, config in picture.models.items() if name not in other}
    cells = {name: {picture.data: Cell(config, tables.project, picture.data, {}, "")} for name, config in own.items()}
    runs = {}
    for name, cell in cells.items():
        (row,) = rows_of(tables, Table(picture.name, picture.what, (), {name: cell}), size=size)
        runs[name] = row.run
    for name, config in other.items():
        folder = f"{'synthreid/' if small else ''}{config.removesuffix('.yml')}"
        runs[name] = Run(config, (), folder)
    return {name: runs[name] for name in picture.models}


def tested(picture: Picture, size: str) -> str:
    """Return the test set of the runs; "" where a picture needs none."""
    return table_runs.SYNTHREID if size == "synthreid" and picture.data else picture.data


def data_of(picture: Picture, size: str) -> str:
    """Return the test set whose images are shown; "" where a picture needs none."""
    hidden = size == "synthreid" and picture.small_occluded
    return tested(picture, size).replace(SYNTHREID, OCCLUDED) if hidden else tested(picture, size)


def check_given(picture: Picture, given: Given) -> None:
    """Check that --model names models of the picture.

    Raises:
        ConfigError: it doesn't.
    """
    if unknown := [name for name in given if name not in picture.models]:
        known = f"has {', '.join(map(repr, picture.models))}" if picture.models else "needs no model"
        raise ConfigError(f"--model is {unknown[0]!r}, and {picture.name} {known}")


def config_of(run: Run, seed: int, output: Path, opts: Sequence[str]) -> CfgNode:
    """Return the config of a run with the weights that it left."""
    cfg = get_cfg()
    weights = output / "runs" / run.folder / f"seed{seed}" / FINAL
    merge_config(
        cfg, config_file_of(run.config), [*run.overrides, *opts, "SEED", str(seed), "MODEL.WEIGHTS", str(weights)]
    )
    return cfg


def given_config(config: str, weights: str) -> CfgNode:
    """Return the config of a model of the user's."""
    cfg = get_cfg()
    merge_config(cfg, config_file_of(config), ["MODEL.WEIGHTS", weights])
    return cfg


def trained_models(
    runs: Mapping[str, Run], given: Given, seed: int, output: Path, opts: Sequence[str], num_gpus: int = 1
) -> dict[str, FigureModel]:
    """Return the models of a picture, trained where a run is not done.

    Args:
        runs: name -> run.
        given: the user's, which are taken as they are.
        seed: of the runs.
        output: folder of the runs.
        opts: KEY VALUE pairs of every run.
        num_gpus: processes of a run.

    Raises:
        RepeatError: a run failed, or the folder holds a run of other settings.
        ConfigError, CheckpointError: weights that are not there or do not fit.
    """
    configs = {name: given_config(*pair) for name, pair in given.items()}  # mistakes before hours of training
    for run in dict.fromkeys(run for name, run in runs.items() if name not in given):
        train(run.config, seed, output / "runs" / run.folder, [*run.overrides, *opts], num_gpus)
    models = {}
    for name, run in runs.items():
        cfg = configs[name] if name in given else config_of(run, seed, output, opts)
        made = " ".join(given[name]) if name in given else f"{run.config}, seed {seed}{', with --opts' if opts else ''}"
        models[name] = FigureModel(cfg, load_trained(cfg).eval(), made)
    return models
