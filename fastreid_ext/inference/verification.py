"""Same person or not by the similarity of test features: measured once, then asked for any two images, by any model."""

from collections.abc import Sequence
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.evaluation import inference_on_dataset
from torch import nn

from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.test_sets import first_test_set
from fastreid_ext.engine.trained import warnings_of
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.distances import DISTANCE_METRICS
from fastreid_ext.evaluation.gathered import GatheredFeatures
from fastreid_ext.evaluation.pair_report import pairs_csv, write_report
from fastreid_ext.evaluation.pair_set import PairSet, similar_pairs, similarities
from fastreid_ext.evaluation.same_person import SAME, Answer, SamePerson
from fastreid_ext.evaluation.similarity_report import (
    calibration_text,
    same_person_tables,
    similarity_record,
    similarity_tables,
)
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.inference.fingerprints import feature_identity
from fastreid_ext.inference.same_person_file import write_same_person

NO_SET = "name a data set with --test-set, or leave people out of training with DATASETS.VALIDATION"


def pairs_of_test_set(cfg: CfgNode, model: nn.Module, test_set: str) -> PairSet:
    """Return all pairs of a test set with the similarity of their test features, with TEST.FLIP as the config says.

    Raises:
        DataSetError, ConfigError, ImageError: as :func:`fastreid_ext.engine.loaders.eval_loader`.
        EvaluationError: a feature that is not finite.
    """
    if cfg.TEST.METRIC not in DISTANCE_METRICS:
        raise ConfigError(
            f"TEST.METRIC is {cfg.TEST.METRIC!r}, and same people are measured for {' and '.join(DISTANCE_METRICS)}"
        )
    loader, _ = eval_loader(cfg, test_set)
    gathered = GatheredFeatures()
    inference_on_dataset(model, loader, gathered, flip_test=cfg.TEST.FLIP.ENABLED)
    split = loader.dataset.split
    features = split(torch.cat(gathered.features))
    pids, camids = (split(torch.cat(numbers).numpy()) for numbers in (gathered.pids, gathered.camids))
    return similar_pairs(*features, pids, camids, cfg.TEST.METRIC, loader.dataset.left_out)


# ---- measure --------------------------------------------------------------------------------------------------------


def calibrate(cfg: CfgNode, model: nn.Module, test_set: str, seed: int, path: Path) -> tuple[str, list[str]]:
    """Measure probabilities and thresholds on people, write them to a file, and return tables and warnings.

    Args:
        cfg: the model's config.
        model: of ``load_trained``, in eval mode.
        test_set: of the people; "" = those of DATASETS.VALIDATION, else the first test set.
        seed: of the two halves of the people that the methods are compared on.
        path: of the file.

    Raises:
        ConfigError: no data set is named.
        EvaluationError: too few people to measure on.
    """
    name = test_set or (VALIDATION if cfg.DATASETS.VALIDATION else first_test_set(cfg, NO_SET))
    found = measured_on(cfg, model, name, seed)
    write_same_person(path, found)
    notes = [f"note: {threshold}: {sentence}" for threshold, sentence in found.notes.items()]
    lines = [
        f"{found.people} people of {name} whom two cameras saw: {found.positives} pairs of one person,"
        f" {found.negatives} of two",
        same_person_tables(found),
        "\n".join([*notes, f"probabilities and thresholds are in {path}"]),
    ]
    return "\n\n".join(lines), list(found.warnings)


def measured_on(cfg: CfgNode, model: nn.Module, name: str, seed: int = 0) -> SamePerson:
    """Return probabilities and thresholds of a model on the people of a test set, with warnings about them.

    Raises:
        EvaluationError: too few people to measure on.
    """
    identity = feature_identity(cfg, model)
    about = {key: identity[key] for key in ("model_sha256", "config_sha256")}
    about |= {"measured_on": name, "warnings": tuple(warnings_of(cfg, name, "thresholds"))}
    return SamePerson.fit(pairs_of_test_set(cfg, model, name), cfg.TEST.METRIC, seed, **about)


# ---- some pairs -----------------------------------------------------------------------------------------------------


def file_answers(
    cfg: CfgNode, model: nn.Module, pairs: Sequence[tuple[str, str]], same_person: SamePerson, threshold: str | float
) -> list[Answer]:
    """Return an answer for each pair of image files; each image's feature is extracted once.

    Raises:
        ImageError: a file that can't be read.
        ConfigError: a threshold that was not measured.
        DivergedError: a feature that is not finite.
    """
    indices = {path: index for index, path in enumerate(dict.fromkeys(path for pair in pairs for path in pair))}
    features = Extractor.of_model(cfg, model, normalise=False).files(list(indices), as_torch=True)
    first, second = (features[[indices[pair[side]] for pair in pairs]] for side in (0, 1))
    return same_person.answers(similarities(first, second, same_person.metric), threshold)


def answer_text(found: Answer, threshold: str | float) -> str:
    """Return a sentence on one pair."""
    who = f"the {SAME}" if found.verdict == SAME else found.verdict
    return (
        f"{who}: probability {found.probability:.6f} of the same person, threshold {threshold}"
        f" (similarity {found.similarity:.6f})"
    )


def answers_table(pairs: Sequence[tuple[str, str]], answers: Sequence[Answer]) -> str:
    """Return CSV text with a row per pair: first, second, probability, same (0 or 1), similarity."""
    columns = {
        "probability": [f"{found.probability:.6f}" for found in answers],
        "same": [int(found.verdict == SAME) for found in answers],
        "similarity": [f"{found.similarity:.6f}" for found in answers],
    }
    return pairs_csv(pairs, columns)


# ---- all pairs of a test set ----------------------------------------------------------------------------------------


def report(
    cfg: CfgNode, model: nn.Module, test_set: str, same_person: SamePerson | None, output: Path
) -> tuple[str, list[str]]:
    """Measure all pairs of a test set, write verify.json, verify.md and verify.png, and return tables and warnings.

    Args:
        cfg: the model's config.
        model: of ``load_trained``, in eval mode.
        test_set: "" = the first of DATASETS.TESTS.
        same_person: whose thresholds and probabilities are measured on this set; None = those of
            DATASETS.VALIDATION or, without it, the threshold with the best balanced accuracy on this set, in which case
            the report says so.
        output: folder.
    """
    name = test_set or first_test_set(cfg, "name a data set with --test-set, or in DATASETS.TESTS")
    if same_person is None and cfg.DATASETS.VALIDATION:
        same_person = measured_on(cfg, model, VALIDATION)
    warnings = [] if same_person is None or same_person.measured_on == name else list(same_person.warnings)
    if same_person is None or same_person.measured_on == name:
        warnings.append(
            f"each threshold was chosen on the very pairs of {name} that it is measured on, which makes its rates look"
            " better than they are: measure thresholds on other people with fastreid-ext verify --calibrate"
        )
    pairs = pairs_of_test_set(cfg, model, name)
    about = {"test_set": name, "checkpoint": cfg.MODEL.WEIGHTS}
    record, curve = similarity_record(pairs, cfg.TEST.METRIC, same_person, warnings, about)
    more = [*filter(None, [calibration_text(record)])]
    lines = write_report(output, curve, record, similarity_tables(record), cfg.MODEL.META_ARCHITECTURE, more)
    return "\n\n".join(lines) + f"\ntables, numbers and curve are in {output}", warnings
