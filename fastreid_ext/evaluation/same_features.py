"""Matches that a query has because it is in the gallery itself: an image that was saved anew has the same features."""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.data.datasets.files import log_once
from fastreid_ext.evaluation.distances import lengths_of
from fastreid_ext.evaluation.ranks import GroundTruth

EQUAL = 1e-5  # of a feature's length: the rounding of another batch is less, what saving as JPEG changes is more
COLLAPSED = 1e-3  # features that differ less from their mean are those of a model that tells nobody from anybody
SAMPLE = 1000  # gallery images that tell whether a model collapsed
QUERIES, PAIRS = 256, 512  # at once


def same_features(features: tuple[Tensor, Tensor], people: GroundTruth) -> list[tuple[int, int]]:
    """Return (query, gallery image) of a match of each query that has its very features; none if a model collapsed.

    Args:
        features: (Q, D) of the queries and (G, D) of the gallery.
        people: who is who; junk and what is left out is no match.
    """
    query, gallery = features
    some = gallery[:: max(1, len(gallery) // SAMPLE)].float()
    mean = some.mean(dim=0)
    spread = torch.linalg.vector_norm(some - mean, dim=1).median()
    if not spread > COLLAPSED * torch.linalg.vector_norm(mean):
        return []
    found: dict[int, int] = {}
    for start in range(0, len(query), QUERIES):
        asked, image, junk = people.pairs(start, min(start + QUERIES, len(query)))
        asked, image = asked[~junk] + start, image[~junk]
        for first in range(0, len(asked), PAIRS):
            some, theirs = (torch.from_numpy(array[first : first + PAIRS]).to(query.device) for array in (asked, image))
            one, other = query[some].float(), gallery[theirs].float()
            equal = torch.linalg.vector_norm(one - other, dim=1) <= EQUAL * lengths_of(one)
            for index in np.flatnonzero(equal.cpu().numpy()).tolist():
                found.setdefault(int(some[index]), int(theirs[index]))
    return sorted(found.items())


def warn_of_same_features(
    name: str, features: tuple[Tensor, Tensor], people: GroundTruth, paths: tuple[Sequence[str], Sequence[str]]
) -> None:
    """Warn, once a process, if queries have such matches; ``name`` is that of the test set."""
    pairs = same_features(features, people)
    if pairs:
        query, image = pairs[0]
        log_once(
            logging.WARNING,
            f"{len(pairs)} of the {len(people.first)} queries of {name} have a match with the very same features, such"
            f" as {paths[0][query]} and {paths[1][image]}: if that is the same image saved anew, the test is too easy,"
            " so remove it from the gallery",
        )
