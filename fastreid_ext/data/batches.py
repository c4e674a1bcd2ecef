"""Training batches as a function of (seed, epoch): the key to runs that can be repeated and resumed."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, SupportsInt

import numpy as np
from fastreid.data import samplers
from fastreid.utils import comm

from fastreid_ext.data.pairs import PairSampler, positive_share_of

Items = Sequence[tuple[str, Any, Any]]

# DATALOADER.SAMPLER_TRAIN -> (items, images per batch and rank, NUM_INSTANCE, seed, share of positive pairs) -> endless
# indices of this rank. Identity samplers read NUM_INSTANCE, the pair sampler the share.
# The host's SetReWeightSampler and ImbalancedDatasetSampler are left out: the one raises in its first batch,
# the other ignores its seed and gives every rank other images.
SAMPLERS: dict[str, Callable[[Items, int, int, int, float], Any]] = {
    "TrainingSampler": lambda items, batch, instances, seed, share: samplers.TrainingSampler(len(items), seed=seed),
    "NaiveIdentitySampler": lambda items, batch, instances, seed, share: samplers.NaiveIdentitySampler(
        items, batch, instances, seed=seed
    ),
    "BalancedIdentitySampler": lambda items, batch, instances, seed, share: samplers.BalancedIdentitySampler(
        items, batch, instances, seed=seed
    ),
    "PairSampler": lambda items, batch, instances, seed, share: PairSampler(
        items, batch, seed, share, comm.get_rank(), comm.get_world_size()
    ),
}
IDENTITY_SAMPLERS = frozenset({"NaiveIdentitySampler", "BalancedIdentitySampler"})
# Of a batch on another device than the CPU: its targets as numbers, which are read without a wait for the device.
TARGETS_ON_CPU = "targets_on_cpu"
PAIR_SAMPLER = "PairSampler"


class EpochBatches:
    """An endless batch sampler: every epoch is drawn anew from (seed, epoch), every image carries its own seed.

    A run that starts at epoch e gets the very batches that a run from epoch 0 would get there, so no state of the
    sampler or the loader workers has to be saved.

    Args:
        items: (path, identity, camera) of every training image.
        sampler: name in ``SAMPLERS``.
        batch_size: images per batch on this rank.
        num_instances: images per identity in a batch, for the identity samplers.
        iters_per_epoch: batches of an epoch.
        seed: the run's; an object with ``int()`` is asked as each epoch is drawn.
        rank: this process; ranks draw different augmentation.
        positive_share: epoch -> share of positive pairs, for the pair sampler.
    """

    def __init__(
        self,
        items: Items,
        sampler: str,
        batch_size: int,
        num_instances: int,
        iters_per_epoch: int,
        seed: SupportsInt,
        rank: int = 0,
        positive_share: Callable[[int], float] = positive_share_of,
    ):
        self.items = items
        self.sampler = sampler
        self.batch_size = batch_size
        self.num_instances = num_instances
        self.iters_per_epoch = iters_per_epoch
        self.seed = seed
        self.rank = rank
        self.positive_share = positive_share
        self.start_epoch = 0

    def epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Return the batches of an epoch, each a list of (image index, seed of its augmentation)."""
        seed = int(self.seed)
        shared, own = (np.random.SeedSequence(keys) for keys in ([seed, epoch], [seed, epoch, 1 + self.rank]))
        count = self.iters_per_epoch * self.batch_size
        state = np.random.get_state()  # the host's samplers seed and use NumPy's global generator
        try:
            endless = SAMPLERS[self.sampler](
                self.items,
                self.batch_size,
                self.num_instances,
                int(shared.generate_state(1)[0]),
                self.positive_share(epoch),
            )
            indices = [int(i) for i in itertools.islice(iter(endless), count)]
        finally:
            np.random.set_state(state)
        keyed = list(zip(indices, (int(s) for s in own.generate_state(count)), strict=True))
        return [keyed[i : i + self.batch_size] for i in range(0, count, self.batch_size)]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for epoch in itertools.count(self.start_epoch):
            yield from self.epoch(epoch)
