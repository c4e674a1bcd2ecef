"""Average query expansion (TEST.AQE): every feature becomes the weighted mean of its nearest neighbours."""

import torch
from torch import Tensor

from fastreid_ext.evaluation.blocks import MEMORY_MB, row_blocks, rows_per_block
from fastreid_ext.evaluation.distances import DistanceRows


@torch.no_grad()
def expand(features: Tensor, neighbours: int, alpha: float, times: int = 1, memory_mb: float = MEMORY_MB) -> Tensor:
    """Return FastReID's expanded features (N, D) in float32, without the similarities of all pairs in memory.

    A feature becomes the mean of the features with the highest cosine similarity to it, itself included, each weighted
    by its similarity to the power of alpha.

    Args:
        features: (N, D) of queries and gallery together; not written to.
        neighbours: how many are averaged; of fewer features, all.
        alpha: the power.
        times: how often this is done.
        memory_mb: what may be taken beyond the features and the new ones.

    Raises:
        EvaluationError: a feature that is not finite, or too little memory.
    """
    for _ in range(times):
        distances = DistanceRows(features, features)
        block = rows_per_block(distances, memory_mb)
        # The features of a row's neighbours stand beside its distances, three times while they are multiplied.
        width = features.shape[1]
        block = max(1, block // (1 + -(-3 * neighbours * width // (len(features) + 2 * width))))
        expanded = torch.empty_like(features, dtype=torch.float32)
        for start, rows in row_blocks(distances, range(len(features)), block):
            nearest = rows.topk(min(neighbours, len(features)), dim=1, largest=False).indices  # (B, k)
            near = features[nearest].float()  # (B, k, D)
            lengths = distances.lengths[0].clamp_min(1e-12)
            own = features[start : start + len(rows)].float() / lengths[start : start + len(rows), None]
            similarity = (near * own[:, None]).sum(dim=2) / lengths[nearest]
            expanded[start : start + len(rows)] = (near * similarity.pow(alpha)[..., None]).mean(dim=1)
        features = expanded
    return features
