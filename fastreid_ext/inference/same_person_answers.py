"""Same person or not for the features of an extractor, by what was measured for its model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.neighbours import nearest
from fastreid_ext.evaluation.pair_set import similarities
from fastreid_ext.evaluation.same_person import SAME, UNKNOWN, Answer, SamePerson, SamePersonError
from fastreid_ext.inference.inputs import has_plain_numbers
from fastreid_ext.inference.record import ModelRecord
from fastreid_ext.inference.same_person_file import NAME, differences, measured_beside, same_person_for

COMMAND = "fastreid-ext verify --calibrate with its config and weights"


def same_person_of(record: ModelRecord, weights: Path | None) -> SamePerson:
    """Return what was measured for a model: it stands in the file beside its weights, or in the model's own.

    Args:
        record: of the model.
        weights: the file that it was loaded from; None = unknown.

    Raises:
        SamePersonError: nothing was measured, or what was is damaged or of another model.
    """
    if weights is not None and (beside := measured_beside(weights, record.identity)[0]):
        return beside
    if record.same_person is not None:
        file = weights or "the model's record"
        found = SamePerson.from_dict(record.same_person, file)
        if different := differences(found, record.identity):
            raise SamePersonError(f"the thresholds in {file} are of {different} than its model: export it again")
        return found
    if weights is None:
        raise SamePersonError(f"this model has no file that a {NAME} could lie beside: measure it with {COMMAND}")
    return same_person_for(record.identity, weights.parent / NAME, COMMAND)


def check_same_features(same_person: SamePerson, *, flip: bool, whole: bool, normalise: bool) -> None:
    """Check that an extractor's features are made like those that were measured.

    Args:
        same_person: what was measured.
        flip: whether mirrored images count as in the config.
        whole: whether the features have all their numbers.
        normalise: whether they are divided by their length, which changes Euclidean distances.

    Raises:
        SamePersonError: they are not.
    """
    other = "dim=" if not whole else "flip=" if not flip else ""
    if not other and normalise and same_person.metric == "euclidean":
        other = "normalise=True"
    if other:
        fix = "make it with normalise=False" if other == "normalise=True" else "make one without it for these answers"
        raise SamePersonError(f"same people were measured on other features than this extractor's with {other}: {fix}")


def rows_of(features: Any, name: str, dim: int) -> Tensor:
    """Return features (N, D), (D,) of one, or an empty list as a dense tensor of floats (N, D).

    Args:
        features: an array, a tensor or a list.
        name: of them, for messages.
        dim: D of the model.

    Raises:
        SamePersonError: they are not features, or not of this model.
    """
    if not isinstance(features, Tensor):
        found = torch.from_numpy(_array_of(features, name))
    elif not has_plain_numbers(features) or features.is_complex() or features.dtype is torch.bool:
        kind = f"{features.dtype}, {features.layout}, {features.device}"
        raise SamePersonError(f"{name} is a tensor ({kind}) and must be features (N, D)")
    else:
        found = features.detach()
    if found.shape == (0,):
        return torch.zeros(0, dim)
    if found.ndim not in (1, 2) or found.shape[-1] != dim:
        raise SamePersonError(f"{name} is {tuple(found.shape)} and must be features (N, {dim}) of this model")
    return torch.atleast_2d(found if found.dtype is torch.float64 else found.float())


def _array_of(features: Any, name: str) -> np.ndarray:
    """Return an array, or a list of rows, as float32 or float64 in the byte order and layout that torch takes."""
    try:
        found = np.asarray(features)
    except (RuntimeError, TypeError, ValueError) as error:  # rows of several lengths; a list of tensors on a GPU
        raise SamePersonError(f"{name} is {type(features).__name__} and must be features (N, D)") from error
    if found.dtype.kind not in "fiu":
        kind = f"an array of {found.dtype}" if isinstance(features, np.ndarray) else type(features).__name__
        raise SamePersonError(f"{name} is {kind} and must be features (N, D)")
    return np.asarray(found, dtype=np.float64 if found.dtype.itemsize > 4 else np.float32, order="C")


def pair_answers(first: Any, second: Any, dim: int, same_person: SamePerson, threshold: str | float) -> list[Answer]:
    """Return an answer for each pair of features (P, D) and (P, D), or (D,) for one.

    Args:
        first, second: of each side.
        dim: D of the model.
        same_person: what was measured for the model.
        threshold: as of :meth:`fastreid_ext.evaluation.same_person.SamePerson.are_same`.

    Raises:
        SamePersonError: they are not features of the model, or not as many on both sides.
        EvaluationError: a feature that is not finite.
        ConfigError: a threshold that was not measured.
    """
    sides = [rows_of(side, name, dim) for side, name in ((first, "first"), (second, "second"))]
    if len(sides[0]) != len(sides[1]):
        counts = " and ".join(str(len(side)) for side in sides)
        raise SamePersonError(f"there must be as many features on both sides, and there are {counts}")
    return same_person.answers(similarities(*(side.cpu() for side in sides), same_person.metric), threshold)


def identified(
    queries: Any, gallery: Any, dim: int, same_person: SamePerson, threshold: str | float
) -> list[tuple[int, Answer]]:
    """Return for each query the nearest of a gallery's features, and whether it is that person or an unknown one.

    Args:
        queries, gallery: (Q, D) and (G, D), G > 0; (D,) for one.
        dim: D of the model.
        same_person: what was measured for the model.
        threshold: as of :meth:`fastreid_ext.evaluation.same_person.SamePerson.are_same`.

    Raises:
        SamePersonError: they are not features of the model.
        EvaluationError: a gallery without features, or a feature that is not finite.
        ConfigError: a threshold that was not measured.
    """
    named = ((queries, "queries"), (gallery, "gallery"))
    queries, gallery = (rows_of(side, name, dim).float() for side, name in named)
    if not len(gallery):
        raise EvaluationError("the gallery has no features, so every person is unknown")
    _, indices = nearest(queries, gallery, 1, same_person.metric)
    found = pair_answers(queries, gallery[indices[:, 0]], dim, same_person, threshold)
    verdicts = [one if one.verdict == SAME else replace(one, verdict=UNKNOWN) for one in found]
    return list(zip(indices[:, 0].tolist(), verdicts, strict=True))
