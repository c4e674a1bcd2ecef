"""FastReID's trainer with a warm-up in epochs."""

from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from fastreid.solver import build_lr_scheduler, build_optimizer
from torch import nn


class Trainer(DefaultTrainer):
    """Warm-up by SOLVER.WARMUP_EPOCHS; each parameter stays a tensor of its own, so gradients are clipped one by one.

    Args:
        cfg: a config with the keys of the project.
    """

    def __init__(self, cfg: CfgNode):
        super().__init__(cfg)
        if cfg.SOLVER.WARMUP_EPOCHS > 0:
            self.warmup_iters = cfg.SOLVER.WARMUP_EPOCHS * self.iters_per_epoch

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> tuple[torch.optim.Optimizer, Any]:
        """Build FastReID's optimiser without flat buffers."""
        return build_optimizer(cfg, model, contiguous=False)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int) -> dict[str, Any]:
        """Build FastReID's schedule; with SOLVER.WARMUP_EPOCHS the epochs of SOLVER.STEPS count from the start."""
        warmup = cfg.SOLVER.WARMUP_EPOCHS
        if warmup > 0:
            cfg = cfg.clone()
            cfg.defrost()
            cfg.SOLVER.WARMUP_ITERS = warmup * iters_per_epoch
            first = max(warmup, cfg.SOLVER.DELAY_EPOCHS + 1)
            if cfg.SOLVER.SCHED == "MultiStepLR":
                cfg.SOLVER.STEPS = [step - first + 1 for step in cfg.SOLVER.STEPS]
        return build_lr_scheduler(cfg, optimizer, iters_per_epoch)
