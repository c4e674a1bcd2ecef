"""Training batches as a function of (seed, epoch): the key to runs that can be repeated and resumed."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from fastreid.data import samplers

Items = Sequence[tuple[str, Any, Any]]

# DATALOADER.SAMPLER_TRAIN -> (items, images per batch and rank, NUM_INSTANCE, seed) -> endless indices of this rank.
# The host's SetReWeightSampler and ImbalancedDatasetSampler are left out: the one raises in its first batch,
# the other ignores its seed and gives every rank other images.
SAMPLERS: dict[str, Callable[[Items, int, int, int], Any]] = {
    "TrainingSampler": lambda items, batch, instances, seed: samplers.TrainingSampler(len(items), seed=seed),
    "NaiveIdentitySampler": lambda items, batch, instances, seed: samplers.NaiveIdentitySampler(
        items, batch, instances, seed=seed
    ),
    "BalancedIdentitySampler": lambda items, batch, instances, seed: samplers.BalancedIdentitySampler(
        items, batch, instances, seed=seed
    ),
}
IDENTITY_SAMPLERS = frozenset({"NaiveIdentitySampler", "BalancedIdentitySampler"})


class EpochBatches:
    """An endless batch sampler: every epoch is drawn anew from (seed, epoch), every image carries its own seed.

    A run that starts at epoch e gets the very batches that a run from epoch 0 would get there, so nothing of the
    sampler or the loader workers has to be saved.

    Args:
        items: (path, identity, camera) of every training image.
        sampler: name in ``SAMPLERS``.
        batch_size: images per batch on this rank.
        num_instances: images per identity in a batch, for the identity samplers.
        iters_per_epoch: batches of an epoch.
        seed: the run's seed.
        rank: this process; ranks draw different augmentation.
    """

    def __init__(
        self,
        items: Items,
        sampler: str,
        batch_size: int,
        num_instances: int,
        iters_per_epoch: int,
        seed: int,
        rank: int = 0,
    ):
        self.items = items
        self.sampler = sampler
        self.batch_size = batch_size
        self.num_instances = num_instances
        self.iters_per_epoch = iters_per_epoch
        self.seed = seed
        self.rank = rank
        self.start_epoch = 0

    def epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Return the batches of an epoch, each a list of (image index, seed of its augmentation)."""
        shared, own = (
            np.random.SeedSequence([self.seed, epoch]),
            np.random.SeedSequence([self.seed, epoch, 1 + self.rank]),
        )
        count = self.iters_per_epoch * self.batch_size
        state = np.random.get_state()  # the host's samplers seed and use NumPy's global generator
        try:
            endless = SAMPLERS[self.sampler](
                self.items, self.batch_size, self.num_instances, int(shared.generate_state(1)[0])
            )
            indices = [int(i) for i in itertools.islice(iter(endless), count)]
        finally:
            np.random.set_state(state)
        keyed = list(zip(indices, (int(s) for s in own.generate_state(count)), strict=True))
        return [keyed[i : i + self.batch_size] for i in range(0, count, self.batch_size)]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for epoch in itertools.count(self.start_epoch):
            yield from self.epoch(epoch)
