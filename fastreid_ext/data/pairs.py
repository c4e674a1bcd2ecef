"""Batches of pairs, for models that learn whether two images show the same person.

Zheng et al., A Discriminatively Learned CNN Embedding for Person Re-identification, 2017; Cao and Lee, Improved Res2Net
model for person re-identification, section III.B.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastreid_ext.errors import ConfigError

MOST_NEGATIVES = 4.0  # for one positive pair, where the original siamese work ends


class PairSampler:
    """Endless indices of one process, in which 2i and 2i + 1 are the anchor and the partner of a pair.

    Anchors are all images in random order. The partner of a positive pair is another image of the same identity, from
    another camera when there is one; that of a negative pair is any image of another identity, with equal chance. In
    any run of pairs the share of positive ones is exact to within one pair: an anchor whose identity has no other
    image waits for the next negative pair. All processes draw the same pairs from the seed, and each takes whole ones.

    Args:
        items: (path, identity, camera) of every training image; an image that is listed twice is never its own partner.
        batch_size: images per batch on this process; even.
        seed: of all that is drawn.
        positive_share: of the pairs, from 0 to 1.
        rank, world_size: this process, and how many there are.

    Raises:
        ConfigError: an odd batch, a share outside [0, 1], or what :func:`check_pairable` finds.
    """

    def __init__(
        self,
        items: Sequence[tuple[str, Any, Any]],
        batch_size: int,
        seed: int,
        positive_share: float = 0.5,
        rank: int = 0,
        world_size: int = 1,
    ):
        if batch_size < 2 or batch_size % 2:
            raise ConfigError(f"a batch of pairs needs an even number of images, got {batch_size}")
        if not 0 <= positive_share <= 1:
            raise ConfigError(f"the share of positive pairs must lie in [0, 1], got {positive_share}")
        check_pairable(items)
        self.per_batch = batch_size // 2
        self.seed = seed
        self.positive_share = positive_share
        self.rank, self.world_size = rank, world_size
        paths, pids, cameras = (_numbered([item[column] for item in items]) for column in range(3))
        self.paths, self.pids, self.cameras = paths, pids, cameras
        # Images by identity: those of identity p are by_pid[starts[p] : starts[p + 1]].
        self.by_pid = np.argsort(pids, kind="stable")
        self.starts = np.searchsorted(pids[self.by_pid], np.arange(pids.max() + 2))
        images = [len(set(paths[self._of(pid)])) for pid in range(pids.max() + 1)]
        self.has_partner = np.array(images)[pids] > 1

    def __iter__(self) -> Iterator[int]:
        for number, pair in enumerate(self._pairs()):
            if number // self.per_batch % self.world_size == self.rank:
                yield from pair

    def _pairs(self) -> Iterator[tuple[int, int]]:
        """Yield the pairs of all processes."""
        rng = np.random.RandomState(self.seed)
        anchors = itertools.chain.from_iterable(rng.permutation(len(self.pids)) for _ in itertools.count())
        waiting: deque[int] = deque()
        for number in itertools.count():
            if _rises(number, self.positive_share):
                for anchor in anchors:
                    if self.has_partner[anchor]:
                        break
                    waiting.append(anchor)
                yield int(anchor), int(self._positive(anchor, rng))
            else:
                anchor = waiting.popleft() if waiting else next(anchors)
                yield int(anchor), int(self._negative(anchor, rng))

    def _of(self, pid: int) -> np.ndarray:
        return self.by_pid[self.starts[pid] : self.starts[pid + 1]]

    def _positive(self, anchor: int, rng: np.random.RandomState) -> int:
        same = self._of(self.pids[anchor])
        same = same[self.paths[same] != self.paths[anchor]]
        elsewhere = same[self.cameras[same] != self.cameras[anchor]]
        candidates = elsewhere if len(elsewhere) else same
        return candidates[rng.randint(len(candidates))]

    def _negative(self, anchor: int, rng: np.random.RandomState) -> int:
        first, end = self.starts[self.pids[anchor]], self.starts[self.pids[anchor] + 1]
        place = rng.randint(len(self.pids) - (end - first))
        return self.by_pid[place if place < first else place + (end - first)]  # past the anchor's own identity


def check_pairable(items: Sequence[tuple[str, Any, Any]]) -> None:
    """Check that a training set has both kinds of pairs.

    Raises:
        ConfigError: one identity only, or none with two images.
    """
    pids = {item[1] for item in items}
    if len(pids) < 2:
        raise ConfigError(
            f"pairs need two identities or more, but all {len(items)} images of the training set show the same one"
        )
    if len({item[:2] for item in items}) == len(pids):
        raise ConfigError(f"pairs need an identity with two images, but each of the {len(pids)} identities has one")


def positive_share_of(epoch: int, first: float = 0.5, negative_growth: float = 1.0) -> float:
    """Return the share of positive pairs in an epoch.

    For every positive pair there are (1 - first) / first negative ones in epoch 0, ``negative_growth`` times as many in
    each epoch after that, and no more than four, if there were not more at first. Zheng et al. go from 1:1 by 1.01 to
    1:4, which epoch 140 reaches.

    Args:
        epoch: counted from 0.
        first: share in epoch 0, above 0 and below 1.
        negative_growth: 1 or more; 1 keeps the share.

    Raises:
        ConfigError: a setting outside its range.
    """
    if not 0 < first < 1:
        raise ConfigError(f"DATALOADER.PAIRS.POSITIVE_SHARE must be above 0 and below 1, got {first}")
    if not (negative_growth >= 1 and math.isfinite(negative_growth)):
        raise ConfigError(f"DATALOADER.PAIRS.NEGATIVE_ANNEAL must be 1 or more, got {negative_growth}")
    negatives = (1 - first) / first
    most = max(MOST_NEGATIVES, negatives)
    # As logarithms, so that no number of epochs overflows.
    grown = math.log(negatives) + epoch * math.log(negative_growth)
    return first if negative_growth == 1 else 1 / (1 + math.exp(min(grown, math.log(most))))


def _rises(number: int, share: float) -> bool:
    """Return whether share * number passes a whole number on the way to number + 1."""
    count = lambda n: math.floor(share * n + 1e-9)  # noqa: E731  a product like 0.29 * 100 is just below its number
    return count(number + 1) > count(number)


def _numbered(names: Sequence[Any]) -> np.ndarray:
    """Number names from 0 in sorted order, which is the same in every process."""
    numbers = {name: number for number, name in enumerate(sorted(set(names), key=str))}
    return np.array([numbers[name] for name in names])
