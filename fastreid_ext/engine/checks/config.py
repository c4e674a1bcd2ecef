"""Checks of a config as a whole, without data and model; all that is wrong is said at once."""

from collections.abc import Callable, Iterator

from fastreid.config import CfgNode
from fastreid.config.defaults import _C as host_defaults

from fastreid_ext.engine.checks.batches import batch_mistakes
from fastreid_ext.engine.checks.compiler import compiler_mistakes
from fastreid_ext.engine.checks.effects import without_effect
from fastreid_ext.engine.checks.evaluation import evaluation_mistakes
from fastreid_ext.engine.checks.listing import raise_together
from fastreid_ext.engine.checks.machine import device_mistakes
from fastreid_ext.engine.checks.names import (
    dataset_mistakes,
    host_model_mistakes,
    is_hosts_model,
    loss_mistakes,
    pooling_mistakes,
)
from fastreid_ext.engine.checks.paths import path_mistakes
from fastreid_ext.engine.checks.ranges import out_of_range
from fastreid_ext.engine.csv_sets import csv_set_mistakes
from fastreid_ext.engine.key_tracking import below
from fastreid_ext.engine.schedule import schedule_mistakes


def check_config(cfg: CfgNode, world_size: int) -> None:
    """Check what can be checked without data and model.

    Raises:
        ConfigError: values out of range, combinations that can't work, and keys without effect.
    """
    raise_together(mistakes(cfg, world_size))


def mistakes(cfg: CfgNode, world_size: int) -> Iterator[str]:
    """Yield a sentence for each mistake; a combination of keys is checked if each of them is in its range."""
    wrong = dict(out_of_range(cfg))
    yield from wrong.values()
    combinations: tuple[tuple[tuple[str, ...], Callable[[CfgNode], Iterator[str]]], ...] = (
        ((), device_mistakes),
        (("SOLVER.COMPILE",), compiler_mistakes),
        ((), path_mistakes),
        ((), dataset_mistakes),
        (("DATASETS.CSV", "DATASETS.NAMES", "DATASETS.TESTS"), csv_set_mistakes),
        (("MODEL.META_ARCHITECTURE",), loss_mistakes),
        (("MODEL.META_ARCHITECTURE", "MODEL.QUEUE_SIZE", "SOLVER.IMS_PER_BATCH"), host_model_mistakes),
        (("MODEL.META_ARCHITECTURE", "INPUT.BATCH_AUGMENT"), augmentation_mistakes),
        (("MODEL.HEADS.POOL_LAYER", "MODEL.BACKBONE.NAME"), pooling_mistakes),
        (("INPUT",), input_mistakes),
        (("SOLVER.IMS_PER_BATCH", "DATALOADER", "INPUT.BATCH_AUGMENT"), lambda cfg: batch_mistakes(cfg, world_size)),
        (("SOLVER",), solver_mistakes),
        (("SOLVER",), schedule_mistakes),
        (("MODEL.BACKBONE.NORM", "MODEL.HEADS.NORM"), norm_mistakes),
        (("TEST", "DATASETS"), evaluation_mistakes),
        (("SOLVER", "MODEL", "INPUT", "DATALOADER", "TEST", "KD"), without_effect),
    )
    for nodes, check in combinations:
        if not any(below(key, nodes) for key in wrong):
            yield from check(cfg)


def input_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each setting of INPUT that makes no batch."""
    for key in ("SIZE_TRAIN", "SIZE_TEST"):
        size = list(cfg.INPUT[key])
        if len(size) == 1 and not cfg.INPUT.CROP.ENABLED:
            yield (
                f"INPUT.{key} is {size}, the shorter side, and images of several shapes make no batch: give height and"
                " width, such as [256, 128], or set INPUT.CROP.ENABLED True"
            )
    node, side = cfg.INPUT.PADDING, min(cfg.INPUT.SIZE_TRAIN)
    if node.ENABLED and node.MODE in ("reflect", "symmetric") and node.SIZE >= side:
        yield (
            f"INPUT.PADDING.SIZE is {node.SIZE} and must be below the {side} pixels of INPUT.SIZE_TRAIN, which"
            f" INPUT.PADDING.MODE {node.MODE} mirrors"
        )


def solver_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each pair of settings of SOLVER that contradict each other."""
    node, default_iters = cfg.SOLVER, host_defaults.SOLVER.WARMUP_ITERS
    if node.WARMUP_EPOCHS > 0 and node.WARMUP_ITERS not in (0, default_iters):
        yield (
            f"SOLVER.WARMUP_EPOCHS ({node.WARMUP_EPOCHS}) and SOLVER.WARMUP_ITERS ({node.WARMUP_ITERS}) both set the"
            " warm-up: set one of them to 0"
        )
    if node.SCHED == "CosineAnnealingLR" and node.ETA_MIN_LR > node.BASE_LR:
        yield (
            f"SOLVER.ETA_MIN_LR ({node.ETA_MIN_LR:g}), where the cosine ends, is above SOLVER.BASE_LR"
            f" ({node.BASE_LR:g}), where it begins"
        )
    if node.OPT == "SGD" and node.NESTEROV and not node.MOMENTUM:
        yield "SOLVER.NESTEROV needs a SOLVER.MOMENTUM above 0"


def norm_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for a norm that needs GPUs."""
    for key in ("BACKBONE", "HEADS"):
        if cfg.MODEL[key].NORM == "syncBN" and not cfg.MODEL.DEVICE.startswith("cuda"):
            yield f"MODEL.{key}.NORM is syncBN, which torch has for GPUs only: set BN"


def augmentation_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence if a model of FastReID's should augment whole batches, which it does not."""
    if cfg.INPUT.BATCH_AUGMENT.NAME and is_hosts_model(cfg):
        yield (
            f"INPUT.BATCH_AUGMENT.NAME is {list(cfg.INPUT.BATCH_AUGMENT.NAME)}, which FastReID's own"
            f" {cfg.MODEL.META_ARCHITECTURE} does not apply: empty it, or use INPUT.REA"
        )
