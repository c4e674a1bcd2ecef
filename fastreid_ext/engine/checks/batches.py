"""Checks that batches can be drawn: from the config alone, then from the training set."""

from collections.abc import Iterator

from fastreid.config import CfgNode

from fastreid_ext.data.batches import IDENTITY_SAMPLERS, PAIR_SAMPLER, Items
from fastreid_ext.data.pairs import check_pairable
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.augmentation_table import sampled_per_batch

NEEDS_POSITIVES = frozenset({"BoundedExponentialDistanceLoss"})  # it stops at a batch without a positive pair


def batch_mistakes(cfg: CfgNode, world_size: int) -> Iterator[str]:
    """Yield a sentence for each reason why SOLVER.IMS_PER_BATCH makes no batches on each of the processes."""
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    sampler = cfg.DATALOADER.SAMPLER_TRAIN
    try:
        sampled = sampled_per_batch(cfg)
    except ConfigError as error:
        yield str(error)
        return
    what = f"SOLVER.IMS_PER_BATCH {batch} on {world_size}"
    if sampled != batch:
        what = f"{sampled} sampled for {what}"
    if sampled % world_size:
        yield f"a batch ({what}) can't be divided evenly among the {world_size} processes"
        return
    per_process, parts = sampled // world_size, cfg.SOLVER.ACCUMULATION
    if per_process % parts:
        yield (
            f"{per_process} images per batch and process ({what}) can't be divided into {parts} equal parts: set"
            " SOLVER.ACCUMULATION to a divisor"
        )
        return
    per_process, unit = per_process // parts, "batch and process"
    if parts > 1:
        unit, what = "part of a batch", f"{what}, in {parts} parts by SOLVER.ACCUMULATION"
    if sampler in IDENTITY_SAMPLERS and per_process % instances:
        yield f"{per_process} images per {unit} ({what}) are not a multiple of DATALOADER.NUM_INSTANCE ({instances})"
    elif sampler in IDENTITY_SAMPLERS and per_process < 2 * instances:
        yield (
            f"{per_process} images per {unit} ({what}) show"
            f" one identity only (DATALOADER.NUM_INSTANCE {instances}); two are needed to compare"
        )
    elif sampler == PAIR_SAMPLER and per_process % 2:
        yield f"{per_process} images per {unit} ({what}) are not whole pairs: PairSampler needs an even number"
    elif per_process < 2:
        yield (
            f"one image per {unit} ({what}) has no statistics for batch norm and nothing to be compared"
            f" with: set SOLVER.IMS_PER_BATCH to {2 * world_size * parts * (batch // sampled)} or more"
        )
    if NEEDS_POSITIVES & set(cfg.MODEL.LOSSES.NAME) and sampler == "TrainingSampler":
        (name,) = NEEDS_POSITIVES
        yield (
            f"{name} compares images of one identity, and the batches of DATALOADER.SAMPLER_TRAIN {sampler} may have no"
            " two: set NaiveIdentitySampler"
        )


def check_training_set(cfg: CfgNode, items: Items, world_size: int) -> None:
    """Check that the training set can fill a batch.

    Raises:
        ConfigError: fewer images or identities than a batch needs, no pairs, or a NUM_CLASSES of another set.
    """
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    sampled = sampled_per_batch(cfg)
    copies = batch // sampled
    identities = len({pid for _, pid, _ in items})
    if identities < 2 and cfg.DATALOADER.SAMPLER_TRAIN != PAIR_SAMPLER:
        raise ConfigError(
            f"the training set has {len(items)} images of {identities} identity, and nobody to tell it from: train on"
            " two people or more"
        )
    if len(items) < sampled:
        raise ConfigError(
            f"the training set has {len(items)} images, fewer than the {sampled} of one batch (SOLVER.IMS_PER_BATCH"
            f" {batch})"
        )
    needed = sampled // instances
    if cfg.DATALOADER.SAMPLER_TRAIN in IDENTITY_SAMPLERS and identities < needed:
        parts = cfg.SOLVER.ACCUMULATION
        fitting = identities // world_size // parts  # in each part of a process's batch, which needs two
        if fitting < 2:
            raise ConfigError(
                f"the training set has {identities} {'identity' if identities == 1 else 'identities'}, and each of"
                f" {world_size} process{'es' if world_size > 1 else ''} needs two in"
                f" {f'each of the {parts} parts of ' if parts > 1 else ''}a batch to compare: train on more people"
                f"{', or lower SOLVER.ACCUMULATION' if parts > 1 else ''}"
            )
        most = fitting * parts * world_size * instances * copies
        raise ConfigError(
            f"the training set has {identities} identities, but a batch of {sampled} with {instances} images each"
            f" needs {needed}: lower SOLVER.IMS_PER_BATCH to {most} or raise DATALOADER.NUM_INSTANCE"
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
