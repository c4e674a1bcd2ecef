"""The command ``test-weights``: searches the weights of a test feature's parts on a validation set."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from fastreid.config import CfgNode
from fastreid.evaluation import inference_on_dataset
from torch import Tensor, nn

from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import DataSetError
from fastreid_ext.data.hold_out import HELD_OUT
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.checks import ConfigError, check_evaluation
from fastreid_ext.engine.files import write_text
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.main import MISTAKES, config_file_of, load_trained
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.training_parts import training_parts, training_sets
from fastreid_ext.evaluation.distances import DISTANCE_METRICS
from fastreid_ext.evaluation.gathered import GatheredFeatures
from fastreid_ext.evaluation.part_weights import Search, WeightedParts, coordinate_search, weight_grid
from fastreid_ext.evaluation.weight_report import curve_table, draw_weight_curves, search_record, weight_table

ONLY_RATIOS = "Only the ratios of the weights count: twice all of them is the same feature."


def add_weight_search_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = commands.add_parser(
        "test-weights",
        help="search the weights of a test feature's parts on a validation set (MGRe)",
        description="Extract the parts of a model's test feature once, then change one weight at a time, the others"
        f" fixed, to the one with the highest mAP. {ONLY_RATIOS}",
    )
    parser.add_argument("--config-file", required=True, help="a file, or the name of a shipped config")
    parser.add_argument("--output", type=Path, required=True, help="folder for weights.json, weights.md, weights.png")
    parser.add_argument(
        "--test-set", default=VALIDATION, help="what is searched (default: %(default)s, of DATASETS.VALIDATION)"
    )
    parser.add_argument(
        "--grid",
        nargs=3,
        type=float,
        default=[0.05, 1.0, 0.05],
        metavar=("FIRST", "LAST", "STEP"),
        help="weights that are tried (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds", type=int, default=10, help="at most; ends as soon as one changes nothing (default: %(default)s)"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="config keys; MODEL.WEIGHTS is one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the command out and return its exit status."""
    try:
        cfg = get_cfg()
        merge_config(cfg, config_file_of(args.config_file), args.opts)
        grid = weight_grid(*args.grid)
        check_search(cfg, args.test_set, args.rounds)
        args.output.mkdir(parents=True, exist_ok=True)
        model = load_trained(cfg)
        check_parts(model)
        warnings = warnings_of(cfg, args.test_set)
        for sentence in warnings:
            print(f"warning: {sentence}", file=sys.stderr)
        parts, pids, camids = extract_parts(cfg, model, args.test_set)
        score = lambda weights: parts.metrics(weights, pids, camids)["mAP"]  # noqa: E731
        search = coordinate_search(score, model.test_weights, grid, args.rounds)
        if not search.converged:
            warnings.append(f"the last of {search.rounds} rounds still changed a weight: raise --rounds")
            print(f"warning: {warnings[-1]}", file=sys.stderr)
        key, value = model.test_weights_option(search.best)
        option = f'{key} "{value}"'
        _write(args, cfg, search, option, warnings)
    except (*MISTAKES, OSError, ValueError) as error:
        print(f"fastreid-ext {args.command}: {error}", file=sys.stderr)
        return 1
    print(weight_table(search))
    print(f"{ONLY_RATIOS} Table, numbers and curves are in {args.output}. The best weights:")
    print(f"  {option}")
    return 0


def check_search(cfg: CfgNode, test_set: str, rounds: int) -> None:
    """Check what can be checked without data and model.

    Raises:
        ConfigError: no such part, no round, or a ranking that is not by a distance of the features.
    """
    check_evaluation(cfg)
    if rounds < 1:
        raise ConfigError(f"--rounds is {rounds} and must be 1 or more")
    for name, key, example in ((VALIDATION, "VALIDATION", 100), (HELD_OUT, "HOLD_OUT", 2)):
        if test_set == name and not cfg.DATASETS[key]:
            raise ConfigError(f"{name} is a part of the training set: add DATASETS.{key}, such as {example}")
    if cfg.TEST.METRIC not in DISTANCE_METRICS:
        raise ConfigError(f"TEST.METRIC is {cfg.TEST.METRIC!r}; the weights can be searched for {DISTANCE_METRICS}")
    for key in ("AQE", "RERANK"):
        if cfg.TEST[key].ENABLED:
            raise ConfigError(f"the weights are searched by distances alone: set TEST.{key}.ENABLED False")


def check_parts(model: nn.Module) -> None:
    """Check that a model has parts to be weighed: test_parts, test_weights and test_weights_option.

    Raises:
        ConfigError: it has none, or a single one.
    """
    name = type(model).__name__
    if not hasattr(model, "test_parts"):
        raise ConfigError(f"the test feature of {name} has no weighted parts, so that there is nothing to search")
    if len(model.test_weights) < 2:
        (part,) = model.test_weights
        raise ConfigError(f"the test feature of this {name} is {part} alone, whose weight changes no ranking")


class PartsOnly(nn.Module):
    """A model that gives its test feature's parts side by side, each with a weight of 1, instead of the feature.

    Attributes:
        widths: part -> D_i, once it has been called.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.widths: dict[str, int] = {}

    def forward(self, batched_inputs: Mapping[str, Any]) -> Tensor:
        images = self.model.preprocess_image(batched_inputs)
        branches = self.model.branches(images, None, **self.model.labels_of(batched_inputs))
        parts = self.model.test_parts(branches)
        self.widths = {name: part.shape[1] for name, part in parts.items()}
        return torch.cat(list(parts.values()), dim=1)


def extract_parts(
    cfg: CfgNode, model: nn.Module, test_set: str
) -> tuple[WeightedParts, tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return a test set's distances for any weights, and (of the queries, of the gallery) identities and cameras.

    Raises:
        DataSetError, ConfigError, ImageError, PoseError: as :func:`fastreid_ext.engine.loaders.eval_loader`.
    """
    loader, _ = eval_loader(cfg, test_set)
    only, gathered = PartsOnly(model), GatheredFeatures()
    inference_on_dataset(only, loader, gathered, flip_test=cfg.TEST.FLIP.ENABLED)
    features = torch.cat(gathered.features).split(list(only.widths.values()), dim=1)
    parted = loader.dataset.parted
    query, gallery = (dict(zip(only.widths, side, strict=True)) for side in zip(*map(parted, features), strict=True))
    pids, camids = (parted(torch.cat(numbers).numpy()) for numbers in (gathered.pids, gathered.camids))
    return WeightedParts(query, gallery, cfg.TEST.METRIC), pids, camids


def warnings_of(cfg: CfgNode, test_set: str, chosen: str = "weights") -> list[str]:
    """Return sentences on what settings that are chosen on this test set, with MODEL.WEIGHTS, are worth.

    Args:
        cfg: the config of the choice.
        test_set: what is chosen on.
        chosen: the settings, as a sentence calls them.
    """
    if test_set != VALIDATION:
        return [f"{chosen} that are chosen on {test_set} make results on {test_set} look better than they are"]
    path = Path(cfg.MODEL.WEIGHTS).parent / "config.yaml"
    parts = training_parts(cfg, training_sets(cfg))
    people = {item[1] for item in [*parts.query, *parts.gallery]}
    try:
        trained = _trained_with(cfg, path)
        seen = people & {item[1] for item in training_parts(trained, training_sets(trained)).train}
    except (AttributeError, ConfigError, DataSetError, KeyError, OSError, TypeError, yaml.YAMLError) as error:
        why = "there is none" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
        return [f"whether {VALIDATION} was seen in training can't be checked by {path}: {why}"]
    if not seen:
        return []
    return [
        f"{len(seen)} of the {len(people)} identities of {VALIDATION} were seen in training ({path} has"
        f" DATASETS.VALIDATION {trained.DATASETS.VALIDATION}), where every part finds them: train with"
        f" DATASETS.VALIDATION {cfg.DATASETS.VALIDATION} to choose {chosen}"
    ]


def _trained_with(cfg: CfgNode, path: Path) -> CfgNode:
    """Return cfg with the training set of the run that wrote config.yaml."""
    node = yaml.safe_load(path.read_text(encoding="utf-8"))["DATASETS"]
    trained = cfg.clone()
    trained.defrost()
    trained.DATASETS.NAMES = tuple(node["NAMES"])
    trained.DATASETS.COMBINEALL = node["COMBINEALL"]
    trained.DATASETS.VALIDATION = node.get("VALIDATION", 0)  # a run of before that key
    trained.DATASETS.HOLD_OUT = 0  # it keeps images, nobody
    return trained


def _write(args: argparse.Namespace, cfg: CfgNode, search: Search, option: str, warnings: list[str]) -> None:
    about = {"test_set": args.test_set, "checkpoint": cfg.MODEL.WEIGHTS, "metric": cfg.TEST.METRIC}
    write_text(args.output / "weights.json", search_record(search, option, warnings, about))
    lines = [
        f"`{option}` on {args.test_set}",
        weight_table(search),
        "mAP (%) with one weight changed, the others at their best:",
        curve_table(search),
        ONLY_RATIOS,
        *(f"Warning: {sentence}." for sentence in warnings),
    ]
    write_text(args.output / "weights.md", "\n\n".join(lines) + "\n")
    draw_weight_curves(search, args.output / "weights.png", f"{cfg.MODEL.META_ARCHITECTURE} on {args.test_set}")
