"""Checks of a config as a whole, without data and model, and of the settings of FastReID's own models."""

from fastreid.config import CfgNode

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.batches import check_batches
from fastreid_ext.engine.checks.evaluation import check_evaluation
from fastreid_ext.engine.checks.machine import check_device
from fastreid_ext.errors import ConfigError

HOST_LOSSES = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface")


def check_config(cfg: CfgNode, world_size: int) -> None:
    """Check what can be checked without data and model.

    Raises:
        ConfigError: a combination that can't work.
    """
    check_device(cfg)
    counts = {
        "SOLVER.MAX_EPOCH": cfg.SOLVER.MAX_EPOCH,
        "SOLVER.CHECKPOINT_PERIOD": cfg.SOLVER.CHECKPOINT_PERIOD,
        "SOLVER.IMS_PER_BATCH": cfg.SOLVER.IMS_PER_BATCH,
        "DATALOADER.NUM_INSTANCE": cfg.DATALOADER.NUM_INSTANCE,
    }
    for key, value in counts.items():
        if value < 1:
            raise ConfigError(f"{key} is {value} and must be 1 or more")
    for key in ("SIZE_TRAIN", "SIZE_TEST"):
        size = list(cfg.INPUT[key])
        if len(size) not in (1, 2) or not all(isinstance(side, int) and side > 0 for side in size):
            raise ConfigError(f"INPUT.{key} is {size} and must be height and width in pixels, such as [256, 128]")
    if cfg.DATALOADER.NUM_WORKERS < 0:
        raise ConfigError(f"DATALOADER.NUM_WORKERS is {cfg.DATALOADER.NUM_WORKERS} and must be 0 or more")
    if not cfg.DATASETS.NAMES or not cfg.DATASETS.TESTS:
        raise ConfigError("DATASETS.NAMES and DATASETS.TESTS must each name a data set, such as ('Market1501',)")
    check_batches(cfg, world_size)
    default_iters = get_cfg().SOLVER.WARMUP_ITERS
    if cfg.SOLVER.WARMUP_EPOCHS > 0 and cfg.SOLVER.WARMUP_ITERS != default_iters:
        raise ConfigError(
            f"SOLVER.WARMUP_EPOCHS ({cfg.SOLVER.WARMUP_EPOCHS}) and SOLVER.WARMUP_ITERS ({cfg.SOLVER.WARMUP_ITERS})"
            " both set the warm-up: remove one, or set WARMUP_EPOCHS 0"
        )
    check_evaluation(cfg)


def check_host_model(cfg: CfgNode) -> None:
    """Check losses and batch augmentation of FastReID's own meta-architectures, which ignore unknown names.

    Raises:
        ConfigError: no loss, a loss that FastReID does not know, or a batch augmentation.
    """
    names = list(cfg.MODEL.LOSSES.NAME)
    unknown = [name for name in names if name not in HOST_LOSSES]
    if unknown or not names:
        raise ConfigError(
            f"MODEL.LOSSES.NAME is {tuple(names)}; FastReID's {cfg.MODEL.META_ARCHITECTURE} knows {HOST_LOSSES} and"
            " silently ignores everything else"
        )
    if cfg.INPUT.BATCH_AUGMENT.NAME:
        raise ConfigError(
            f"INPUT.BATCH_AUGMENT.NAME is {list(cfg.INPUT.BATCH_AUGMENT.NAME)}, which FastReID's own"
            f" {cfg.MODEL.META_ARCHITECTURE} does not apply: empty it, or use INPUT.REA"
        )
