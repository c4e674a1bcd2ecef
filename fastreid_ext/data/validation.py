"""Identities that are left out of training, to choose settings without looking at a test set."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastreid_ext.data.hold_out import Item
from fastreid_ext.errors import ConfigError

T = TypeVar("T")

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
        asked, answers = ask_per_camera(images[pid])
        query += asked
        gallery += answers
    train = [item for item in items if item[1] not in chosen]
    return Validation(train, sorted(query), sorted(gallery))


def ask_per_camera(cameras: Mapping[Any, Sequence[T]]) -> tuple[list[T], list[T]]:
    """Split the images of a person into queries and gallery, so that every query has a match by another camera.

    The first image of every camera is a query, and the rest is gallery. If fewer than two cameras saw the person
    twice, the camera that saw them most (the first of several) has no query. Who was seen by one camera has no query.

    Args:
        cameras: camera -> its images of the person, in order.
    """
    ordered = sorted(cameras.items(), key=lambda camera: (-len(camera[1]), str(camera[0])))
    if len(ordered) < 2:
        return [], [item for _, of_camera in ordered for item in of_camera]
    kept = 0 if len(ordered[1][1]) > 1 else 1
    query = [of_camera[0] for _, of_camera in ordered[kept:]]
    gallery = [item for _, of_camera in ordered[:kept] for item in of_camera]
    return query, gallery + [item for _, of_camera in ordered[kept:] for item in of_camera[1:]]


def _digest(pid: Any) -> str:
    return hashlib.sha256(str(pid).encode()).hexdigest()
