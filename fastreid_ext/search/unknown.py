"""Queries whose person is not in the gallery: told by what was measured for the model that made the features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.data.labels import UNKNOWN as NO_LABEL
from fastreid_ext.evaluation.pair_set import similarity_of_distance
from fastreid_ext.evaluation.same_person import DIFFERENT, SAME, UNKNOWN, SamePerson
from fastreid_ext.inference.fingerprints import feature_identity
from fastreid_ext.inference.same_person_file import NAME, same_person_for, same_person_path
from fastreid_ext.search.features import FeatureStore
from fastreid_ext.search.nearest import Labels, Neighbours

COMMAND = "fastreid-ext verify --calibrate with the gallery's config and weights, then name its file with --same-person"


def same_person_of_store(store: FeatureStore, file: Path | None, weights: str = "") -> SamePerson:
    """Return what was measured for the model of a store.

    Args:
        store: the gallery.
        file: what the user names; None = the one in the store, or else the one beside the weights
            or in their file.
        weights: MODEL.WEIGHTS of the queries' model, if there is one.

    Raises:
        SamePersonError: nothing was measured, or what was is damaged or of other features.
    """
    inside, beside = store.folder / NAME, Path(weights).parent / NAME
    path = file or (beside if weights and beside.is_file() and not inside.is_file() else inside)
    return same_person_for(dict(store.meta), path, COMMAND, Path(weights) if weights and file is None else None)


def same_person_of_model(cfg: CfgNode, model: nn.Module, file: Path | None) -> SamePerson:
    """Return what was measured for a model, before it makes the features of a gallery.

    Args:
        cfg, model: of the features; the model is in eval mode.
        file: what the user names; None = the one beside the weights or in their file.

    Raises:
        SamePersonError: as :func:`same_person_of_store`.
    """
    weights = Path(cfg.MODEL.WEIGHTS) if file is None else None
    return same_person_for(feature_identity(cfg, model), file or same_person_path(cfg), COMMAND, weights)


@dataclass(frozen=True)
class Verdicts:
    """What a threshold says about the neighbours of Q queries.

    Attributes:
        threshold: its name, or a probability.
        probability: (Q, k) that query and neighbour show one person; NaN where no image is left.
        same: (Q, k) bool: at the threshold or above.
        rate: false positive rate of pairs at the threshold; None = not measured.
    """

    threshold: str
    probability: np.ndarray
    same: np.ndarray
    rate: float | None

    @property
    def unknown(self) -> np.ndarray:
        """(Q,) bool: the query shows nobody of the gallery."""
        return ~self.same.any(axis=1)

    def of_query(self, query: int) -> dict[str, str | float | None]:
        """Return a query's verdict, and the probability of its nearest image, for a JSON record."""
        p = self.probability[query, 0]
        return {
            "verdict": UNKNOWN if self.unknown[query] else SAME,
            "probability": None if np.isnan(p) else float(p),
        }

    def of_match(self, query: int, place: int) -> dict[str, str | float]:
        """Return the verdict on one neighbour, counted from 0."""
        return {
            "probability": float(self.probability[query, place]),
            "verdict": SAME if self.same[query, place] else DIFFERENT,
        }


def verdicts_on(found: Neighbours, same_person: SamePerson, threshold: str) -> Verdicts:
    """Return what a threshold says about neighbours.

    Raises:
        ConfigError: a threshold that was not measured.
    """
    there = found.indices >= 0
    similarity = similarity_of_distance(found.distances[there], same_person.metric)
    probability, same = np.full(there.shape, np.nan), np.zeros(there.shape, dtype=bool)
    probability[there] = same_person.probability(similarity)
    same[there] = same_person.are_same(similarity, threshold)
    rate = same_person.rates.get(threshold, {}).get("false_positive_rate")
    return Verdicts(threshold, probability, same, rate)


def unknown_lines(
    verdicts: Verdicts, queries: Labels, gallery: Labels, right: Sequence[Sequence[bool | None]], there: Sequence[int]
) -> list[str]:
    """Return sentences: how many queries show nobody of the gallery, how often that is right, and how far it holds.

    Args:
        verdicts: on the neighbours.
        queries, gallery: path, person, camera of each image.
        right: of each query, whether its neighbours show its person; None = not known.
        there: the queries whose person is known to have an image left in the gallery.
    """
    unknown = verdicts.unknown
    lines = [
        f"{int(unknown.sum())} of {len(unknown)} queries show an {UNKNOWN}: no gallery image reaches the threshold"
        f" {verdicts.threshold}"
    ]
    labelled = [n for n, (_, person, _) in enumerate(queries) if person != NO_LABEL]
    if labelled and all(person != NO_LABEL for _, person, _ in gallery):
        strangers = sorted(set(labelled) - set(there))
        told, found = int(unknown[strangers].sum()), sum(not unknown[n] and right[n][:1] == [True] for n in there)
        lines.append(
            f"by the labels: {told} of {len(strangers)} queries of strangers are told to be unknown, and {found} of"
            f" {len(there)} of people in the gallery are found, by their nearest image"
        )
    if verdicts.rate is not None:
        taken = 1 - (1 - verdicts.rate) ** len(gallery)
        lines.append(
            f"note: a threshold is for one pair, and a stranger is compared with {len(gallery)} images: at a false"
            f" positive rate of {verdicts.rate:.2g}, {100 * taken:.1f} % of strangers would be taken for somebody if"
            " all pairs were independent"
        )
    return lines
