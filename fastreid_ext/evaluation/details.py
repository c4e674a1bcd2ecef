"""``details_<test set>.json``: curves and the hardest queries of an evaluation, which ``fastreid-ext report`` reads."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import Tensor

from fastreid_ext.evaluation.collective import gather_rows
from fastreid_ext.evaluation.distances import Rows
from fastreid_ext.evaluation.query_metrics import QueryMetrics
from fastreid_ext.evaluation.rank_list import nearest_images
from fastreid_ext.evaluation.ranks import GroundTruth
from fastreid_ext.files import write_text

FORMAT = "fastreid-ext details 1"
HARDEST = 50  # queries whose rank lists are kept
LISTED = 10  # images of a rank list
CMC_RANKS = 50
ROC_POINTS = 160
BINS = 60  # of a histogram, at most
MEMORY_SHARE = 32  # one part in so many of TEST.EVAL_MEMORY_MB is for sampled distances


class SampledRows:
    """Distances that pass by, of which those of two persons are kept for some queries; see :class:`Rows`.

    The queries are evenly spread over all of them, and all are kept where the pairs are few.

    Args:
        distances: what makes the rows.
        people: who is who.
        memory_mb: memory of the evaluation, of which one part in ``MEMORY_SHARE`` is used.
    """

    def __init__(self, distances: Rows, people: GroundTruth, memory_mb: float):
        self.distances, self.people = distances, people
        self.shape, self.device = distances.shape, distances.device
        pairs, most = distances.shape[0] * distances.shape[1], memory_mb * 2**20 / MEMORY_SHARE / 4
        self.step = max(1, int(np.ceil(pairs / most)))
        self.kept = [torch.zeros(0)]

    def rows(self, start: int, stop: int, out: Tensor | None = None) -> Tensor:
        """See :meth:`Rows.rows`."""
        rows = self.distances.rows(start, stop, out)
        for query in range(-(-start // self.step) * self.step, stop, self.step):
            others = torch.ones(self.shape[1], dtype=torch.bool)
            others[torch.from_numpy(self.people.pairs(query, query + 1)[1])] = False
            self.kept.append(rows[query - start].cpu()[others])
        return rows

    def others(self) -> np.ndarray:
        """Return the kept distances of all processes, rising; all processes call it, once."""
        return np.sort(gather_rows(self.kept).numpy())


def curves(metrics: QueryMetrics, matches: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    """Return the curves of an evaluation as numbers for JSON.

    A pair of images counts as one person where its distance is at most a threshold.

    Args:
        metrics: of all queries.
        matches: (M,) distances of pairs of one person.
        others: (N,) distances of pairs of two, rising, all of them or a sample.

    Returns:
        "cmc": the share of queries whose first match is at rank 1, 2, ... at most; "average_precision": how many
        queries have one in each tenth from 0 to 1; and, where there are pairs of two persons, "roc": false positive
        rates, rising, with the true positive rate and the threshold of each, and the area under the curve;
        "histogram": shares of both kinds of pairs by distance.
    """
    first = metrics.first_rank[metrics.scored]
    precision = metrics.average_precision[metrics.scored]
    found: dict[str, Any] = {
        "cmc": {
            "ranks": list(range(1, CMC_RANKS + 1)),
            "rates": [_short(np.mean(first <= rank)) for rank in range(1, CMC_RANKS + 1)],
        },
        "average_precision": np.histogram(precision, bins=10, range=(0.0, 1.0))[0].tolist(),
    }
    if len(others) and len(matches):
        found |= {"roc": _roc(np.sort(matches), others), "histogram": _histogram(matches, others)}
    return found


def _roc(matches: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    count = len(others)
    places = np.unique(np.rint(np.geomspace(1, count, ROC_POINTS)).astype(np.int64)) - 1
    thresholds = np.unique(others[places])
    false = np.searchsorted(others, thresholds, side="right") / count
    true = np.searchsorted(matches, thresholds, side="right") / len(matches)
    nearer = (np.searchsorted(others, matches, side=side) for side in ("left", "right"))
    return {
        "false_positive_rates": [_short(rate) for rate in false],
        "true_positive_rates": [_short(rate) for rate in true],
        "thresholds": [_short(threshold) for threshold in thresholds],
        "area": _short(1 - sum(ranks.mean() for ranks in nearer) / 2 / count),
    }


def _histogram(matches: np.ndarray, others: np.ndarray) -> dict[str, Any]:
    low, high = min(matches.min(), others[0]), max(matches.max(), others[-1])
    bins = int(np.clip(np.sqrt(len(matches)), 8, BINS))  # fewer where few pairs would make a comb of them
    edges = np.linspace(low, high if high > low else low + 1e-6, bins + 1, dtype=np.float64)
    same, different = (np.histogram(values, bins=edges)[0] / len(values) for values in (matches, others))
    rows = {"edges": edges, "same": same, "different": different}
    return {name: [_short(one) for one in row] for name, row in rows.items()}


def hardest_queries(
    distances: Rows,
    people: GroundTruth,
    metrics: QueryMetrics,
    pids: tuple[np.ndarray, np.ndarray],
    paths: tuple[Sequence[str], Sequence[str]],
) -> list[dict[str, Any]]:
    """Return the rank lists of the queries with the lowest average precision, the hardest first.

    Args:
        distances: that ranked the gallery.
        people: who is who.
        metrics: of all queries; those without a match are not shown.
        pids, paths: (of the queries, of the gallery).

    Returns:
        Of each its image, average precision (0 to 1), the rank of its first match, the nearest images ("list") and,
        where none of those is right, the nearest right one ("first_right").
    """
    scored = np.flatnonzero(metrics.scored)
    order = np.lexsort((-metrics.first_rank[scored], metrics.average_precision[scored]))
    found = []
    for query in scored[order][:HARDEST].tolist():
        row = distances.rows(query, query + 1)[0].cpu().numpy()
        own = pids[0][query], people.camids[0][query]
        ranked = nearest_images(row, *own, pids[1], people.camids[1], people.left_out_of(query))
        first = int(metrics.first_rank[query])

        def entry(rank: int, row: np.ndarray = row, ranked: np.ndarray = ranked, query: int = query) -> dict[str, Any]:
            image = int(ranked[rank - 1])
            return {
                "rank": rank,
                **_image(paths[1][image], pids[1][image], people.camids[1][image]),
                "distance": _short(row[image]),
                "right": bool(pids[1][image] == pids[0][query]),
            }

        found.append(
            {
                **_image(paths[0][query], pids[0][query], people.camids[0][query]),
                "average_precision": _short(metrics.average_precision[query]),
                "first_match": first,
                "list": [entry(rank) for rank in range(1, min(LISTED, len(ranked)) + 1)],
                **({"first_right": entry(first)} if LISTED < first <= len(ranked) else {}),
            }
        )
    return found


def _image(path: str, pid: Any, camid: Any) -> dict[str, Any]:
    return {"path": str(Path(path).absolute()), "person": int(pid), "camera": int(camid)}


def counts_of(metrics: QueryMetrics, pids: tuple[np.ndarray, np.ndarray]) -> dict[str, int]:
    """Return how many queries and gallery images there are, and how many queries have a match."""
    return {"queries": len(pids[0]), "scored": int(metrics.scored.sum()), "gallery": len(pids[1])}


def write_details(path: Path, cfg: CfgNode, about: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Write the file, whole or not at all.

    Args:
        path: of the file.
        cfg: the run's config.
        about: which test set, and how many images it has.
        parts: what :func:`curves` and :func:`hardest_queries` gave.

    Raises:
        FileError: it can't be written.
    """
    test = cfg.TEST
    changed = [name for name in ("AQE", "RERANK") if test[name].ENABLED]  # distances are no longer of two features
    order = {"metric": test.METRIC, "protocol": test.PROTOCOL, "changed_by": changed}
    write_text(path, json.dumps({"format": FORMAT, **about, **order, **parts}) + "\n")


def _short(value: Any) -> float:
    """Return a number with six digits: more would be seen nowhere."""
    return float(f"{float(value):.6g}")
