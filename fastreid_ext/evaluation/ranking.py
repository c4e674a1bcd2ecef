"""Rank-k, mAP and mINP of features, in one pass over the distances and in bounded memory."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.evaluation.blocks import MEMORY_MB, rows_per_block
from fastreid_ext.evaluation.distances import DistanceRows
from fastreid_ext.evaluation.query_metrics import metrics_of, summarise
from fastreid_ext.evaluation.ranks import GroundTruth, find_matches

Array = Tensor | np.ndarray
LabelsLike = Tensor | np.ndarray | Sequence[int]


def rank_metrics(
    query: Array,
    gallery: Array,
    q_pids: LabelsLike,
    g_pids: LabelsLike,
    q_camids: LabelsLike,
    g_camids: LabelsLike,
    metric: str = "cosine",
    *,
    memory_mb: float = MEMORY_MB,
) -> dict[str, float]:
    """Rank the gallery for every query by the Market protocol and average, with FastReID's numbers.

    Gallery images of the query's identity and camera do not count, nor do queries without a match. Equal distances
    keep the order of the gallery. Nothing is written to.

    Args:
        query, gallery: features (Q, D) and (G, D) of a floating type; ranked on the gallery's device.
        q_pids, g_pids, q_camids, g_camids: identities and cameras, one-dimensional.
        metric: "cosine" or "euclidean".
        memory_mb: what may be taken beyond the features; more than the default is hardly faster.

    Returns:
        "Rank-1", "Rank-5", "Rank-10", "mAP", "mINP" and "metric" = (Rank-1 + mAP) / 2, all in percent.

    Raises:
        EvaluationError: a feature that is not finite, or too little memory for one row of distances.
        ValueError: shapes that do not fit, another metric, or no query with a match.

    Example:
        >>> features = torch.eye(3)
        >>> rank_metrics(features[:1], features[[1, 0, 2]], [7], [8, 7, 9], [0], [1, 1, 1])["mAP"]
        100.0
    """
    distances = DistanceRows(_tensor(query), _tensor(gallery), metric)
    pids, camids = (_labels(q_pids), _labels(g_pids)), (_labels(q_camids), _labels(g_camids))
    for side, name in enumerate(("query", "gallery")):
        if len(pids[side]) != distances.shape[side]:
            raise ValueError(f"{distances.shape[side]} {name} features have {len(pids[side])} identities")
    people = GroundTruth(pids, camids)
    queries = range(distances.shape[0])
    return summarise(metrics_of(find_matches(distances, people, queries, rows_per_block(distances, memory_mb))))


def _tensor(features: Array) -> Tensor:
    if isinstance(features, Tensor):
        return features
    features = np.asarray(features)
    # What is read-only, or strided backwards, can't be shared with torch.
    return torch.from_numpy(features if features.flags.writeable and features.flags.c_contiguous else features.copy())


def _labels(labels: LabelsLike) -> np.ndarray:
    return labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
