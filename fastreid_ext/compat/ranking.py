"""CMC, mAP and mINP in NumPy: the host's numbers without its compiled extension."""

from collections import defaultdict

import numpy as np

__all__ = ["eval_cuhk03", "eval_market1501"]

NO_MATCH = "Error: all query identities do not appear in gallery"
CUHK03_REPEATS = 10
# Distances sorted at a time: about 100 MB of index and flag arrays, whatever the size of the gallery.
BLOCK_DISTANCES = 4_000_000


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
    hits_at = np.zeros(max_rank)
    precisions, penalties = [], []
    rows = max(1, BLOCK_DISTANCES // max(1, distmat.shape[1]))
    for start in range(0, len(distmat), rows):
        block = slice(start, start + rows)
        order = np.argsort(distmat[block], axis=1, kind="stable")  # (q, g)
        match = g_pids[order] == q_pids[block, None]
        keep = ~(match & (g_camids[order] == q_camids[block, None]))
        match &= keep
        valid = match.any(axis=1)
        match, keep = match[valid], keep[valid]
        if not len(match):
            continue
        query, column = np.nonzero(match)  # row by row, nearest first
        position = np.cumsum(keep, axis=1, dtype=np.int32)[query, column]  # 1-based, among the kept images
        count = np.bincount(query)  # matches of each query
        first = np.cumsum(count) - count
        nth = np.arange(len(query)) - np.repeat(first, count) + 1  # 1-based, among the matches
        precisions.append(np.add.reduceat(nth / position, first) / count)
        penalties.append(count / position[first + count - 1])
        nearest = position[first] - 1
        hits_at += np.bincount(nearest[nearest < max_rank], minlength=max_rank)
    if not precisions:
        raise AssertionError(NO_MATCH)  # the host's type and words
    all_ap, all_inp = np.concatenate(precisions), np.concatenate(penalties)
    return (np.cumsum(hits_at) / len(all_ap)).astype(np.float32), all_ap, all_inp


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
