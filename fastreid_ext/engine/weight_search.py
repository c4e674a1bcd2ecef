"""Searches the weights of a test feature's parts on a validation set."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.evaluation import inference_on_dataset
from torch import Tensor, nn

from fastreid_ext.data.hold_out import HELD_OUT
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.checks.evaluation import check_evaluation
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.trained import warnings_of
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.distances import DISTANCE_METRICS
from fastreid_ext.evaluation.gathered import GatheredFeatures
from fastreid_ext.evaluation.part_weights import Search, WeightedParts, coordinate_search
from fastreid_ext.evaluation.weight_report import curve_table, draw_weight_curves, search_record, weight_table
from fastreid_ext.files import write_text
from fastreid_ext.modeling.capabilities import HasTestParts, architectures_with

ONLY_RATIOS = "Only the ratios of the weights count: twice all of them is the same feature."


def search_weights(
    cfg: CfgNode, model: nn.Module, test_set: str, grid: Sequence[float], rounds: int
) -> tuple[Search, str, list[str]]:
    """Search the weights of a model's parts on a test set.

    Args:
        cfg: the config of the model.
        model: with weighted parts, see :func:`check_parts`.
        test_set: what is searched.
        grid: weights that are tried.
        rounds: most rounds over all parts.

    Returns:
        The result, the KEY VALUE that sets the best weights, and warnings about how far to trust them.
    """
    warnings = warnings_of(cfg, test_set)
    parts, pids, camids = extract_parts(cfg, model, test_set)
    score = lambda weights: parts.metrics(weights, pids, camids)["mAP"]  # noqa: E731
    search = coordinate_search(score, model.test_weights, grid, rounds)
    if not search.converged:
        warnings.append(f"a weight still changed in the last of {search.rounds} rounds: raise --rounds")
    key, value = model.test_weights_option(search.best)
    return search, f'{key} "{value}"', warnings


def check_search(cfg: CfgNode, test_set: str, rounds: int) -> None:
    """Check what can be checked without data and model.

    Raises:
        ConfigError: no such subset, no round, or a ranking that is not by a distance of the features.
    """
    check_evaluation(cfg)
    if rounds < 1:
        raise ConfigError(f"--rounds is {rounds} and must be 1 or more")
    for name, key, example in ((VALIDATION, "VALIDATION", 100), (HELD_OUT, "HOLD_OUT", 2)):
        if test_set == name and not cfg.DATASETS[key]:
            raise ConfigError(f"{name} is a subset of the training set: add DATASETS.{key}, such as {example}")
    if cfg.TEST.METRIC not in DISTANCE_METRICS:
        raise ConfigError(f"TEST.METRIC is {cfg.TEST.METRIC!r}; the weights can be searched for {DISTANCE_METRICS}")
    for key in ("AQE", "RERANK"):
        if cfg.TEST[key].ENABLED:
            raise ConfigError(f"the weights are searched by distances alone: set TEST.{key}.ENABLED False")


def check_parts(model: nn.Module) -> None:
    """Check that the test feature of a model has parts to be weighed.

    Raises:
        ConfigError: it has none, or a single one, or the feature is more than its parts.
    """
    name = type(model).__name__
    if not isinstance(model, HasTestParts):
        others = ", ".join(architectures_with(HasTestParts))
        raise ConfigError(f"the test feature of {name} has no weighted parts to search; those that have: {others}")
    if getattr(model, "elimination", None) is not None:
        raise ConfigError(
            "MODEL.TEST_FEATURE.MOMENTUM_ELIMINATION subtracts a vector that was learnt with the present weights: set"
            f" its ENABLED False in the training of the {name} that weights are searched for"
        )
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
    split = loader.dataset.split
    query, gallery = (dict(zip(only.widths, side, strict=True)) for side in zip(*map(split, features), strict=True))
    pids, camids = (split(torch.cat(numbers).numpy()) for numbers in (gathered.pids, gathered.camids))
    return WeightedParts(query, gallery, cfg.TEST.METRIC, loader.dataset.left_out), pids, camids


def write_search(
    output: Path, cfg: CfgNode, test_set: str, search: Search, option: str, warnings: Sequence[str]
) -> None:
    """Write weights.json, weights.md and weights.png into a folder."""
    about = {"test_set": test_set, "checkpoint": cfg.MODEL.WEIGHTS, "metric": cfg.TEST.METRIC}
    write_text(output / "weights.json", search_record(search, option, warnings, about))
    lines = [
        f"`{option}` on {test_set}",
        weight_table(search),
        "mAP (%) with one weight changed, the others at their best:",
        curve_table(search),
        ONLY_RATIOS,
        *(f"Warning: {sentence}." for sentence in warnings),
    ]
    write_text(output / "weights.md", "\n\n".join(lines) + "\n")
    draw_weight_curves(search, output / "weights.png", f"{cfg.MODEL.META_ARCHITECTURE} on {test_set}")
