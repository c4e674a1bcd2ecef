"""Config keys that all projects of this kind share."""

from fastreid.config import CfgNode

from fastreid_ext.modeling.augmentation_table import add_augmentation_config
from fastreid_ext.modeling.loss_table import add_losses_config


def add_shared_config(cfg: CfgNode) -> None:
    """Add the nodes of the losses and batch augmentations, and the warm-up in epochs."""
    add_losses_config(cfg)
    add_augmentation_config(cfg)
    # Warm-up in epochs. With it STEPS count epochs from the start of the run, as papers do; 0 leaves FastReID's
    # WARMUP_ITERS, with which they count from the end of the warm-up
    cfg.SOLVER.WARMUP_EPOCHS = 0
