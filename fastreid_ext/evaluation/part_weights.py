"""Weights of a test feature's parts: distances for any weighting, and a search for the best one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.distances import DISTANCE_METRICS
from fastreid_ext.evaluation.query_metrics import query_metrics, summarise
from fastreid_ext.evaluation.ranks import NO_PAIRS, Pairs

MOST_WEIGHTS = 10_000  # of a grid


class WeightedParts:
    """Distances of features made of weighted, concatenated parts; a new weighting does not need the features again.

    Of F = [w_1 F_1, w_2 F_2, ...] a dot product is the sum of w_i^2 <q_i, g_i>, and so are the squared lengths: those
    of the parts are computed once. Parts may have any length; those of an average of two images, as of TEST.FLIP, are
    shorter than 1. All weights times the same number give the same ranking.

    Args:
        query, gallery: part -> features (Q, D_i) and (G, D_i).
        metric: "cosine" or "euclidean".
        left_out: pairs of a query and a gallery image that no ranking has.

    Raises:
        ConfigError: another metric.
    """

    def __init__(
        self,
        query: Mapping[str, Tensor],
        gallery: Mapping[str, Tensor],
        metric: str = "cosine",
        left_out: Pairs = NO_PAIRS,
    ):
        if metric not in DISTANCE_METRICS:
            raise ConfigError(f"part weights can be searched for the metrics {DISTANCE_METRICS}, not for {metric!r}")
        self.metric, self.left_out = metric, left_out
        self.dots = {part: (query[part].float() @ gallery[part].float().T).numpy() for part in query}
        self.lengths = {part: tuple(_squares(side[part]) for side in (query, gallery)) for part in query}

    def distances(self, weights: Mapping[str, float]) -> np.ndarray:
        """Return distances (Q, G) as FastReID has them: 1 - cosine, or the square of the Euclidean distance.

        Args:
            weights: of every part.
        """
        dots = sum(np.float32(weight**2) * self.dots[part] for part, weight in weights.items())
        query, gallery = (
            sum(weight**2 * self.lengths[part][side] for part, weight in weights.items()) for side in (0, 1)
        )
        if self.metric == "cosine":
            # The host's F.normalize divides by no less than 1e-12.
            query, gallery = (np.maximum(np.sqrt(squares), 1e-12) for squares in (query, gallery))
            return 1 - dots / np.outer(query, gallery).astype(np.float32)
        return np.add.outer(query, gallery).astype(np.float32) - 2 * dots

    def metrics(
        self, weights: Mapping[str, float], pids: tuple[np.ndarray, np.ndarray], camids: tuple[np.ndarray, np.ndarray]
    ) -> dict[str, float]:
        """Score the ranking of some weights, see :func:`fastreid_ext.evaluation.query_metrics.summarise`."""
        return summarise(query_metrics(self.distances(weights), pids, camids, self.left_out))


def _squares(features: Tensor) -> np.ndarray:
    return features.double().square().sum(dim=1).numpy()


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Return w_i^2 / sum of w_j^2: each part's share of the similarity, the same for all multiples of the weights."""
    total = sum(weight**2 for weight in weights.values())
    return {part: weight**2 / total for part, weight in weights.items()}


def weight_grid(first: float, last: float, step: float) -> list[float]:
    """Return first, first + step, ... up to last.

    Raises:
        ConfigError: numbers that are not positive, finite and increasing.
    """
    if not (0 < first <= last < np.inf and 0 < step < np.inf):
        raise ConfigError(f"a grid needs 0 < FIRST <= LAST and a STEP above 0, got {first:g} {last:g} {step:g}")
    count = int((last - first) / step + 1e-6) + 1
    if count > MOST_WEIGHTS:
        raise ConfigError(f"a grid of {count} weights is too fine: choose a STEP that gives {MOST_WEIGHTS} at most")
    return [round(first + step * index, 10) for index in range(count)]


@dataclass(frozen=True)
class Search:
    """The result of a search.

    Attributes:
        start, best: part -> weight.
        start_score, best_score: of them.
        curves: part -> weights tried and their scores, all other parts at ``best``.
        rounds: how many were gone through.
        converged: no weight of the grid, changed alone, is better than ``best``.
    """

    start: dict[str, float]
    best: dict[str, float]
    start_score: float
    best_score: float
    curves: dict[str, list[tuple[float, float]]]
    rounds: int
    converged: bool


def coordinate_search(
    score: Callable[[Mapping[str, float]], float], start: Mapping[str, float], grid: Sequence[float], rounds: int
) -> Search:
    """Change one weight at a time, in turn, to the best of the grid; the others stay fixed.

    A weight that nothing beats stays as it is, so that equal scores change nothing; of several that are best, the
    first of the grid is taken. The search ends with the first round that changes no weight.

    Args:
        score: of the weights of all parts; higher is better. It is asked once for the same weights.
        start: part -> weight to start from; need not be on the grid.
        grid: what each weight may become.
        rounds: 1 or more; a round changes each weight once.

    Raises:
        ValueError: fewer than two parts, of which only the ratio counts, or no round.
    """
    if len(start) < 2 or rounds < 1:
        raise ValueError(f"a search needs two parts and a round, got {len(start)} and {rounds}")
    known: dict[tuple[float, ...], float] = {}

    def ask(weights: Mapping[str, float]) -> float:
        key = tuple(weights.values())
        if key not in known:
            known[key] = score(weights)
        return known[key]

    best = dict(start)
    converged, done = False, 0
    while done < rounds and not converged:
        converged, done = True, done + 1
        for part in best:
            found = max(grid, key=lambda weight: ask(best | {part: weight}))  # noqa: B023, called at once
            if ask(best | {part: found}) > ask(best):
                best, converged = best | {part: found}, False
    tried = sorted({*grid, *best.values()})
    curves = {part: [(weight, ask(best | {part: weight})) for weight in tried] for part in best}
    return Search(dict(start), best, ask(start), ask(best), curves, done, converged)
