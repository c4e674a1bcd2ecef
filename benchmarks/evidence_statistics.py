"""How far two methods are apart: a paired bootstrap over queries and seeds."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DRAWS = 10_000
LEVEL = 0.95
SEED = 0


@dataclass(frozen=True)
class Scores:
    """Average precisions of one method.

    Attributes:
        clean: (S, Q) of S seeds and Q queries, from 0 to 1.
        erased: (S, Q) of the same queries, with images of the test set erased; None where that was not tested.
    """

    clean: np.ndarray
    erased: np.ndarray | None = None


@dataclass(frozen=True)
class Difference:
    """By how many percentage points one method is ahead: measured, and the ends of its interval."""

    value: float
    low: float
    high: float
    seeds: int
    queries: int

    @property
    def verdict(self) -> str:
        """Whether a claim that it is above 0 was seen. Of one seed nothing is known about the spread of seeds."""
        if self.seeds < 2 or self.low <= 0 < self.high:
            return "undecided at this size"
        return "seen" if self.low > 0 else "not seen"


def difference(ahead: Scores, of: Scores, kept: bool = False, draws: int = DRAWS, seed: int = SEED) -> Difference:
    """Compare two methods whose runs have the same seeds and the same queries.

    Each draw takes as many queries and as many seeds, with replacement, and the same ones for both methods. The
    interval has the middle 95 % of the draws.

    Args:
        ahead, of: two methods.
        kept: compare which share of its mAP each keeps under erasing, mAP(erased) / mAP(clean), instead of mAP.
        draws: of the bootstrap.
        seed: of its random numbers.

    Raises:
        ValueError: scores of other shapes, or none of erased images where ``kept`` needs them.
    """
    if ahead.clean.shape != of.clean.shape or ahead.clean.ndim != 2 or not ahead.clean.size:
        raise ValueError(f"scores (S, Q) of shapes {ahead.clean.shape} and {of.clean.shape} are not paired")
    seeds, queries = ahead.clean.shape
    of_queries, of_seeds = _weights(queries, draws, seed), _weights(seeds, draws, seed + 1)
    even = np.full((1, queries), 1 / queries), np.full((1, seeds), 1 / seeds)

    def apart(of_queries: np.ndarray, of_seeds: np.ndarray) -> np.ndarray:
        return _measure(ahead, of_queries, of_seeds, kept) - _measure(of, of_queries, of_seeds, kept)

    drawn = apart(of_queries, of_seeds)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(float(apart(*even)[0]), float(low), float(high), seeds, queries)


@lru_cache(maxsize=8)
def _weights(count: int, draws: int, seed: int) -> np.ndarray:
    """Return the shares (draws, count) that each of ``count`` things has in a sample with replacement."""
    return np.random.RandomState(seed).multinomial(count, np.full(count, 1 / count), size=draws) / count


def _measure(scores: Scores, of_queries: np.ndarray, of_seeds: np.ndarray, kept: bool) -> np.ndarray:
    """Return mAP in percent, or the share of it that is kept, of each draw (draws,)."""

    def mean(values: np.ndarray) -> np.ndarray:
        return ((of_queries @ values.T) * of_seeds).sum(axis=1)

    if not kept:
        return 100 * mean(scores.clean)
    if scores.erased is None or scores.erased.shape != scores.clean.shape:
        raise ValueError("the share that is kept needs scores of the same queries with erased images")
    return 100 * mean(scores.erased) / mean(scores.clean)
