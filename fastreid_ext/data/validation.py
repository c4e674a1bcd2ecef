"""Identities that are left out of training, to choose settings without looking at a test set."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastreid_ext.data.hold_out import Item
from fastreid_ext.errors import ConfigError

VALIDATION = "Validation"  # the test set of the identities that DATASETS.VALIDATION leaves out of training


@dataclass(frozen=True)
class Validation:
    """A training set in three subsets.

    Attributes:
        train: the items of all other identities, in their order.
        query, gallery: the items of the identities that are left out, sorted, each image once.
    """

    train: list[Item]
    query: list[Item]
    gallery: list[Item]


def validation_split(items: Sequence[Item], count: int) -> Validation:
    """Leave ``count`` identities out of training and split their images into queries and gallery.

    Of the identities seen by two or more cameras, those whose names have the smallest SHA-256 are taken. So every run,
    process and machine agrees, a smaller selection is part of a larger one, and the order of recording plays no
    role. Of every camera that saw the person, the first image by name is a query and the rest is
    gallery. If fewer than two cameras saw the person twice, the camera that saw them most (the first of several)
    has no query, because the others would have no match. So every query has a match by another camera.

    Args:
        items: (path, identity, camera) of every training image; an image that is listed twice, as by two data sets,
            counts once.
        count: 1 or more.

    Raises:
        ConfigError: too few identities were seen by two cameras, or none would be left for training.
    """
    images: dict[Any, dict[Any, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in sorted(set(items), key=lambda item: item[0]):
        images[item[1]][item[2]].append(item)
    eligible = [pid for pid, cameras in images.items() if len(cameras) > 1]
    if len(eligible) < count:
        raise ConfigError(f"only {len(eligible)} of {len(images)} identities were seen by two cameras")
    if len(images) == count:
        raise ConfigError(f"none of the {count} identities would be left to train on")
    chosen = set(sorted(eligible, key=_digest)[:count])
    query: list[Item] = []
    gallery: list[Item] = []
    for pid in chosen:
        ordered = sorted(images[pid].items(), key=lambda camera: (-len(camera[1]), str(camera[0])))
        asked = ordered if len(ordered[1][1]) > 1 else ordered[1:]
        query += [of_camera[0] for _, of_camera in asked]
        gallery += [item for _, of_camera in asked for item in of_camera[1:]]
        gallery += [item for _, of_camera in ordered[: len(ordered) - len(asked)] for item in of_camera]
    train = [item for item in items if item[1] not in chosen]
    return Validation(train, sorted(query), sorted(gallery))


def _digest(pid: Any) -> str:
    return hashlib.sha256(str(pid).encode()).hexdigest()
