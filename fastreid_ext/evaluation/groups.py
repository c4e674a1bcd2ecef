"""Groups of queries, to see where a method helps: by occlusion, number of training images, and traits of the person."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastreid_ext.evaluation.query_metrics import QueryMetrics, summarise

THIRDS = ("head", "middle", "tail")


@dataclass(frozen=True)
class Group:
    """Some queries of a test set: their common name, and a mask (Q,) that is True for them."""

    label: str
    members: np.ndarray


@dataclass(frozen=True)
class GroupRow:
    """The numbers of one group, in percent; None if no query of it counts."""

    group: str
    identities: int
    queries: int
    rank1: float | None
    mean_ap: float | None


def by_occlusion(shares: Sequence[float | None], edges: Sequence[float]) -> list[Group]:
    """Group queries by the hidden share of the person.

    Args:
        shares: of each query, from 0 to 1; None where it is not known.
        edges: rising upper edges, each of them in the group below it. An edge of 0 sets apart what is not occluded.

    Returns:
        A group more than there are edges, and one of the unknown if there are any; [] if all are unknown. Where shares
        are 1 or 0 alone, as labels are, there is no more to cut: a group of each.
    """
    known = np.array([share is not None for share in shares], dtype=bool)
    if not known.any():
        return []
    values = np.array([np.nan if share is None else share for share in shares], dtype=float)
    if 1.0 in values[known] and set(values[known]) <= {0.0, 1.0}:
        groups = [Group("not occluded", values == 0), Group("occluded", values == 1)]
        return groups if known.all() else [*groups, Group("occlusion unknown", ~known)]
    number = np.searchsorted(np.asarray(edges, dtype=float), values, side="left")
    groups = [Group(_label(index, edges), known & (number == index)) for index in range(len(edges) + 1)]
    return groups if known.all() else [*groups, Group("occlusion unknown", ~known)]


def _label(index: int, edges: Sequence[float]) -> str:
    if index == len(edges):
        return f"occlusion above {edges[-1]:g}" if edges else "occlusion known"
    low, high = edges[index - 1] if index else 0.0, edges[index]
    if not high:
        return "not occluded"
    return f"occlusion {low:g} to {high:g}" if low else f"occlusion up to {high:g}"


def by_training_images(pids: Sequence[Hashable], counts: Mapping[Hashable, int]) -> list[Group]:
    """Group queries by how many training images their identity has: head, middle and tail.

    The identities of the queries are ordered by their count, the largest first and ties by name, and cut in three
    groups of equal size; where they do not divide by three, the head and then the middle get one more.

    Args:
        pids: identity of each query.
        counts: identity -> number of training images.
    """
    ordered = sorted(set(pids), key=lambda pid: (-counts[pid], str(pid)))
    groups = []
    for name, (chosen, members) in zip(THIRDS, _thirds(ordered, pids), strict=True):
        span = dict.fromkeys(counts[pid] for pid in chosen[:1] + chosen[-1:])  # one number if both ends are the same
        label = f"{name} ({' to '.join(map(str, span))} training images)" if chosen else name
        groups.append(Group(label, members))
    return groups


def by_trait(name: str, pids: Sequence[Hashable], values: Sequence[float | None]) -> list[Group]:
    """Group queries by a number that their identity has: three groups of equally many identities, the least first.

    Args:
        name: of the number, for the labels.
        pids: identity of each query.
        values: of each query's identity, the same for all of its queries; None where it is not known.

    Returns:
        Three groups, fewer where there are fewer identities, and one of the unknown if there are any; [] if all are
        unknown.
    """
    known = {pid: value for pid, value in zip(pids, values, strict=True) if value is not None}
    ordered = sorted(known, key=lambda pid: (known[pid], str(pid)))
    groups = []
    for chosen, members in _thirds(ordered, pids):
        span = dict.fromkeys(f"{known[pid]:.2f}" for pid in chosen[:1] + chosen[-1:])
        if chosen:
            groups.append(Group(f"{name} {' to '.join(span)}", members))
    unknown = np.array([pid not in known for pid in pids], dtype=bool)
    return [*groups, Group(f"{name} unknown", unknown)] if groups and unknown.any() else groups


def _thirds(ordered: Sequence[Hashable], pids: Sequence[Hashable]) -> list[tuple[list[Hashable], np.ndarray]]:
    """Cut ordered identities in three parts, the first ones larger by one where needed, each with a mask of queries."""
    parts = [[ordered[index] for index in part] for part in np.array_split(np.arange(len(ordered)), len(THIRDS))]
    number = {pid: index for index, part in enumerate(parts) for pid in part}
    of_query = np.array([number.get(pid, -1) for pid in pids])
    return [(part, of_query == index) for index, part in enumerate(parts)]


def group_rows(metrics: QueryMetrics, pids: Sequence[Hashable], groups: Sequence[Group]) -> list[GroupRow]:
    """Average the metrics of every group, and of all queries in a last row.

    Queries without a match do not count, as in FastReID, nor does an identity that has no other query.

    Args:
        metrics: of all queries.
        pids: identity of each query.
        groups: may overlap, and need not hold every query.
    """
    rows = []
    for group in (*groups, Group("all", np.ones(len(metrics.first_rank), dtype=bool))):
        chosen = group.members & metrics.scored
        identities = len({pid for pid, is_in in zip(pids, chosen, strict=True) if is_in})
        rank1 = mean_ap = None
        if identities:
            of_group = QueryMetrics(
                metrics.first_rank[chosen], metrics.average_precision[chosen], metrics.inverse_penalty[chosen]
            )
            average = summarise(of_group)
            rank1, mean_ap = average["Rank-1"], average["mAP"]
        rows.append(GroupRow(group.label, identities, int(chosen.sum()), rank1, mean_ap))
    return rows
