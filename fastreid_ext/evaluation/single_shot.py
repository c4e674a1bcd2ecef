"""The protocol of CUHK03's classic split: a gallery of one image of each identity, drawn for every query."""

from collections.abc import Sequence

import numpy as np

from fastreid_ext.evaluation.blocks import row_blocks
from fastreid_ext.evaluation.distances import Rows
from fastreid_ext.evaluation.ranks import GroundTruth

DRAWS = 10  # galleries of each query, as FastReID draws


def single_shot_hits(
    distances: Rows, people: GroundTruth, queries: range, block: int, ranks: Sequence[int], seed: int = 0
) -> np.ndarray:
    """Return how often each query finds its person among the first of a single-shot gallery.

    What is drawn for a query follows from the seed and the query's number: not from blocks, processes or the numbers
    that were drawn before. Junk is never drawn; equal distances keep the gallery's order.

    Args:
        distances, people, queries, block: see :func:`fastreid_ext.evaluation.ranks.find_matches`.
        ranks: the k of Rank-k.
        seed: another one, other draws.

    Returns:
        (len(queries), len(ranks)) shares of the draws, from 0 to 1; 0 for a query without a match.
    """
    hits = np.zeros((len(queries), len(ranks)))
    ordered, starts, sizes = people.by_identity, people.starts, people.sizes
    for start, rows in row_blocks(distances, queries, block):
        array = rows.cpu().numpy()
        for row in range(len(array)):
            query = start + row
            drawn = np.random.default_rng((seed, query)).random((DRAWS, len(sizes)))
            images = ordered[starts + (drawn * sizes).astype(np.int64)]  # (DRAWS, K)
            own = int(np.searchsorted(starts, people.first[query]))  # the identity's number, where it has images
            _, right, junk = people.pairs(query, query + 1)
            right = right[~junk]
            if not len(right):
                continue
            found = right[(drawn[:, own] * len(right)).astype(np.int64)]
            value = array[row, found][:, None]
            others = array[row, images]
            earlier = (others < value) | ((others == value) & (images < found[:, None]))
            earlier[:, own] = False
            earlier &= ~np.isin(images, people.left_out_of(query))
            expected = 1 + earlier.sum(axis=1)
            hits[query - queries.start] = [(expected <= rank).mean() for rank in ranks]
    return hits
