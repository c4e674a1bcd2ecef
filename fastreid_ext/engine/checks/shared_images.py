"""What a test must not share: its queries with its own gallery, its persons with training. Images in training twice."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from fastreid.config import CfgNode
from fastreid.utils import comm

from fastreid_ext.data.datasets.files import log_once
from fastreid_ext.data.hold_out import HELD_OUT
from fastreid_ext.data.images import QueryGalleryImages
from fastreid_ext.data.labels import bare
from fastreid_ext.data.same_images import SamePairs, listed_again, same_images
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.ranks import NO_PAIRS, GroundTruth, Pairs


def leave_out_same_images(cfg: CfgNode, name: str, images: QueryGalleryImages) -> None:
    """Find the queries that are in the gallery themselves, and do with them what TEST.SAME_IMAGE says.

    A query and a gallery image of the same person and camera are left out of a ranking anyway, and do not count here.
    All processes call it, and get the same answer.

    Args:
        cfg: the run's config.
        name: of the test set.
        images: what is evaluated; its ``left_out`` is set.

    Raises:
        ConfigError: they are to be refused, or left out by FastReID's evaluator, which can't.
    """
    choice = cfg.TEST.SAME_IMAGE
    if choice == "auto":
        choice = "keep" if images.public else "exclude"
    query, gallery = images.split(images.img_items)
    pairs = None
    if comm.is_main_process():
        contents = not images.public or cfg.TEST.SAME_IMAGE != "auto"
        pairs = _ranked(
            same_images([item[0] for item in query], [item[0] for item in gallery], contents), query, gallery
        )
    pairs = next(found for found in comm.all_gather(pairs) if found is not None)
    if not len(pairs):
        return
    said = _described(name, pairs, query, gallery)
    if choice == "refuse":
        raise ConfigError(f"{said}: remove them from the gallery, or set TEST.SAME_IMAGE exclude")
    if choice == "keep":
        _say(f"{said}, and are ranked (TEST.SAME_IMAGE {cfg.TEST.SAME_IMAGE})")
        return
    if cfg.TEST.EVALUATOR == "host":
        raise ConfigError(
            f"{said}, and FastReID's evaluator can't leave them out: set TEST.EVALUATOR streamed, or TEST.SAME_IMAGE"
            " keep"
        )
    images.left_out = pairs.first, pairs.second
    before, after = (_scored(query, gallery, out) for out in (NO_PAIRS, images.left_out))
    if before and not after:
        raise ConfigError(f"{said}, and without them no query has a match: list other images in the gallery")
    lost = f"; {before - after} queries have no other match and are not scored" if after < before else ""
    _say(
        f"{said}: each is left out of its own ranking, {len(pairs)} pairs in all (TEST.SAME_IMAGE"
        f" {cfg.TEST.SAME_IMAGE}){lost}"
    )


def _ranked(pairs: SamePairs, query: Sequence[tuple], gallery: Sequence[tuple]) -> SamePairs:
    """Return the pairs that a ranking would have."""
    junk = [query[i][1:] == gallery[j][1:] for i, j in zip(pairs.first, pairs.second, strict=True)]
    return pairs.where(~np.array(junk, dtype=bool))


def _described(name: str, pairs: SamePairs, query: Sequence[tuple], gallery: Sequence[tuple]) -> str:
    queries, by_content = np.unique(pairs.first), int(pairs.by_content.sum())
    other = sum(query[i][1] != gallery[j][1] for i, j in zip(pairs.first, pairs.second, strict=True))
    ways = f"{len(pairs) - by_content} by path or link, {by_content} by content"
    persons = f", {other} of them as another person" if other else ""
    first = f"{query[pairs.first[0]][0]} and {gallery[pairs.second[0]][0]}"
    return (
        f"{len(queries)} of the {len(query)} queries of {name} are in its gallery themselves, under another camera or"
        f" person ({ways}{persons}; the first are {first})"
    )


def _scored(query: Sequence[tuple], gallery: Sequence[tuple], left_out: Pairs) -> int:
    """Return how many queries have a match."""
    pids, camids = (tuple(np.array([item[place] for item in items]) for items in (query, gallery)) for place in (1, 2))
    asked, _, junk = GroundTruth(pids, camids, left_out).pairs(0, len(query))
    return len(np.unique(asked[~junk]))


def warn_of_images_again(training: Sequence[tuple]) -> None:
    """Warn of images that are trained on more than once, by path and by links, and as several persons."""
    if not comm.is_main_process():
        return
    groups = [[training[index] for index in group] for group in listed_again([item[0] for item in training])]
    if not groups:
        return
    several = [group for group in groups if len({item[1] for item in group}) > 1]
    first, *others = (several or groups)[0]
    another = next((item for item in others if item[1] != first[1]), others[0])
    persons = f", {len(several)} of them as several persons" if several else ""
    _say(
        f"{len(groups)} images of the training set are in it more than once{persons}, such as {first[0]}, as {first[1]}"
        f" and {another[1]}: name each image in one set, as one person"
    )


def warn_of_known_persons(training: Sequence[tuple], tests: Mapping[str, QueryGalleryImages]) -> None:
    """Warn of test persons that are trained on: by the text or number of their labels, by path, link and content.

    Of public test sets, whose own images tell persons apart, only paths are compared.

    Args:
        training: items of the training set.
        tests: name -> images of a test set; held-out images show training persons on purpose, and are left out.
    """
    if not comm.is_main_process():
        return
    paths, labels = [item[0] for item in training], {item[1] for item in training}
    similar = {bare(label) for label in labels}
    for name, images in tests.items():
        items = [*images.img_items]
        if name == HELD_OUT:
            continue
        if images.public:
            there = set(paths)
            shared = [item for item in items if item[0] in there]
        else:
            found = np.unique(same_images(paths, [item[0] for item in items]).second)
            shared = [items[i] for i in found]
        known = {item[1] for item in items if images.labels.get(item[1]) in labels}
        alike = {person for person, label in images.labels.items() if bare(label) in similar} - known
        by_image = {item[1] for item in shared}
        if not known | alike | by_image:
            continue
        reasons = [f"{len(known)} by name"] if known else []
        if alike:
            first = images.labels[min(alike)]
            reasons.append(
                f"{len(alike)} by names that differ only by leading zeros, case or blanks, such as {first!r}"
            )
        if shared:
            reasons.append(
                f"{len(by_image)} by images: {len(shared)} of its {len(items)} are trained on, such as {shared[0][0]}"
            )
        everyone = len({item[1] for item in items})
        _say(
            f"{len(known | alike | by_image)} of the {everyone} persons of {name} are persons of the training set"
            f" ({'; '.join(reasons)}): its numbers are not those of unknown persons"
        )


def _say(sentence: str) -> None:
    if comm.is_main_process():
        log_once(logging.WARNING, sentence)
