"""Open-set identification: how often a person who is in the gallery is found, if strangers are to be turned away.

A query whose person has no image in the gallery is *unknown*, the others are *known*. A threshold lets a query be
identified as its nearest gallery image if that is near enough.

FPIR, false positive identification rate: share of the unknown queries with a gallery image within the threshold.
TPIR, true positive identification rate: share of the known queries whose nearest gallery image shows their person and
is within the threshold; 1 - FNIR at rank 1.

Grother, Ngan & Hanaoka, "Face Recognition Vendor Test, part 2: identification", NISTIR 8271, section 3; as detection
and identification rate (DIR) against FAR in Liao et al., "Open-set person re-identification", arXiv:1408.0872.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fastreid.utils import comm
from torch import Tensor

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation.blocks import row_blocks, rows_per_block, share_of
from fastreid_ext.evaluation.collective import gather_rows
from fastreid_ext.evaluation.distances import Rows
from fastreid_ext.evaluation.ranks import GroundTruth, Labels, Pairs

FALSE_RATES = {"1e-02": 100, "1e-01": 10}  # FPIR: one in so many unknown queries


@dataclass(frozen=True)
class NearestImages:
    """The nearest gallery image of some queries, when some people are out of the gallery.

    Attributes:
        distances: (Q,) to it; inf where no image is left.
        right: (Q,) bool: it shows the query's person.
        known: (Q,) bool: the query's person is in the gallery, under another camera.
    """

    distances: np.ndarray
    right: np.ndarray
    known: np.ndarray


@dataclass(frozen=True)
class OpenSetRate:
    """TPIR at a false positive identification rate.

    Attributes:
        rate: FPIR that is not exceeded, as text.
        allowed: unknown queries that may be identified; 0 = there are too few to tell.
        tpir: in percent; None where there are too few unknown queries.
        distance: largest one of a query that is identified rightly; None if there is none.
    """

    rate: str
    allowed: int
    tpir: float | None
    distance: float | None


def people_taken_out(pids: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return the identities of some queries that are to be taken out of the gallery: one at least, but not all.

    Args:
        pids: of the queries.
        share: of the identities, between 0 and 1; a larger one takes the same people and more.
        seed: another one, other people.

    Raises:
        EvaluationError: the queries show fewer than two people.
    """
    people = np.unique(pids)
    if len(people) < 2:
        raise EvaluationError(
            "TEST.OPEN_SET.SHARE takes people out of the gallery, and the queries show only one person"
        )
    count = min(max(1, round(share * len(people))), len(people) - 1)
    return np.random.default_rng(seed).permutation(people)[:count]


def without_people(
    out: np.ndarray, features: Tensor, pids: Labels, camids: Labels, left_out: Pairs
) -> tuple[Tensor, Labels, Labels, Pairs]:
    """Return features, identities, cameras and left-out pairs without the gallery images of some people.

    Args:
        out: identities that are taken out.
        features: (Q + G, D), the queries first.
        pids, camids, left_out: see :class:`fastreid_ext.evaluation.ranks.GroundTruth`.
    """
    stays = ~np.isin(pids[1], out)
    here = np.flatnonzero(stays)
    rows = np.concatenate([np.arange(len(pids[0])), len(pids[0]) + here])
    pairs = stays[left_out[1]]
    new_place = np.cumsum(stays) - 1
    return (
        features[torch.from_numpy(rows).to(features.device)],
        (pids[0], pids[1][here]),
        (camids[0], camids[1][here]),
        (left_out[0][pairs], new_place[left_out[1][pairs]]),
    )


def nearest_images(
    distances: Rows, out: np.ndarray, pids: Labels, camids: Labels, left_out: Pairs, memory_mb: float
) -> NearestImages:
    """Return the nearest gallery image of all queries: the first of equally near ones, and never junk.

    Each of several processes searches for its share of the queries; all of them get all.

    Args:
        distances: of all queries.
        out: identities whose gallery images are taken out.
        pids, camids, left_out: see :class:`fastreid_ext.evaluation.ranks.GroundTruth`.
        memory_mb: for a block of distances.
    """
    people = GroundTruth(pids, camids, left_out)
    block = rows_per_block(distances, memory_mb)
    queries = share_of(len(pids[0]), block, comm.get_rank(), comm.get_world_size())
    found: list[tuple[np.ndarray, ...]] = [(np.zeros(0, np.float32), np.zeros(0, bool), np.zeros(0, bool))]
    absent = np.isin(pids[1], out)
    gone = torch.from_numpy(absent).to(distances.device)
    for start, rows in row_blocks(distances, queries, block):
        query, image, junk = people.pairs(start, start + len(rows))
        rows.masked_fill_(gone, torch.inf)
        row, column = (torch.from_numpy(array[junk]).to(rows.device) for array in (query, image))
        rows[row, column] = torch.inf
        nearest = rows.argmin(dim=1)  # the first of several
        values = rows.gather(1, nearest[:, None])[:, 0].cpu().numpy()
        own = pids[0][start : start + len(rows)] == pids[1][nearest.cpu().numpy()]
        known = np.bincount(query[~junk & ~absent[image]], minlength=len(rows)) > 0
        found.append((values, own & np.isfinite(values), known))
    return NearestImages(
        *(gather_rows([torch.from_numpy(np.concatenate(parts))]).numpy() for parts in zip(*found, strict=True))
    )


def open_set_rates(nearest: NearestImages) -> list[OpenSetRate]:
    """Return the highest TPIR at each of FALSE_RATES, by exact counts.

    Raises:
        EvaluationError: no query is known, or none is unknown.
    """
    unknown, right = sorted_distances(nearest)
    rates = []
    for rate, queries in FALSE_RATES.items():
        allowed = len(unknown) // queries
        if not allowed:
            rates.append(OpenSetRate(rate, 0, None, None))
            continue
        identified = int(np.searchsorted(right, unknown[allowed], side="left"))  # nearer than the next stranger
        tpir = 100 * identified / int(nearest.known.sum())
        rates.append(OpenSetRate(rate, allowed, tpir, float(right[identified - 1]) if identified else None))
    return rates


def sorted_distances(nearest: NearestImages) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances of the unknown queries, and of the known ones whose nearest image is right, both rising."""
    if nearest.known.all() or not nearest.known.any():
        kind = "has" if nearest.known.all() else "lacks"
        raise EvaluationError(
            f"TEST.OPEN_SET needs queries of people who are in the gallery and of others, but the gallery {kind} the"
            " people of all queries"
        )
    return np.sort(nearest.distances[~nearest.known]), np.sort(nearest.distances[nearest.known & nearest.right])


def open_set_metrics(rates: Sequence[OpenSetRate]) -> dict[str, float]:
    """Return "TPIR@FPIR=1e-02", ... -> percent, of the rates that there are enough unknown queries for."""
    return {f"TPIR@FPIR={found.rate}": found.tpir for found in rates if found.tpir is not None}
