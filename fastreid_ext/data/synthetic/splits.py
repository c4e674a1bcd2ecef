"""The list of all images: identity, camera, occluder and directory of each."""

from dataclasses import dataclass

import numpy as np

from fastreid_ext.data.synthetic.cameras import CAMERAS
from fastreid_ext.data.synthetic.occluders import OCCLUDERS
from fastreid_ext.data.synthetic.seeds import random_state
from fastreid_ext.data.synthetic.sizes import (
    CLEAN_GALLERY,
    HOLISTIC_QUERIES,
    OCCLUDED_GALLERY,
    OCCLUDED_QUERIES,
    OCCLUDED_TRAIN_SHARE,
    Size,
)

TRAIN, QUERY, QUERY_OCCLUDED, GALLERY = "bounding_box_train", "query", "query_occluded", "bounding_box_test"
KINDS = tuple(OCCLUDERS)


@dataclass(frozen=True)
class Shot:
    """One image to be taken.

    Attributes:
        directory: that it goes into.
        identity: of the person, from 1.
        index: number among the images of the identity in its test set or the training set, from 0.
        camera: 1..6.
        occluder: a kind, or None.
        world: its place in the worlds of the size; 0 without worlds.
    """

    directory: str
    identity: int
    index: int
    camera: int
    occluder: str | None
    world: int = 0

    @property
    def file_name(self) -> str:
        """A name in the manner of Market-1501, the sequence being the world."""
        return f"{self.identity:04d}_c{self.camera}s{self.world + 1}_{self.index + 1:06d}_00.jpg"


def long_tail_counts(identities: int, mean: int, head: int, floor: int) -> list[int]:
    """Return the number of images of each identity, by a power law with a total of identities * mean.

    Count k (from 0) is ``head * (k + 1) ** -a``, not below ``floor``; a is found by bisection.

    Args:
        identities: how many.
        mean: images per identity.
        head: images of the first.
        floor: no identity has fewer.
    """
    total = identities * mean
    low, high = 0.0, 8.0
    for _ in range(60):
        exponent = (low + high) / 2
        counts = [max(floor, int(head * (rank + 1) ** -exponent)) for rank in range(identities)]
        low, high = (exponent, high) if sum(counts) > total else (low, exponent)
    counts = [max(floor, int(head * (rank + 1) ** -high)) for rank in range(identities)]
    for rank in range(total - sum(counts)):  # what rounding down left over goes to the ranks after the head
        counts[1 + rank % (identities - 1)] += 1
    return counts


def directories(size: Size) -> tuple[str, ...]:
    """Return all image directories of a size, the training set first."""
    return (TRAIN, *(name + suffix for suffix in size.test_sets for name in (QUERY, QUERY_OCCLUDED, GALLERY)))


def plan_train(size: Size, seed: int, long_tail: bool) -> list[Shot]:
    """Return the shots of the training set, of the identities 1..train_identities."""
    rng = random_state(seed, "plan", TRAIN)
    if long_tail:
        counts = long_tail_counts(size.train_identities, size.train_images, size.train_head, size.train_floor)
    else:
        counts = [size.train_images] * size.train_identities
    shots = []
    for identity, count in enumerate((counts[i] for i in rng.permutation(len(counts))), start=1):
        cameras = camera_cycle(rng, count)
        for index, camera in enumerate(cameras):
            covered = rng.random_sample() < OCCLUDED_TRAIN_SHARE
            kind = KINDS[rng.randint(len(KINDS))]
            shots.append(Shot(TRAIN, identity, index, camera, kind if covered else None, size.world_of(identity)))
    return shots


def plan_test(size: Size, seed: int, suffix: str, first_identity: int) -> list[Shot]:
    """Return the shots of one test set: its two query sets and the gallery that both of them search.

    The occluder kinds of a person's queries are never those of the person's own gallery images, so that only other
    people share them.
    """
    rng = random_state(seed, "plan", GALLERY + suffix)
    world = size.test_sets.index(suffix) if size.worlds else 0
    shots = []
    for identity in range(first_identity, first_identity + size.test_identities):
        # Neighbours get other kinds, so that each kind is in front of somebody else whatever the size.
        kinds = [KINDS[(identity + step) % len(KINDS)] for step in range(OCCLUDED_QUERIES + OCCLUDED_GALLERY)]
        folders = (
            (QUERY, [None] * HOLISTIC_QUERIES),
            (QUERY_OCCLUDED, kinds[:OCCLUDED_QUERIES]),
            # The clean gallery images come from all cameras: each query has a match in another camera.
            (GALLERY, [None] * CLEAN_GALLERY + kinds[OCCLUDED_QUERIES:]),
        )
        index = 0
        for directory, occluders in folders:
            for camera, kind in zip(camera_cycle(rng, len(occluders)), occluders, strict=True):
                shots.append(Shot(directory + suffix, identity, index, camera, kind, world))
                index += 1
    return shots


def camera_cycle(rng: np.random.RandomState, count: int) -> list[int]:
    """Return ``count`` camera numbers (1..6) in random order, as evenly spread as possible."""
    cameras: list[int] = []
    while len(cameras) < count:
        cameras.extend(int(camera) + 1 for camera in rng.permutation(len(CAMERAS)))
    return cameras[:count]


def plan(size: Size, seed: int, long_tail: bool) -> list[Shot]:
    """Return all shots in the order of the directories; identities are disjoint between the sets.

    Args:
        size: of the data set.
        seed: another one, other images.
        long_tail: False gives every training identity the same number of images.
    """
    shots = plan_train(size, seed, long_tail)
    first_identity = size.train_identities + 1
    for suffix in size.test_sets:
        shots.extend(plan_test(size, seed, suffix, first_identity))
        first_identity += size.test_identities
    order = {name: number for number, name in enumerate(directories(size))}
    return sorted(shots, key=lambda shot: (order[shot.directory], shot.file_name))
