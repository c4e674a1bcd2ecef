"""Images of the training identities that are kept out of training, to measure how well each of them was learnt."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Item = tuple[str, Any, Any]

HELD_OUT = "HeldOut"  # the test set of the images that DATASETS.HOLD_OUT keeps out of training

# A metric loss needs two images of a person; the sampler would pair a single one with itself.
LEAST_LEFT = 2


@dataclass(frozen=True)
class HoldOut:
    """A training set in two subsets.

    Attributes:
        train: the items that are left for training, in their order.
        held: the items that are held out, by identity.
        skipped: how many identities keep all their images.
    """

    train: list[Item]
    held: list[Item]
    skipped: int


def hold_out(items: Sequence[Item], count: int) -> HoldOut:
    """Hold ``count`` images of every identity out, each of another camera.

    The images follow from the items alone. They come from the cameras that saw the person most often, and of each
    camera it is the first image by name. With a different camera each, every held-out image has ``count - 1``
    matches, whoever it shows, so that frequent and rare identities can be compared. An identity with fewer
    cameras, or of which fewer than 2 images would be left, keeps all its images.

    Args:
        items: (path, identity, camera) of every training image; an image that is listed twice, as by two data sets,
            counts once.
        count: 2 or more.
    """
    images: dict[Any, dict[Any, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, pid, camid in sorted(set(items), key=lambda item: item[0]):
        images[pid][camid].append(path)
    held: list[Item] = []
    skipped = 0
    for pid in sorted(images, key=str):
        cameras = images[pid]
        if len(cameras) < count or sum(map(len, cameras.values())) < count + LEAST_LEFT:
            skipped += 1
            continue
        ordered = sorted(cameras.items(), key=lambda camera: (-len(camera[1]), str(camera[0])))
        held += [(paths[0], pid, camid) for camid, paths in ordered[:count]]
    out = {path for path, _, _ in held}
    return HoldOut([item for item in items if item[0] not in out], held, skipped)


def as_test_items(held: Sequence[Item]) -> list[tuple[str, int, int]]:
    """Number the identities and cameras of training items, which are names, as the items of a test set are."""
    pids = {pid: number for number, pid in enumerate(sorted({item[1] for item in held}, key=str))}
    camids = {camid: number for number, camid in enumerate(sorted({item[2] for item in held}, key=str))}
    return [(path, pids[pid], camids[camid]) for path, pid, camid in held]
