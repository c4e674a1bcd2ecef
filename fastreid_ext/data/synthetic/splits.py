"""Which images there are: of whom, by which camera, behind what, in which directory."""

from dataclasses import dataclass

from .cameras import CAMERAS
from .occluders import OCCLUDERS
from .seeds import random_state
from .sizes import CLEAN_GALLERY, HOLISTIC_QUERIES, OCCLUDED_GALLERY, OCCLUDED_QUERIES, OCCLUDED_TRAIN_SHARE

TRAIN, QUERY, QUERY_OCCLUDED, GALLERY = "bounding_box_train", "query", "query_occluded", "bounding_box_test"
KINDS = tuple(OCCLUDERS)


@dataclass(frozen=True)
class Shot:
    """One image to be taken: ``camera`` is 1..6, ``occluder`` a kind or None, ``index`` counts the images of
    an identity within its test set or the training set."""

    directory: str
    identity: int
    index: int
    camera: int
    occluder: str | None

    @property
    def file_name(self):
        """A name in the manner of Market-1501."""
        return f"{self.identity:04d}_c{self.camera}s1_{self.index + 1:06d}_00.jpg"


def long_tail_counts(identities, mean, head, floor):
    """Images of each identity: a power law from ``head`` down to ``floor`` with a total of identities * mean.

    Count k (from 0) is ``head * (k + 1) ** -a``, not below ``floor``; a is found by bisection.
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


def directories(size):
    """All image directories of a `Size`, the training set first."""
    return (TRAIN, *(name + suffix for suffix in size.test_sets for name in (QUERY, QUERY_OCCLUDED, GALLERY)))


def plan_train(size, seed, long_tail):
    """The shots of the training set; identities 1..train_identities."""
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
            shots.append(Shot(TRAIN, identity, index, camera, kind if covered else None))
    return shots


def plan_test(size, seed, suffix, first_identity):
    """The shots of one test set: its two query sets and the gallery that both of them search.

    The occluder kinds of a person's queries are never those of the person's own gallery images, so that only
    other people share them.
    """
    rng = random_state(seed, "plan", GALLERY + suffix)
    shots = []
    for identity in range(first_identity, first_identity + size.test_identities):
        # Neighbours get other kinds, so that each kind is in front of somebody else whatever the size.
        kinds = [KINDS[(identity + step) % len(KINDS)] for step in range(OCCLUDED_QUERIES + OCCLUDED_GALLERY)]
        parts = (
            (QUERY, [None] * HOLISTIC_QUERIES),
            (QUERY_OCCLUDED, kinds[:OCCLUDED_QUERIES]),
            # The clean gallery images come from all cameras: each query has a match in another camera.
            (GALLERY, [None] * CLEAN_GALLERY + kinds[OCCLUDED_QUERIES:]),
        )
        index = 0
        for directory, occluders in parts:
            for camera, kind in zip(camera_cycle(rng, len(occluders)), occluders, strict=True):
                shots.append(Shot(directory + suffix, identity, index, camera, kind))
                index += 1
    return shots


def camera_cycle(rng, count):
    """``count`` camera numbers (1..6) in random order, as evenly spread as possible."""
    cameras = []
    while len(cameras) < count:
        cameras.extend(int(camera) + 1 for camera in rng.permutation(len(CAMERAS)))
    return cameras[:count]


def plan(size, seed, long_tail):
    """All shots of a `Size`, in the order of the directories; identities are disjoint between the sets."""
    shots = plan_train(size, seed, long_tail)
    first_identity = size.train_identities + 1
    for suffix in size.test_sets:
        shots.extend(plan_test(size, seed, suffix, first_identity))
        first_identity += size.test_identities
    order = {name: place for place, name in enumerate(directories(size))}
    return sorted(shots, key=lambda shot: (order[shot.directory], shot.file_name))
