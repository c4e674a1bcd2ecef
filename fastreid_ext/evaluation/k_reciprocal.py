"""The k-reciprocal encoding of every image, as sparse rows.

Paper: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. As FastReID does it,
which differs from the paper in three ways: a list of k1 neighbours includes the image itself; weights are a softmax of
negative squared distances over an image's set, eq. (5) being their exponential alone; and the neighbours whose rows are
averaged, eq. (11), include the image too.

The neighbours and the distances within the sets, nearly all of the work, come from the features' device. What is done
with the sets is sparse matrix algebra on the CPU: a reciprocal neighbour is where a matrix of neighbours and its
transpose both have an entry, and the size of an intersection is an entry of a product. N images need O(N k1) memory
beside their features and one block of distances.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.distances import finite_lengths
from fastreid_ext.evaluation.neighbours import nearest

ROWS = 8192  # whose sets are grown at once
CHUNK_MB = 16  # of features whose distances are taken at once


Search = Callable[[Tensor, Tensor, int, str, float], tuple[Tensor, Tensor]]  # as neighbours.nearest


def encode(
    features: Tensor,
    k1: int = 20,
    k2: int = 6,
    metric: str = "cosine",
    memory_mb: float = 256,
    search: Search = nearest,
) -> csr_array:
    """Return the weight of every image in the k-reciprocal set of every other one.

    Args:
        features: (N, D) of queries and gallery together; not changed.
        k1: neighbours that are tested for being reciprocal; at most N.
        k2: neighbours whose rows are averaged, at most k1; 1 means the image alone.
        metric: "euclidean", or "cosine" for the same of normalised features.
        memory_mb: for a block of the neighbour search, in MiB.
        search: what finds the neighbours; :func:`collective.nearest_by_all` shares the work among processes.

    Returns:
        (N, N) float32 with rows that sum to 1; a row is empty where an image has so many duplicates that it is
        not among its own k1 nearest.

    Raises:
        EvaluationError: a feature that is not finite.
        ConfigError: k1 or k2 below 1, or another metric.
    """
    if k1 < 1 or k2 < 1:
        raise ConfigError(f"k1 and k2 must be at least 1, not {k1} and {k2}")
    count = len(features)
    k1 = min(k1, count)
    order = search(features, features, k1, metric, memory_mb)[1].int().cpu().numpy()
    sets = _expanded(_reciprocal(order, k1), _reciprocal(order, int(np.around(k1 / 2))))
    weights = _softmax(sets, _squared_distances(features, sets, metric))
    if k2 == 1:
        return weights
    k2 = min(k2, k1)
    return (_lists(order[:, :k2], np.float32(1 / k2)) @ weights).astype(np.float32)


def _lists(order: np.ndarray, value: np.number) -> csr_array:
    """Return the sparse matrix (N, N) with ``value`` at the columns (N, k) of each row."""
    count, k = order.shape
    data, ends = np.full(order.size, value), np.arange(count + 1, dtype=np.int64) * k
    matrix = csr_array((data, order.ravel(), ends), shape=(count, count))
    matrix.sort_indices()
    return matrix


def _reciprocal(order: np.ndarray, k: int) -> csr_array:
    """Return R(i, k) as ones: the images among the k + 1 nearest of i that also have i among their k + 1 nearest."""
    mine = _lists(order[:, : k + 1], np.int32(1))
    return mine.multiply(mine.T.tocsr()).tocsr()


def _expanded(sets: csr_array, halves: csr_array) -> csr_array:
    """Return R*(i): R(i, k1), and R(c, k1 / 2) of all members c of it whose overlap exceeds 2/3, eq. (4)."""
    sizes, chunks = np.diff(halves.indptr), []
    for start in range(0, sets.shape[0], ROWS):
        mine = sets[start : start + ROWS]
        shared = (mine @ halves.T).multiply(mine).tocsr()  # |R(i, k1) and R(c, k1 / 2)| for c in R(i, k1)
        shared.data = (shared.data > 2 / 3 * sizes[shared.indices]).astype(np.int32)
        shared.eliminate_zeros()
        chunks.append((mine + shared @ halves).tocsr())
    ends = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(chunk.indptr) for chunk in chunks]))])
    columns = np.concatenate([chunk.indices for chunk in chunks])
    grown = csr_array((np.ones(len(columns), dtype=np.int32), columns, ends), shape=sets.shape)
    grown.sort_indices()
    return grown


@torch.no_grad()
def _squared_distances(features: Tensor, sets: csr_array, metric: str) -> np.ndarray:
    """Return the squared distance of every entry of ``sets`` in their order, in float32."""
    device = features.device
    rows = torch.from_numpy(np.repeat(np.arange(sets.shape[0]), np.diff(sets.indptr)))
    columns = torch.from_numpy(sets.indices.astype(np.int64))
    scale = finite_lengths(features, "image").clamp_min(1e-12).reciprocal()[:, None] if metric == "cosine" else None
    found = torch.empty(len(rows))
    step = max(1, int(CHUNK_MB * 2**20) // (4 * max(1, features.shape[1])))
    for start in range(0, len(rows), step):
        ends = [side[start : start + step].to(device) for side in (rows, columns)]
        one, other = (features[end].float() if scale is None else features[end].float() * scale[end] for end in ends)
        found[start : start + step] = one.sub_(other).square_().sum(1)
    return found.numpy()


def _softmax(sets: csr_array, distances: np.ndarray) -> csr_array:
    """Return exp(-distance) of every entry over their sum in its row."""
    count = sets.shape[0]
    rows = np.repeat(np.arange(count), np.diff(sets.indptr))
    least = np.full(count, np.inf)
    np.minimum.at(least, rows, distances)
    powers = np.exp(least[rows] - distances)
    data = (powers / np.bincount(rows, powers, minlength=count)[rows]).astype(np.float32)
    weights = csr_array((data, sets.indices, sets.indptr), shape=sets.shape)
    weights.eliminate_zeros()
    return weights
