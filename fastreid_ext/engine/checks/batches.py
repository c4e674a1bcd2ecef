"""Checks that batches can be drawn: from the config alone, then from the training set."""

from fastreid.config import CfgNode

from fastreid_ext.data.batches import IDENTITY_SAMPLERS, PAIR_SAMPLER, SAMPLERS, Items
from fastreid_ext.data.pairs import check_pairable, positive_share_of
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.augmentation_table import sampled_per_batch


def check_batches(cfg: CfgNode, world_size: int) -> None:
    """Check that SOLVER.IMS_PER_BATCH makes batches that the sampler can draw on each of the processes.

    Raises:
        ConfigError: a sampler that does not exist, or numbers that do not fit each other.
    """
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    sampler, pairs = cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.PAIRS
    if sampler not in SAMPLERS:
        raise ConfigError(f"DATALOADER.SAMPLER_TRAIN is {sampler!r}; this trainer has {sorted(SAMPLERS)}")
    sampled = sampled_per_batch(cfg)
    what = f"SOLVER.IMS_PER_BATCH {batch} on {world_size}"
    if sampled != batch:
        what = f"{sampled} sampled for {what}"
    if sampled % world_size:
        raise ConfigError(f"a batch ({what}) can't be divided evenly among the {world_size} processes")
    per_process = sampled // world_size
    if sampler in IDENTITY_SAMPLERS and per_process % instances:
        raise ConfigError(
            f"{per_process} images per batch and process ({what})"
            f" are not a multiple of DATALOADER.NUM_INSTANCE ({instances})"
        )
    if sampler in IDENTITY_SAMPLERS and per_process < 2 * instances:
        raise ConfigError(
            f"{per_process} images per batch and process ({what}) show"
            f" one identity only (DATALOADER.NUM_INSTANCE {instances}); a batch needs two to compare"
        )
    if sampler == PAIR_SAMPLER:
        if per_process % 2:
            raise ConfigError(
                f"{per_process} images per batch and process ({what}) are not whole pairs: PairSampler needs an even"
                " number"
            )
        positive_share_of(0, pairs.POSITIVE_SHARE, pairs.NEGATIVE_ANNEAL)


def check_training_set(cfg: CfgNode, items: Items, world_size: int) -> None:
    """Check that the training set can fill a batch.

    Raises:
        ConfigError: fewer images or identities than a batch needs, no pairs, or a NUM_CLASSES of another set.
    """
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    sampled = sampled_per_batch(cfg)
    copies = batch // sampled
    identities = len({pid for _, pid, _ in items})
    if len(items) < sampled:
        raise ConfigError(
            f"the training set has {len(items)} images, fewer than the {sampled} of one batch (SOLVER.IMS_PER_BATCH"
            f" {batch})"
        )
    needed = sampled // instances
    if cfg.DATALOADER.SAMPLER_TRAIN in IDENTITY_SAMPLERS and identities < needed:
        raise ConfigError(
            f"the training set has {identities} identities, but a batch of {sampled} with {instances} images each"
            f" needs {needed}: lower SOLVER.IMS_PER_BATCH to"
            f" {identities // world_size * world_size * instances * copies} or raise DATALOADER.NUM_INSTANCE"
        )
    if cfg.DATALOADER.SAMPLER_TRAIN == PAIR_SAMPLER:
        try:
            check_pairable(items)
        except ConfigError as error:
            raise ConfigError(f"DATALOADER.SAMPLER_TRAIN is PairSampler, but {error}") from error
    classes = cfg.MODEL.HEADS.NUM_CLASSES
    if classes not in (0, identities):
        raise ConfigError(
            f"MODEL.HEADS.NUM_CLASSES is {classes} but the training set has {identities} identities; leave it at 0"
        )
