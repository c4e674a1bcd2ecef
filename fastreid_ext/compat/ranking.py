"""CMC, mAP and mINP in NumPy: the host's numbers without its compiled extension."""

from collections import defaultdict

import numpy as np

__all__ = ["eval_cuhk03", "eval_market1501"]

NO_MATCH = "Error: all query identities do not appear in gallery"
CUHK03_REPEATS = 10


def match_positions(distances, match):
    """Return the ranks of the matches, from 1 in ascending order; equal distances keep their order.

    Sorting the bare distances and looking the few matches up is several times faster than sorting the indices.

    Args:
        distances: from one query to the images that it keeps.
        match: which of those images are right, as flags.
    """
    matches = np.flatnonzero(match)
    values = distances[matches]
    ordered = np.sort(distances)
    ranks = np.searchsorted(ordered, values, side="left")
    equals = np.searchsorted(ordered, values, side="right") - ranks
    for index in np.flatnonzero(equals > 1):
        ranks[index] += np.count_nonzero(distances[: matches[index]] == values[index])
    return np.sort(ranks) + 1


def eval_market1501(distmat, q_pids, g_pids, q_camids, g_camids, max_rank):
    """Rank the gallery for every query, without the images of the query's own identity and camera.

    Equal distances keep the order of the gallery, so that the numbers do not depend on the processor. Queries
    without a match in the gallery do not count. Of a gallery smaller than ``max_rank`` the curve goes on as
    1: the host returned a shorter one, on which its evaluator then looked for rank 10.

    Args:
        distmat: distances of shape (num_query, num_gallery).
        q_pids, g_pids, q_camids, g_camids: identities and cameras, one-dimensional.
        max_rank: length of the curve.

    Returns:
        The CMC curve of shape (max_rank,), and the average precision and the inverse negative penalty of
        every query that counts.
    """
    first_hits = np.zeros(max_rank)
    precisions, penalties = [], []
    for distances, pid, camid in zip(distmat, q_pids, q_camids, strict=True):
        match = g_pids == pid
        keep = ~(match & (g_camids == camid))
        ranks = match_positions(distances[keep], match[keep])
        if not len(ranks):
            continue
        if ranks[0] <= max_rank:
            first_hits[ranks[0] - 1] += 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        penalties.append(len(ranks) / ranks[-1])
    if not precisions:
        raise AssertionError(NO_MATCH)  # the host's type and words
    cmc = np.cumsum(first_hits) / len(precisions)
    return cmc.astype(np.float32), np.array(precisions), np.array(penalties)


def eval_cuhk03(distmat, q_pids, g_pids, q_camids, g_camids, max_rank):
    """Single-gallery-shot ranking: for every query, one image of every gallery identity is drawn, ten times.

    Draws from NumPy's global generator in the host's order, so that a seed gives the host's numbers. Where
    fewer than ``max_rank`` identities are left, the curve goes on as 1.

    Args:
        distmat, q_pids, g_pids, q_camids, g_camids, max_rank: see :func:`eval_market1501`.

    Returns:
        The CMC curve of shape (max_rank,) and the mean average precision.
    """
    curves, precisions = [], []
    order = np.argsort(distmat, axis=1, kind="stable")
    for query in range(len(distmat)):
        pids, camids = g_pids[order[query]], g_camids[order[query]]
        keep = (pids != q_pids[query]) | (camids != q_camids[query])
        pids = pids[keep]
        match = pids == q_pids[query]
        if not match.any():
            continue
        columns = defaultdict(list)
        for column, pid in enumerate(pids):
            columns[pid].append(column)
        curve = np.zeros(max_rank)
        for _ in range(CUHK03_REPEATS):
            drawn = np.zeros(len(pids), dtype=bool)
            drawn[[np.random.choice(indices) for indices in columns.values()]] = True
            curve[int(np.argmax(match[drawn])) :] += 1  # one image of the query's identity is always drawn
        curves.append(curve / CUHK03_REPEATS)
        nth = np.arange(1, match.sum() + 1)
        precisions.append(np.mean(nth / (np.nonzero(match)[0] + 1)))
    if not precisions:
        raise AssertionError(NO_MATCH)
    return np.mean(curves, axis=0).astype(np.float32), np.mean(precisions)
