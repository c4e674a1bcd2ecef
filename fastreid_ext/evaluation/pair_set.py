"""All pairs of a query and a gallery image of some test set, and their similarity by test features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.distances import DISTANCE_METRICS, finite_lengths
from fastreid_ext.evaluation.pair_curve import PairCurve, pair_blocks, pair_curve
from fastreid_ext.evaluation.ranks import NO_PAIRS, Labels, Pairs

GRID = 1024  # scores besides those of same-person pairs at which a fit of a line knows the counts
SHORTEST = 1e-12  # a shorter feature is divided by this, as FastReID does


@dataclass(frozen=True)
class PairSet:
    """Pairs of images with a score, without those of one identity and one camera, as a ranking has them.

    Attributes:
        score: (some queries, some gallery images), slices or indices -> scores of their pairs, higher for one person.
        pids, camids: identities and cameras (of the queries, of the gallery).
        span: lowest and highest score that there can be.
        left_out: further pairs that do not count.
        block: queries and gallery images whose scores are made at once.
    """

    score: Callable[[Any, Any], np.ndarray]
    pids: Labels
    camids: Labels
    span: tuple[float, float]
    left_out: Pairs = NO_PAIRS
    block: tuple[int, int] = (512, 2048)

    def curve(self, grid: bool = False, also: tuple[float, ...] = ()) -> PairCurve:
        """Return the counts at the scores of same-person pairs, at ``also`` and, with grid, evenly over the span.

        Raises:
            EvaluationError: see :func:`fastreid_ext.evaluation.pair_curve.pair_curve`.
        """
        also = (*also, *np.linspace(*self.span, GRID)) if grid else also
        return pair_curve(self.score, self.pids, self.camids, also, self.block, self.left_out)

    def scores(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (scores of same-person pairs, scores of pairs of two people), some at a time."""
        for scores, same, out in pair_blocks(self.score, self.pids, self.camids, self.block, self.left_out):
            yield scores[same & ~out], scores[~(same | out)]

    def of(self, identities: np.ndarray) -> "PairSet":
        """Return the pairs whose two images show some of the identities."""
        queries, gallery = (np.flatnonzero(np.isin(side, identities)) for side in self.pids)
        places = [np.full(len(side), -1) for side in self.pids]
        for place, kept in zip(places, (queries, gallery), strict=True):
            place[kept] = np.arange(len(kept))
        out = places[0][self.left_out[0]], places[1][self.left_out[1]]
        both = (out[0] >= 0) & (out[1] >= 0)
        return replace(
            self,
            score=lambda some, others: self.score(queries[some], gallery[others]),
            pids=(self.pids[0][queries], self.pids[1][gallery]),
            camids=(self.camids[0][queries], self.camids[1][gallery]),
            left_out=(out[0][both], out[1][both]),
        )

    def with_matches(self) -> np.ndarray:
        """Return the identities (K,), rising, that a query and a gallery image of two cameras show."""
        seen: list[set[tuple[int, int]]] = [
            set(zip(*(side.tolist() for side in both), strict=True))
            for both in ((self.pids[0], self.camids[0]), (self.pids[1], self.camids[1]))
        ]
        cameras: dict[int, set[int]] = {}
        for pid, camid in seen[1]:
            cameras.setdefault(pid, set()).add(camid)
        return np.array(sorted({pid for pid, camid in seen[0] if cameras.get(pid, set()) - {camid}}), dtype=np.int64)


def similar_pairs(
    query: Tensor, gallery: Tensor, pids: Labels, camids: Labels, metric: str, left_out: Pairs = NO_PAIRS
) -> PairSet:
    """Return the pairs of test features with their similarity: the cosine, or minus the Euclidean distance.

    Args:
        query, gallery: (Q, D) and (G, D) of a floating type; neither is copied whole.
        pids, camids: identities and cameras (of the queries, of the gallery).
        metric: TEST.METRIC, "cosine" or "euclidean".
        left_out: pairs that do not count.

    Raises:
        EvaluationError: a feature that is not finite.
        ValueError: another metric.
    """
    if metric not in DISTANCE_METRICS:
        raise ValueError(f"expected a metric of {DISTANCE_METRICS}, got {metric!r}")
    query, gallery = query.detach(), gallery.detach()
    lengths = [finite_lengths(side, name) for side, name in ((query, "query"), (gallery, "gallery"))]
    farthest = sum(float(length.max()) if len(length) else 0.0 for length in lengths)
    span = (-1.0, 1.0) if metric == "cosine" else (-farthest, 0.0)

    def score(some: Any, others: Any) -> np.ndarray:
        first, second = query[some].double(), gallery[others].double().to(query.device)
        return all_similarities(first, second, metric).cpu().numpy()

    return PairSet(score, pids, camids, span, left_out)


def all_similarities(first: Tensor, second: Tensor, metric: str) -> Tensor:
    """Return the similarity (Q, G) of each of (Q, D) with each of (G, D), in float64."""
    first, second = first.double(), second.double()
    if metric == "cosine":
        return _unit(first) @ _unit(second).T
    squares = [side.square().sum(dim=1) for side in (first, second)]
    return -torch.addmm(squares[0][:, None] + squares[1], first, second.T, alpha=-2).clamp_min(0).sqrt()


def similarities(first: Tensor, second: Tensor, metric: str) -> np.ndarray:
    """Return the similarity (P,) of P pairs of features (P, D) and (P, D), in float64.

    Raises:
        EvaluationError: a feature that is not finite.
    """
    for side, name in ((first, "first"), (second, "second")):
        finite_lengths(side, name)
    first, second = first.double(), second.double()
    found = (_unit(first) * _unit(second)).sum(1) if metric == "cosine" else -(first - second).norm(dim=1)
    return found.cpu().numpy()


def similarity_of_distance(distance: np.ndarray, metric: str) -> np.ndarray:
    """Return the similarity that has a distance of the evaluation: 1 - cosine, or the squared Euclidean one."""
    distance = np.asarray(distance, dtype=np.float64)
    return 1 - distance if metric == "cosine" else -np.sqrt(np.maximum(distance, 0))


def _unit(features: Tensor) -> Tensor:
    return features / features.norm(dim=1, keepdim=True).clamp_min(SHORTEST)


def halves_of(identities: np.ndarray, matched: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split identities at random in two disjoint halves, those with matches and the others evenly.

    Args:
        identities: (K,) all of them.
        matched: those that have same-person pairs.
        seed: another one, other halves.

    Raises:
        EvaluationError: fewer than four identities have matches, so a half would have no pairs of one of the kinds.
    """
    if len(matched) < 4:
        raise EvaluationError(
            f"{len(matched)} people are in query and gallery by two different cameras, and a probability needs four or"
            " more: it is fitted on half of them and measured on the others"
        )
    rng = np.random.default_rng(seed)
    parts = [rng.permutation(group) for group in (matched, np.setdiff1d(identities, matched))]
    return tuple(np.concatenate([part[side::2] for part in parts]) for side in (0, 1))
