"""Optimiser and schedules: parameters change, whole names freeze, short runs do not divide by zero."""

import functools
import importlib
import logging
import math
import types

import torch

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.patch import patch, replace
from fastreid_ext.compat.probing import swapped

config = HostModule("fastreid.config")
host_build = HostModule("fastreid.solver.build")
params_module = HostModule("fastreid.utils.params")

SOLVER = "fastreid.solver.build"

logger = logging.getLogger(__name__)


class _TwoNorms(torch.nn.Module):
    """Two layers of two parameters each, made without random numbers; the name of one begins with the other's."""

    def __init__(self):
        super().__init__()
        self.b1 = torch.nn.BatchNorm1d(1)
        self.b1_head = torch.nn.BatchNorm1d(1)


def _parameters_stay() -> bool:
    """Whether a step of the host's optimiser with flat buffers leaves a parameter as it was."""
    cfg = config.get_cfg()
    cfg.SOLVER.OPT = "SGD"
    model = _TwoNorms()
    optimizer, _ = host_build.build_optimizer(cfg, model, contiguous=True)
    optimizer.zero_grad()
    model.b1.bias.sum().backward()
    optimizer.step()
    return model.b1.bias.item() == 0


@patch(
    "zero-grad",
    heals="engine/train_loop.py:248,346",
    needed_by="torch >= 2.0",
    targets={
        f"{SOLVER}:build_optimizer": ("b6d8442bd387",),
        "fastreid.utils.params:ContiguousParams": ("fcd834a12c98",),
    },
    needed=_parameters_stay,
    if_skipped="training with FastReID's own trainer changes no parameter, without an error",
    cause="ContiguousParams shows the optimiser flat buffers, whose gradients zero_grad() sets to None since torch 2.0",
    fix="zero_grad(set_to_none=False), or build_optimizer(contiguous=False)",
    critical=True,
)
def zero_grad() -> None:
    """No parameter ever changed, without an error: ``zero_grad()`` dropped the flat gradient buffer.

    ContiguousParams lets the optimiser see one flat buffer a group, whose gradient is the memory of the
    parameters' gradients. Since torch 2.0 ``zero_grad()`` sets gradients to None, and an optimiser
    skips what has none.
    """
    original = host_build.build_optimizer

    @functools.wraps(original)
    def build_optimizer(cfg, model, contiguous=True):
        optimizer, params = original(cfg, model, contiguous)
        if isinstance(params, params_module.ContiguousParams):
            optimizer.zero_grad = functools.partial(optimizer.zero_grad, set_to_none=False)
        return optimizer, params

    replace(f"{SOLVER}:build_optimizer", build_optimizer)


def _clipping_needs_gradients() -> bool:
    """Whether clipping by value raises on a parameter that has no gradient."""
    cfg = config.get_cfg().SOLVER.CLIP_GRADIENTS
    cfg.CLIP_TYPE = "value"
    host_build._create_gradient_clipper(cfg)(torch.nn.Parameter(torch.zeros(1)))
    return False


@patch(
    "clip-frozen",
    heals="solver/build.py:70",
    needed_by="seen with torch 2.15, with CLIP_GRADIENTS.CLIP_TYPE value and FREEZE_LAYERS",
    targets={f"{SOLVER}:_create_gradient_clipper": ("3d7ec2cf10d1",)},
    needed=_clipping_needs_gradients,
    if_skipped="CLIP_GRADIENTS.CLIP_TYPE value raises together with MODEL.FREEZE_LAYERS",
    cause="the optimiser's step takes the gradients of frozen layers away, and torch's clipping by value reads them",
    fix="clip only parameters that have a gradient",
)
def clip_frozen() -> None:
    """Clipping raised on frozen parameters, whose gradient the host takes away; they are now passed over."""
    original = host_build._create_gradient_clipper

    @functools.wraps(original)
    def _create_gradient_clipper(cfg):
        clip = original(cfg)

        def clip_if_any(parameter):
            if parameter.grad is not None:
                clip(parameter)

        return clip_if_any

    replace(f"{SOLVER}:_create_gradient_clipper", _create_gradient_clipper)


def _freezing_spreads() -> bool:
    """Whether freezing b1 freezes b1_head too."""
    groups = host_build.get_default_optimizer_params(_TwoNorms(), base_lr=0.1, freeze_layers=["b1"])
    return [group["freeze_status"] for group in groups] != ["freeze", "freeze", "normal", "normal"]


@patch(
    "freeze-whole-names",
    heals="solver/build.py:303",
    needed_by="any version, with the host's Base-MGN.yml",
    targets={f"{SOLVER}:get_default_optimizer_params": ("e741b15b0f6f",)},
    needed=_freezing_spreads,
    if_skipped="FREEZE_LAYERS also freezes layers whose names only begin alike: Base-MGN learns nothing at first",
    cause="names are matched by their beginning, re.match without an end",
    fix="end the pattern at a dot or at the end of the name",
)
def freeze_whole_names() -> None:
    """FREEZE_LAYERS ``b1`` also froze ``b1_head``, so Base-MGN trained nothing for its first 1000 iterations.

    The host's own LayerFreeze hook compares whole names; now the optimiser does so too.
    """
    original = host_build.get_default_optimizer_params

    @functools.wraps(original)
    def get_default_optimizer_params(*args, freeze_layers=(), **kwargs):
        # The name ends at a dot. "(?:...)" because the host allows regular expressions.
        whole_names = [rf"(?:{name})(?:\.|$)" for name in freeze_layers]
        return original(*args, freeze_layers=whole_names, **kwargs)

    replace(f"{SOLVER}:get_default_optimizer_params", get_default_optimizer_params)


def _short_schedule_fails() -> bool:
    """Whether a run that is all warm-up gets an annealing of no epoch, or an empty epoch divides by zero."""
    periods = []
    schedulers = types.SimpleNamespace(
        CosineAnnealingLR=lambda optimizer, T_max, **options: periods.append(T_max),
        MultiStepLR=lambda optimizer, **options: None,
        WarmupLR=lambda optimizer, **options: None,
    )
    cfg = config.get_cfg()
    cfg.SOLVER.SCHED, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_ITERS = "CosineAnnealingLR", 2, 8
    with swapped(importlib.import_module(SOLVER), lr_scheduler=schedulers):
        host_build.build_lr_scheduler(cfg, None, 4)
        try:
            host_build.build_lr_scheduler(cfg, None, 0)
        except ValueError:
            return min(periods) < 1
    return True


@patch(
    "schedule-of-warm-up",
    heals="solver/build.py:313",
    needed_by="any version",
    targets={f"{SOLVER}:build_lr_scheduler": ("69b78fb6d56d",)},
    uses=(f"{SOLVER}:lr_scheduler",),
    needed=_short_schedule_fails,
    if_skipped="a run that is all warm-up, or a training set smaller than a batch, divides by zero",
    cause="the epochs behind the warm-up are a divisor, and so are the iterations of an epoch",
    fix="no annealing where the run is all warm-up; an error in one sentence for a set smaller than a batch",
)
def schedule_of_warm_up() -> None:
    """MAX_EPOCH = warm-up epochs made CosineAnnealingLR divide by zero; such a run is now all warm-up.

    A training set that is smaller than one batch also divided by zero; it is now an error in one sentence.
    """
    original = host_build.build_lr_scheduler

    @functools.wraps(original)
    def build_lr_scheduler(cfg, optimizer, iters_per_epoch):
        solver = cfg.SOLVER
        if iters_per_epoch < 1:
            raise ValueError(
                f"The training set is smaller than one batch (SOLVER.IMS_PER_BATCH {solver.IMS_PER_BATCH})."
            )
        warm_up_epochs = max(math.ceil(solver.WARMUP_ITERS / iters_per_epoch), solver.DELAY_EPOCHS)
        if solver.SCHED == "CosineAnnealingLR" and warm_up_epochs >= solver.MAX_EPOCH:
            logger.warning(
                f"The learning rate is never annealed: SOLVER.MAX_EPOCH {solver.MAX_EPOCH} does not exceed "
                f"the {warm_up_epochs} epochs of SOLVER.WARMUP_ITERS {solver.WARMUP_ITERS} and "
                f"SOLVER.DELAY_EPOCHS {solver.DELAY_EPOCHS}."
            )
            cfg = cfg.clone()
            cfg.defrost()
            cfg.SOLVER.MAX_EPOCH = warm_up_epochs + 1  # only the scheduler sees it: a period of one epoch
        return original(cfg, optimizer, iters_per_epoch)

    replace(f"{SOLVER}:build_lr_scheduler", build_lr_scheduler)
