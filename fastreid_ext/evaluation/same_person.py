"""Whether two images show the same person: a calibrated probability, and thresholds with a known error rate."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from fastreid_ext.errors import ConfigError, EvaluationError, UserError
from fastreid_ext.evaluation.calibration import EVEN, FITS, Calibration, measure, probability_of
from fastreid_ext.evaluation.pair_set import PairSet, halves_of
from fastreid_ext.evaluation.pair_thresholds import BALANCED, NAMES, read_threshold, thresholds_of
from fastreid_ext.evaluation.same_person_fields import read_calibration, wrong_field
from fastreid_ext.foreign_files import shown

FORMAT = "fastreid-ext same person 1"
SAME, DIFFERENT, UNKNOWN = "same person", "different people", "unknown person"


class SamePersonError(UserError):
    """A file of thresholds that is damaged, or of something else."""


@dataclass(frozen=True)
class Answer:
    """Whether two images show one person.

    Attributes:
        verdict: SAME or DIFFERENT; UNKNOWN for a query without anybody in a gallery.
        probability: that they show one person.
        similarity: the cosine, or minus the Euclidean distance.
    """

    verdict: str
    probability: float
    similarity: float


@dataclass(frozen=True)
class SamePerson:
    """What a similarity tells about two images, measured on people that the model was not trained on.

    A similarity is the cosine of two test features, or minus their Euclidean distance, as TEST.METRIC says.

    Attributes:
        metric: "cosine" or "euclidean".
        calibration: similarity -> log odds of the same person at even prior odds.
        thresholds: of NAMES -> lowest similarity of "same person"; None where the pairs can't tell.
        rates: of NAMES -> true and false positive rate at those thresholds that there are, on the same pairs.
        notes: of NAMES -> why it is None, or how far it can be trusted.
        positives, negatives: pairs of one person and of two that were measured.
        people: whom a query and a gallery image by another camera show.
        held_out: method -> what :func:`fastreid_ext.evaluation.calibration.measure` gave for people that its fit had
            not seen.
        seed: of the two halves of the people, for held_out.
        measured_on: name of the test set.
        warnings: why the numbers may look better than they are.
        model_sha256, config_sha256: whose features these are, see :mod:`fastreid_ext.inference.fingerprints`.
        prior: share of same-person pairs among all pairs that :meth:`probability` answers for.
    """

    metric: str
    calibration: Calibration
    thresholds: Mapping[str, float | None]
    rates: Mapping[str, Mapping[str, float]]
    notes: Mapping[str, str]
    positives: int
    negatives: int
    people: int
    held_out: Mapping[str, Mapping[str, float]]
    seed: int = 0
    measured_on: str = ""
    warnings: tuple[str, ...] = ()
    model_sha256: str = ""
    config_sha256: str = ""
    prior: float = field(default=EVEN)

    @classmethod
    def fit(cls, pairs: PairSet, metric: str, seed: int = 0, **about: Any) -> "SamePerson":
        """Choose between isotonic regression and Platt's line by the log loss on held-out people, and fit it to all.

        The people are split in two halves; each method is fitted on one half and measured on the other, and the other
        way round. Thresholds come from the exact counts over all pairs.

        Args:
            pairs: of a similarity, on people that the model has not seen.
            metric: of the similarity.
            seed: of the halves.
            about: measured_on, warnings, model_sha256 and config_sha256.

        Raises:
            EvaluationError: too few people; no pair of one of the kinds; a score that is not a number.
        """
        matched = pairs.with_matches()
        halves = [pairs.of(part) for part in halves_of(np.unique(np.concatenate(pairs.pids)), matched, seed)]
        held_out = _held_out(halves)
        method = min(held_out, key=lambda name: held_out[name]["log_loss"])  # the first of equals: isotonic
        curve = pairs.curve(grid=True)
        thresholds, rates, notes = thresholds_of(curve)
        counts = {"positives": curve.positives, "negatives": curve.negatives, "people": len(matched)}
        return cls(
            metric, FITS[method](curve), thresholds, rates, notes, held_out=held_out, seed=seed, **counts, **about
        )

    def probability(self, similarity: np.ndarray) -> np.ndarray:
        """Return the probability that two images with a similarity show one person, in (0, 1), of any shape.

        It holds where a share of :attr:`prior` of all pairs shows one person.

        Raises:
            EvaluationError: a similarity that is not finite.
        """
        return probability_of(self.calibration(_finite(similarity)), self.prior)

    def with_prior(self, prior: float) -> "SamePerson":
        """Return the same with probabilities for another share of same-person pairs.

        Raises:
            ConfigError: it is not between 0 and 1.
        """
        if not 0 < prior < 1:
            raise ConfigError(f"the prior is {prior} and must be a share between 0 and 1, without 0 and 1")
        return replace(self, prior=float(prior))

    def are_same(self, similarity: np.ndarray, threshold: str | float = BALANCED) -> np.ndarray:
        """Return whether pairs with a similarity are taken to show one person, of any shape.

        Args:
            similarity: of pairs.
            threshold: one of NAMES, or the lowest probability of "same person".

        Raises:
            ConfigError: no such threshold, or one that was not measured.
            EvaluationError: a similarity that is not finite.
        """
        wanted = read_threshold(threshold)
        if isinstance(wanted, float):
            return self.probability(similarity) >= wanted
        lowest = self.thresholds.get(wanted)
        if lowest is None:
            known = [name for name in NAMES if self.thresholds.get(name) is not None]
            others = f"use {' or '.join([*known, 'a probability'])}"
            raise ConfigError(
                f"there is no threshold {wanted}: {self.notes.get(wanted, 'it was not measured')}; {others}"
            )
        return _finite(similarity) >= lowest

    def answers(self, similarity: np.ndarray, threshold: str | float = BALANCED) -> list[Answer]:
        """Return an answer for each similarity (P,); raises as :meth:`are_same`."""
        same, p = self.are_same(similarity, threshold), self.probability(similarity)
        rows = zip(same.tolist(), p.tolist(), np.asarray(similarity, dtype=np.float64).tolist(), strict=True)
        return [Answer(SAME if one else DIFFERENT, probable, alike) for one, probable, alike in rows]

    # ---- as JSON ----------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; :meth:`from_dict` reads it."""
        calibration = {"method": self.calibration.name, **asdict(self.calibration)}
        return {"format": FORMAT, **asdict(self), "calibration": calibration, "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, data: Any, file: object) -> "SamePerson":
        """Read what :meth:`to_dict` gave.

        Args:
            data: of a JSON file that may be of anybody.
            file: its name, for messages.

        Raises:
            SamePersonError: it is something else, or holds values that can't be.
        """
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else data
            raise SamePersonError(f"{file} says {shown(found)} of same people, this version reads {FORMAT!r}")
        known = cls.__dataclass_fields__
        if absent := sorted(set(known) - set(data)):
            raise SamePersonError(
                f"{file} lacks {', '.join(absent)}: measure again with fastreid-ext verify --calibrate"
            )
        if wrong := wrong_field(data):
            raise SamePersonError(
                f"{file} has the {wrong} {shown(data[wrong])}, which can't be: measure again with fastreid-ext verify"
                " --calibrate"
            )
        values = {name: data[name] for name in known}
        values |= {"calibration": read_calibration(data["calibration"]), "warnings": tuple(data["warnings"])}
        return cls(**values)


def _finite(similarity: Any) -> np.ndarray:
    values = np.asarray(similarity, dtype=np.float64)
    if not np.isfinite(values).all():
        raise EvaluationError("a similarity is not a finite number: the weights are from a diverged run")
    return values


def _held_out(halves: list[PairSet]) -> dict[str, dict[str, float]]:
    """Return method -> the mean of what it measures on each half when it is fitted on the other."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in FITS}
    for fitted, measured in (halves, halves[::-1]):
        curve = fitted.curve(grid=True)
        for name, fit in FITS.items():
            found[name].append(measure(measured, fit(curve)))
    return {name: {key: (one[key] + two[key]) / 2 for key in one} for name, (one, two) in found.items()}
