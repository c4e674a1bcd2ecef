"""Verification: whether two images show the same person, and how reliable the answer is."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.evaluation import inference_on_dataset
from torch import Tensor, nn

from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.test_sets import first_test_set
from fastreid_ext.engine.trained import warnings_of
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.gathered import GatheredFeatures
from fastreid_ext.evaluation.pair_curve import PairCurve, pair_curve
from fastreid_ext.evaluation.pair_report import (
    UNDECIDED,
    pair_record,
    pair_table,
    pairs_csv,
    probability,
    write_report,
)
from fastreid_ext.files import read_text
from fastreid_ext.foreign_files import csv_rows
from fastreid_ext.modeling.capabilities import VerifiesPairs, architectures_with

PAIRS_AT_ONCE = 4096


def pairs_of(file: Path | None, images: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of image files to compare.

    Raises:
        ConfigError: a file without pairs, or with a line that is not a pair.
        FileError: it can't be read.
    """
    if file is None:
        return [(images[0], images[1])]
    rows = [(line, [cell.strip() for cell in row]) for line, row in csv_rows(read_text(file), file, spaces=False)]
    for number, row in rows:
        if len(row) != 2 or not all(row):
            raise ConfigError(f"line {number} of {file} is not a pair: expected two image files, separated by a comma")
    if not rows:
        raise ConfigError(f"{file} holds no pair")
    return [(first, second) for _, (first, second) in rows]


def has_head(model: nn.Module) -> bool:
    """Whether a model learned to compare two test features, and has not been built without it."""
    if not isinstance(model, VerifiesPairs):
        return False
    try:
        model.pair_verification()
    except ConfigError:
        return False
    return True


def check_verifies(model: nn.Module) -> None:
    """Check that a model compares two test features.

    Raises:
        ConfigError: it has none; a model that was trained without the task says so itself.
    """
    if not isinstance(model, VerifiesPairs):
        others = ", ".join(architectures_with(VerifiesPairs))
        raise ConfigError(
            f"{type(model).__name__} was not taught to compare two images, as {others} was: leave --by head out, and"
            " the similarity of test features answers"
        )
    model.pair_verification()


# ---- some pairs -----------------------------------------------------------------------------------------------------


def answer(same: float, threshold: float) -> str:
    """Return a sentence on one pair, from the probability that it shows one person."""
    who = "the same person" if same >= threshold else "different people"
    return f"{who}: probability {same:.6f} of the same person, threshold {threshold:g}"


def answers_csv(pairs: Sequence[tuple[str, str]], same: Sequence[float], threshold: float) -> str:
    """Return CSV text with a row per pair: first, second, probability, same (0 or 1)."""
    return pairs_csv(pairs, {"probability": [f"{p:.6f}" for p in same], "same": [int(p >= threshold) for p in same]})


@torch.no_grad()
def same_probabilities(
    model: nn.Module, pairs: Sequence[tuple[str, str]], features_of: Callable[[list[str]], Tensor]
) -> list[float]:
    """Return the probability that each pair of image files shows one person; each image's feature is extracted once.

    In float64, as in the report: near 0 and 1 float32 is too coarse.

    Args:
        model: compares two features.
        pairs: of files.
        features_of: files -> features (N, D).

    Raises:
        ConfigError: a probability that is not a number; what ``features_of`` raises, too.
    """
    indices = {path: index for index, path in enumerate(dict.fromkeys(path for pair in pairs for path in pair))}
    features = features_of(list(indices)).double()
    first, second = (torch.tensor([indices[pair[side]] for pair in pairs]) for side in (0, 1))
    head, found = model.pair_verification(), []
    for a, b in zip(first.split(PAIRS_AT_ONCE), second.split(PAIRS_AT_ONCE), strict=True):
        found += head.probability(features[a], features[b]).tolist()
    if any(math.isnan(p) for p in found):
        raise ConfigError("a pair has a probability that is not a number: the weights are from a diverged run")
    return found


# ---- all pairs of a test set ----------------------------------------------------------------------------------------


def report(cfg: CfgNode, model: nn.Module, test_set: str, output: Path) -> tuple[str, list[str]]:
    """Measure all pairs of a test set, write verify.json, verify.md and verify.png, and return tables and warnings.

    The threshold with the highest balanced accuracy is chosen on the identities of DATASETS.VALIDATION, else on the
    test set itself, in which case the report says so.
    """
    name = test_set or first_test_set(cfg, "name a data set with --test-set, or in DATASETS.TESTS")
    chosen_on = VALIDATION if cfg.DATASETS.VALIDATION else name
    warnings = warnings_of(cfg, VALIDATION, "a threshold") if chosen_on == VALIDATION else []
    if chosen_on == name:
        warnings.append(
            f"the threshold was chosen on the very pairs of {name} that it is measured on, which makes the rates at it"
            " look better than they are; a model that was trained with DATASETS.VALIDATION can have it from there"
        )
    threshold = None
    if chosen_on != name:
        threshold = curve_of(cfg, model, chosen_on).best_balanced()
    curve = curve_of(cfg, model, name, also=[UNDECIDED] + ([] if threshold is None else [threshold]))
    threshold = curve.best_balanced() if threshold is None else threshold
    if probability(threshold) in (0.0, 1.0):
        warnings.append(
            f"the chosen threshold, log odds of {threshold:.1f}, is a probability of {probability(threshold):g} to the"
            " last digit: --threshold does not tell it from others as sure, and verify answers otherwise than the rates"
            " say"
        )
    about = {"test_set": name, "checkpoint": cfg.MODEL.WEIGHTS}
    record = pair_record(curve, threshold, chosen_on, warnings, about)
    lines = write_report(output, curve, record, pair_table(record), cfg.MODEL.META_ARCHITECTURE)
    chosen = record["threshold"]["probability"]  # all its digits: those near 1 count
    lines.append(f"to answer by the chosen threshold: --threshold {chosen!r}")
    return "\n\n".join(lines) + f"\ntables, numbers and curve are in {output}", warnings


def curve_of(cfg: CfgNode, model: nn.Module, test_set: str, also: Sequence[float] = ()) -> PairCurve:
    """Return the counts of all pairs of a test set by their log odds.

    Raises:
        DataSetError, ConfigError, ImageError: as :func:`fastreid_ext.engine.loaders.eval_loader`.
    """
    loader, _ = eval_loader(cfg, test_set)
    gathered = GatheredFeatures()
    inference_on_dataset(model, loader, gathered)
    split = loader.dataset.split
    queries, gallery = split(torch.cat(gathered.features))
    pids, camids = (split(torch.cat(numbers).numpy()) for numbers in (gathered.pids, gathered.camids))
    head = model.pair_verification()

    def score(some: slice, others: slice) -> np.ndarray:
        scores: Tensor = head.log_odds(queries[some], gallery[others])
        return scores.numpy()

    return pair_curve(score, pids, camids, also, left_out=loader.dataset.left_out)
