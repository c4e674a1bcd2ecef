"""Learning-rate schedules in epochs, on FastReID's schedulers."""

from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.solver import build_lr_scheduler as host_build_lr_scheduler

from fastreid_ext.errors import ConfigError

SCHEDULES = ("MultiStepLR", "CosineAnnealingLR")
WARMUP_METHODS = ("constant", "linear", "exp")


def warmup_iters(cfg: CfgNode, iters_per_epoch: int) -> int:
    """Return the iterations of the warm-up: SOLVER.WARMUP_EPOCHS if it is set, else the host's WARMUP_ITERS."""
    if cfg.SOLVER.WARMUP_EPOCHS > 0:
        return cfg.SOLVER.WARMUP_EPOCHS * iters_per_epoch
    return cfg.SOLVER.WARMUP_ITERS


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int) -> dict[str, Any]:
    """Return {"lr_sched": per epoch, "warmup_sched": per iteration} as FastReID's trainer wants them.

    The host counts epochs from the last one of the warm-up (and of DELAY_EPOCHS). With SOLVER.WARMUP_EPOCHS,
    SOLVER.STEPS are epochs from the start of the run, as papers write them, and are shifted here: a step of 40
    means that epochs 0 to 39 are trained with the higher rate.

    Raises:
        ConfigError: an unknown schedule or warm-up, a warm-up as long as the run, or a step inside the warm-up.
    """
    if cfg.SOLVER.SCHED not in SCHEDULES:
        raise ConfigError(f"SOLVER.SCHED must be one of {SCHEDULES}, got {cfg.SOLVER.SCHED!r}")
    if cfg.SOLVER.WARMUP_METHOD not in WARMUP_METHODS:
        raise ConfigError(f"SOLVER.WARMUP_METHOD must be one of {WARMUP_METHODS}, got {cfg.SOLVER.WARMUP_METHOD!r}")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.WARMUP_ITERS = warmup_iters(cfg, iters_per_epoch)
    warmup_epochs = -(-cfg.SOLVER.WARMUP_ITERS // iters_per_epoch)
    if cfg.SOLVER.SCHED == "CosineAnnealingLR" and cfg.SOLVER.MAX_EPOCH <= max(warmup_epochs, cfg.SOLVER.DELAY_EPOCHS):
        raise ConfigError(
            f"SOLVER.MAX_EPOCH ({cfg.SOLVER.MAX_EPOCH}) leaves no epoch after the warm-up of {warmup_epochs} epochs"
            f" and DELAY_EPOCHS ({cfg.SOLVER.DELAY_EPOCHS}): raise MAX_EPOCH, or lower WARMUP_EPOCHS / WARMUP_ITERS"
        )
    if cfg.SOLVER.WARMUP_EPOCHS > 0 and cfg.SOLVER.SCHED == "MultiStepLR":
        counted = max(cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.DELAY_EPOCHS + 1)  # the first epoch that may be a step
        early = [step for step in cfg.SOLVER.STEPS if step < counted]
        if early:
            raise ConfigError(
                f"SOLVER.STEPS has {early}, inside the warm-up of SOLVER.WARMUP_EPOCHS = {cfg.SOLVER.WARMUP_EPOCHS}"
                f" epochs (DELAY_EPOCHS {cfg.SOLVER.DELAY_EPOCHS}); with WARMUP_EPOCHS the steps count from the start"
                " of the run"
            )
        cfg.SOLVER.STEPS = [step - counted + 1 for step in cfg.SOLVER.STEPS]
    return host_build_lr_scheduler(cfg, optimizer, iters_per_epoch)
