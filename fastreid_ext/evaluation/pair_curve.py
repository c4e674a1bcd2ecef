"""How well a score separates pairs of one person from pairs of two: exact counts over all pairs, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.ranks import NO_PAIRS, Labels, Pairs


@dataclass(frozen=True)
class PairCurve:
    """Counts at the scores where the true positive rate changes, and at some that were asked for.

    Between two such scores only the false positive rate changes, so what is best at a rate is best at one of them.

    Attributes:
        thresholds: (T,) falling; a pair is taken for one person if its score is no less.
        true: (T,) pairs of one person at or above each.
        false: (T,) pairs of two people at or above each.
        false_above: (T,) pairs of two people above each.
        positives, negatives: how many pairs of one person and of two there are.
    """

    thresholds: np.ndarray
    true: np.ndarray
    false: np.ndarray
    false_above: np.ndarray
    positives: int
    negatives: int

    @property
    def true_rate(self) -> np.ndarray:
        return self.true / self.positives

    @property
    def false_rate(self) -> np.ndarray:
        return self.false / self.negatives

    @property
    def area(self) -> float:
        """Area below the ROC curve: how often a pair of one person has the higher score; equal ones count half."""
        at = np.diff(self.true, prepend=0)
        below = self.negatives - (self.false + self.false_above) / 2
        return float((at * below).sum() / (self.positives * self.negatives))

    def at(self, threshold: float) -> dict[str, float]:
        """Return the rates at one of the thresholds; accuracy is over all pairs, balanced accuracy over both kinds.

        Raises:
            ValueError: a threshold that is not on the curve.
        """
        indices = np.flatnonzero(self.thresholds == threshold)
        if not len(indices):
            raise ValueError(f"the curve has no counts at {threshold}")
        true, false = int(self.true[indices[0]]), int(self.false[indices[0]])
        return {
            "true_positive_rate": true / self.positives,
            "false_positive_rate": false / self.negatives,
            "accuracy": (true + self.negatives - false) / (self.positives + self.negatives),
            "balanced_accuracy": (true / self.positives + 1 - false / self.negatives) / 2,
        }

    def at_changes(self) -> "PairCurve":
        """Return the counts at the scores of same-person pairs alone."""
        kept = np.diff(self.true, prepend=0) > 0
        arrays = (array[kept] for array in (self.thresholds, self.true, self.false, self.false_above))
        return PairCurve(*arrays, self.positives, self.negatives)

    def best_balanced(self) -> float:
        """Return the threshold with the highest balanced accuracy; of several the highest."""
        return float(self.thresholds[np.argmax(self.true_rate - self.false_rate)])

    def strictest(self, false_rate: float) -> tuple[float, float | None]:
        """Return the highest true positive rate with no more than a false positive rate, and its threshold.

        (0.0, None) where even the highest score of a pair of one person lets too many others in.
        """
        fit = np.flatnonzero(self.false_rate <= false_rate)
        return (float(self.true_rate[fit[-1]]), float(self.thresholds[fit[-1]])) if len(fit) else (0.0, None)


def pair_curve(
    score: Callable[[slice, slice], np.ndarray],
    pids: Labels,
    camids: Labels,
    also: Sequence[float] = (),
    block: tuple[int, int] = (512, 2048),
    left_out: Pairs = NO_PAIRS,
) -> PairCurve:
    """Count all pairs of a query and a gallery image, except those of the same identity and camera, as a ranking does.

    Scores are asked for twice, a block at a time. Only the scores of same-person pairs, which are few, are kept.

    Args:
        score: (some queries, some gallery images) -> scores of their pairs, higher for one person; the same each time.
        pids, camids: identities and cameras.
        also: further thresholds.
        block: queries and gallery images of a block.
        left_out: further pairs that do not count, see :class:`fastreid_ext.evaluation.ranks.GroundTruth`.

    Raises:
        EvaluationError: no pair of one person, or none of two; a score that is not a number.
    """
    found = [scores[same & ~out] for scores, same, out in pair_blocks(score, pids, camids, block, left_out)]
    positives = np.sort(np.concatenate(found)) if found else np.empty(0)
    if not len(positives):
        raise EvaluationError("no person is in query and gallery by two different cameras: there is nothing to verify")
    rising = np.unique(np.concatenate([positives, np.asarray(also, dtype=positives.dtype)]))
    at_or_above, above = (np.zeros(len(rising) + 1, dtype=np.int64) for _ in range(2))
    for scores, same, out in pair_blocks(score, pids, camids, block, left_out):
        others = scores[~(same | out)]
        at_or_above += np.bincount(np.searchsorted(rising, others, side="right"), minlength=len(rising) + 1)
        above += np.bincount(np.searchsorted(rising, others, side="left"), minlength=len(rising) + 1)
    negatives = int(above.sum())
    if not negatives:
        raise EvaluationError("queries and gallery show only one person: there is nothing to verify")
    # The index in `rising` of a score is the number of thresholds that it reaches.
    reach, pass_by = (np.cumsum(counts[::-1])[:-1] for counts in (at_or_above, above))
    true = len(positives) - np.searchsorted(positives, rising, side="left")
    return PairCurve(rising[::-1], true[::-1], reach, pass_by, len(positives), negatives)


def pair_blocks(
    score: Callable[[slice, slice], np.ndarray], pids: Labels, camids: Labels, block: tuple[int, int], left_out: Pairs
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (scores, pairs of one identity, pairs that do not count) of every block."""
    counts = [len(side) for side in pids]
    for first in range(0, counts[0], block[0]):
        queries = slice(first, first + block[0])
        for start in range(0, counts[1], block[1]):
            gallery = slice(start, start + block[1])
            scores = np.asarray(score(queries, gallery))
            if np.isnan(scores).any():
                raise EvaluationError("a pair has a score that is not a number: the weights are from a diverged run")
            same = pids[0][queries, None] == pids[1][None, gallery]
            out = same & (camids[0][queries, None] == camids[1][None, gallery])
            row, column = left_out[0] - first, left_out[1] - start
            inside = (row >= 0) & (row < out.shape[0]) & (column >= 0) & (column < out.shape[1])
            out[row[inside], column[inside]] = True
            yield scores, same, out
