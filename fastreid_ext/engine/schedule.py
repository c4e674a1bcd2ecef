"""Learning-rate schedules in epochs, on FastReID's schedulers."""

from collections.abc import Iterator
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.solver import build_lr_scheduler as host_build_lr_scheduler

from fastreid_ext.engine.checks.listing import raise_together
from fastreid_ext.errors import ConfigError

SCHEDULES = ("MultiStepLR", "CosineAnnealingLR")
WARMUP_METHODS = ("constant", "linear", "exp")


def warmup_iters(cfg: CfgNode, iters_per_epoch: int) -> int:
    """Return the iterations of the warm-up: SOLVER.WARMUP_EPOCHS if it is set, else the host's WARMUP_ITERS."""
    if cfg.SOLVER.WARMUP_EPOCHS > 0:
        return cfg.SOLVER.WARMUP_EPOCHS * iters_per_epoch
    return cfg.SOLVER.WARMUP_ITERS


def schedule_mistakes(cfg: CfgNode, iters_per_epoch: int | None = None) -> Iterator[str]:
    """Yield a sentence for each setting of SOLVER that no schedule can be made of.

    Args:
        cfg: a config whose values are in their ranges.
        iters_per_epoch: of the training set; None = not known yet, so a warm-up in iterations is not judged.
    """
    node = cfg.SOLVER
    if node.WARMUP_EPOCHS > 0:
        epochs, warmup = node.WARMUP_EPOCHS, f"SOLVER.WARMUP_EPOCHS ({node.WARMUP_EPOCHS})"
        advice = "lower WARMUP_EPOCHS, or for none set WARMUP_EPOCHS 0 and WARMUP_ITERS 0"
    else:
        epochs = -(-node.WARMUP_ITERS // iters_per_epoch) if iters_per_epoch else 0
        warmup = f"SOLVER.WARMUP_ITERS ({node.WARMUP_ITERS}, which is {epochs} epochs here)"
        advice = "lower WARMUP_ITERS (0 is no warm-up)"
    if node.SCHED == "CosineAnnealingLR" and node.MAX_EPOCH <= max(epochs, node.DELAY_EPOCHS):
        behind, advice = (warmup, advice) if epochs >= node.DELAY_EPOCHS else ("", "lower DELAY_EPOCHS")
        behind = behind or f"SOLVER.DELAY_EPOCHS ({node.DELAY_EPOCHS})"
        yield (
            f"SOLVER.MAX_EPOCH ({node.MAX_EPOCH}) leaves no epoch after {behind} for the cosine: raise MAX_EPOCH, or"
            f" {advice}"
        )
    if node.WARMUP_EPOCHS > 0 and node.SCHED == "MultiStepLR":
        counted = first_step(cfg)
        early = [step for step in node.STEPS if step < counted]
        if early:
            yield (
                f"SOLVER.STEPS has {early}, inside the warm-up of SOLVER.WARMUP_EPOCHS = {node.WARMUP_EPOCHS}"
                f" epochs (DELAY_EPOCHS {node.DELAY_EPOCHS}); with WARMUP_EPOCHS the steps count from the start"
                f" of the run: the first may be {counted}"
            )


def first_step(cfg: CfgNode) -> int:
    """Return the first epoch that may be one of SOLVER.STEPS, with SOLVER.WARMUP_EPOCHS."""
    return max(cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.DELAY_EPOCHS + 1)


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
    raise_together(schedule_mistakes(cfg, iters_per_epoch))
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.WARMUP_ITERS = warmup_iters(cfg, iters_per_epoch)
    if cfg.SOLVER.WARMUP_EPOCHS > 0 and cfg.SOLVER.SCHED == "MultiStepLR":
        cfg.SOLVER.STEPS = [step - first_step(cfg) + 1 for step in cfg.SOLVER.STEPS]
    return host_build_lr_scheduler(cfg, optimizer, iters_per_epoch)
