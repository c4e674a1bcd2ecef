"""Metrics of each query; Rank-k, mAP and mINP are their averages."""

from dataclasses import dataclass

import numpy as np

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.blocks import rows_per_block
from fastreid_ext.evaluation.distances import MatrixRows
from fastreid_ext.evaluation.ranks import NO_PAIRS, GroundTruth, Matches, Pairs, find_matches


@dataclass(frozen=True)
class QueryMetrics:
    """One entry per query; 0 for a query without a match in the gallery.

    Attributes:
        first_rank: (Q,) int, rank of the nearest match, counted from 1.
        average_precision: (Q,) in (0, 1].
        inverse_penalty: (Q,) number of matches / rank of the last one.
    """

    first_rank: np.ndarray
    average_precision: np.ndarray
    inverse_penalty: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """(Q,) bool: the queries with a match, which alone count."""
        return self.first_rank > 0


def metrics_of(matches: Matches) -> QueryMetrics:
    """Score every query by the ranks of its matches, as FastReID does by the Market protocol."""
    count, counts = len(matches.counts), matches.counts
    scored = counts > 0
    query = np.repeat(np.arange(count), counts)
    ends = np.cumsum(counts)
    nth = np.arange(1, len(query) + 1) - (ends - counts)[query]
    first = np.zeros(count, dtype=np.int64)
    precision, penalty = np.zeros(count), np.zeros(count)
    first[scored] = matches.ranks[(ends - counts)[scored]]
    sums = np.bincount(query, weights=nth / matches.ranks, minlength=count)
    precision[scored] = sums[scored] / counts[scored]
    penalty[scored] = counts[scored] / matches.ranks[ends[scored] - 1]
    return QueryMetrics(first, precision, penalty)


def query_metrics(
    distances: np.ndarray,
    pids: tuple[np.ndarray, np.ndarray],
    camids: tuple[np.ndarray, np.ndarray],
    left_out: Pairs = NO_PAIRS,
) -> QueryMetrics:
    """Score every row of a distance matrix (Q, G) by the Market protocol, as FastReID does.

    Gallery images of the query's own identity and camera do not count. Equal distances keep the gallery's order.

    Args:
        distances: (Q, G).
        pids, camids: (of the queries, of the gallery).
        left_out: see :class:`GroundTruth`.
    """
    rows = MatrixRows(distances)
    people = GroundTruth(pids, camids, left_out)
    return metrics_of(find_matches(rows, people, range(rows.shape[0]), rows_per_block(rows)))


def summarise(metrics: QueryMetrics, ranks: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Average over the queries that count: Rank-k, mAP and mINP in percent, and FastReID's ``metric``.

    Args:
        metrics: of all queries.
        ranks: the k of Rank-k; 1 is always among them.

    Returns:
        "Rank-1", ..., "mAP", "mINP", "metric" = (Rank-1 + mAP) / 2, which chooses the best checkpoint.

    Raises:
        EvaluationError: no query has a match.
    """
    scored = metrics.scored
    if not scored.any():
        raise EvaluationError("no query has its person in the gallery under another camera, so nothing can be scored")
    first = metrics.first_rank[scored]
    results = {f"Rank-{k}": float(np.mean(first <= k)) * 100 for k in sorted({1, *ranks})}
    results["mAP"] = float(np.mean(metrics.average_precision[scored])) * 100
    results["mINP"] = float(np.mean(metrics.inverse_penalty[scored])) * 100
    results["metric"] = (results["Rank-1"] + results["mAP"]) / 2
    return results
