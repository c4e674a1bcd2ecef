"""True positive rates at low false positive rates, as FastReID and scikit-learn count them, in bounded memory."""

from collections.abc import Callable, Iterable, Sequence
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.blocks import look_at_sorted_rows, row_blocks, sorted_chunks
from fastreid_ext.evaluation.distances import Rows
from fastreid_ext.evaluation.ranks import GroundTruth, values_at

FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)
ORIGIN = -1  # index of the point (0, 0), before that of the farthest match
AROUND = 32  # distances of matches on either side of a rate that are looked at first


Counts = tuple[np.ndarray, np.ndarray]


def true_positive_rates(
    matches: np.ndarray,
    others: int,
    count: Callable[[np.ndarray], Counts],
    rates: Sequence[float] = FALSE_POSITIVE_RATES,
) -> dict[str, float]:
    """Return the true positive rate at the false positive rate that is nearest to each of some, as for TEST.ROC.

    FastReID's "positive" pairs are those of two identities, and their score is the distance: a false positive is a
    match at or beyond the threshold. The false positive rate changes only at the distances of matches. So
    what is needed of the many other pairs is how many are as far as a few of these distances.

    Args:
        matches: (M,) distances of all matches.
        others: how many pairs of two identities there are.
        count: rising thresholds (T,) -> how many of those are no nearer than each, and how many are farther.
        rates: false positive rates.

    Returns:
        "TPR@FPR=1e-04", ... -> rate from 0 to 1.

    Raises:
        EvaluationError: no match, or no other pair.
    """
    if not len(matches) or not others:
        raise EvaluationError("TEST.ROC needs pairs of one identity under two cameras, and pairs of two identities")
    distinct, times = np.unique(matches, return_counts=True)
    distinct, times = distinct[::-1], times[::-1]  # falling, as the thresholds of the curve
    false = np.cumsum(times) / len(matches)
    around = AROUND
    while True:
        window = _window(false, rates, around)
        reach, beyond = (counts[::-1] for counts in count(np.ascontiguousarray(distinct[window][::-1])))
        kept = _corners(window, times, reach, beyond)
        indices = [_nearest(rate, false, window, kept) for rate in rates]
        if None not in indices:
            reached = dict(zip(window.tolist(), reach.tolist(), strict=True)) | {ORIGIN: 0}
            return {f"TPR@FPR={rate:.0e}": reached[index] / others for rate, index in zip(rates, indices, strict=True)}
        around *= 8  # scikit-learn drops the inner points of a line, and this line is longer than the window


def _window(false: np.ndarray, rates: Sequence[float], around: int) -> np.ndarray:
    """Indices in ``false`` (K,), rising, of those near the rates."""
    middles = np.searchsorted(false, rates)
    near = np.unique(np.add.outer(middles, np.arange(-around, around + 1)))
    return near[(near >= 0) & (near < len(false))]


def _corners(window: np.ndarray, times: np.ndarray, reach: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """Which points scikit-learn keeps: NaN where that is not known, else 1 or 0.

    A point is dropped where the step to it, in matches and others, is the same as the step from it.
    """
    kept = np.ones(len(window))
    following = np.diff(window) == 1
    equal = reach - beyond  # others at that very distance
    between = beyond[1:] - reach[:-1]
    same_step = (between == 0) & (times[window][1:] == times[window][:-1]) & (equal[1:] == equal[:-1])
    kept[:-1][same_step] = 0
    kept[:-1][~following] = np.nan
    if window[-1] + 1 < len(times):
        kept[-1] = np.nan
    if window[0] == 0 and beyond[0] == 0:
        kept[0] = 1  # the first point of all
    return kept


def _nearest(rate: float, false: np.ndarray, window: np.ndarray, kept: np.ndarray) -> int | None:
    """Index of the kept point nearest to a rate, the first of equally near ones; None if the window is too narrow."""
    known = dict(zip(window.tolist(), kept.tolist(), strict=True))

    def search(index: int, step: int) -> int | None:
        while known.get(index) == 0:
            index += step
        return index if index == ORIGIN or known.get(index) == 1 else None

    middle = int(np.searchsorted(false, rate, side="right"))  # the first above the rate
    below = search(middle - 1, -1)
    above = search(middle, 1) if middle < len(false) else below
    if below is None or above is None:
        return None
    distance = {index: abs((0.0 if index == ORIGIN else false[index]) - rate) for index in (below, above)}
    return min((below, above), key=distance.__getitem__)


def count_others(distances: Rows, people: GroundTruth, queries: range, block: int, thresholds: np.ndarray) -> Counts:
    """Return how many pairs of two identities are no nearer than thresholds, and how many are farther.

    Args:
        distances, people, queries, block: see :func:`fastreid_ext.evaluation.ranks.find_matches`.
        thresholds: (T,) rising.

    Returns:
        (T,) and (T,) whole numbers.
    """
    totals = np.zeros((2, len(thresholds)), dtype=np.int64)
    lock = Lock()

    def add(rows: Iterable[np.ndarray], sign: int = 1) -> None:
        for ordered in rows:
            found = [len(ordered) - ordered.searchsorted(thresholds, side=side) for side in ("left", "right")]
            with lock:
                totals[:] += sign * np.stack(found)

    for start, rows in row_blocks(distances, queries, block):
        query, image, _ = people.pairs(start, start + len(rows))
        add([np.sort(values_at(rows, query, image))], -1)
        if rows.device.type == "cpu":
            look_at_sorted_rows(rows, lambda _, ordered: add(ordered))
        else:
            totals += _count_on_gpu(rows, thresholds)
    return totals[0], totals[1]


def _count_on_gpu(rows: Tensor, thresholds: np.ndarray) -> np.ndarray:
    """How many distances of some rows are no nearer than thresholds, and how many are farther: (2, T)."""
    asked = torch.from_numpy(thresholds).to(rows.device)
    totals = torch.zeros(2, len(thresholds), dtype=torch.int64, device=rows.device)
    for _, ordered in sorted_chunks(rows):
        each = asked.expand(len(ordered), -1).contiguous()
        for side, right in enumerate((False, True)):
            totals[side] += (ordered.shape[1] - torch.searchsorted(ordered, each, right=right)).sum(dim=0)
    return totals.cpu().numpy()
