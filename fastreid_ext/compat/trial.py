"""FastReID's trainer without data, model and files, for the probes."""

import importlib
import types
from typing import Any

import torch

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.probing import swapped

__all__ = ["trial_trainer"]

config = HostModule("fastreid.config")


def trial_trainer(world_size: int, grad_scaler: Any = None) -> Any:
    """Build a DefaultTrainer whose parts are stand-ins: an empty model on the CPU, one batch, and no hooks.

    Args:
        world_size: how many processes it believes in; this one is rank 0.
        grad_scaler: the inner trainer's.
    """
    module = importlib.import_module("fastreid.engine.defaults")
    inner = types.SimpleNamespace(grad_scaler=grad_scaler)

    class Trainer(module.DefaultTrainer):
        def build_train_loader(self, cfg):
            return types.SimpleNamespace(dataset=_OneBatch(cfg.SOLVER.IMS_PER_BATCH))

        def auto_scale_hyperparams(self, cfg, num_classes):
            return cfg

        def build_model(self, cfg):
            return torch.nn.BatchNorm1d(1)

        def build_optimizer(self, cfg, model):
            return None, None

        def build_lr_scheduler(self, cfg, optimizer, iters_per_epoch):
            return {}

        def build_hooks(self):
            return []

        def test(self, cfg, model):
            return {"metric": 1.0}

    names = {
        "AMPTrainer": lambda *args: inner,
        "SimpleTrainer": lambda *args: inner,
        "setup_logger": lambda *args, **kwargs: None,
    }
    processes = {"get_world_size": lambda: world_size, "get_local_rank": lambda: 0, "is_main_process": lambda: True}
    with swapped(module, **names), swapped(importlib.import_module("fastreid.utils.comm"), **processes):
        return Trainer(config.get_cfg())


class _OneBatch:
    num_classes = 1

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size
