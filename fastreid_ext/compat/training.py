"""Optimiser and schedules: parameters change, whole names freeze, short runs do not divide by zero."""

import functools
import logging
import math

from fastreid.solver import build as host_build
from fastreid.utils.params import ContiguousParams

from fastreid_ext.compat.patch import patch, replace

SOLVER = "fastreid.solver.build"

logger = logging.getLogger(__name__)


@patch(
    "zero-grad",
    heals="engine/train_loop.py:248,346",
    needed_by="torch >= 2.0",
    targets={
        f"{SOLVER}:build_optimizer": ("b6d8442bd387",),
        "fastreid.utils.params:ContiguousParams": ("fcd834a12c98",),
    },
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
        if isinstance(params, ContiguousParams):
            optimizer.zero_grad = functools.partial(optimizer.zero_grad, set_to_none=False)
        return optimizer, params

    replace(f"{SOLVER}:build_optimizer", build_optimizer)


@patch(
    "clip-frozen",
    heals="solver/build.py:70",
    needed_by="seen with torch 2.15, with CLIP_GRADIENTS.CLIP_TYPE value and FREEZE_LAYERS",
    targets={f"{SOLVER}:_create_gradient_clipper": ("3d7ec2cf10d1",)},
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


@patch(
    "freeze-whole-names",
    heals="solver/build.py:303",
    needed_by="any version, with the host's Base-MGN.yml",
    targets={f"{SOLVER}:get_default_optimizer_params": ("e741b15b0f6f",)},
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


@patch(
    "schedule-of-warm-up",
    heals="solver/build.py:313",
    needed_by="any version",
    targets={f"{SOLVER}:build_lr_scheduler": ("69b78fb6d56d",)},
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
                f"The learning rate is never annealed: SOLVER.MAX_EPOCH {solver.MAX_EPOCH} is no more than "
                f"the {warm_up_epochs} epochs of SOLVER.WARMUP_ITERS {solver.WARMUP_ITERS} and "
                f"SOLVER.DELAY_EPOCHS {solver.DELAY_EPOCHS}."
            )
            cfg = cfg.clone()
            cfg.defrost()
            cfg.SOLVER.MAX_EPOCH = warm_up_epochs + 1  # only the scheduler sees it: a period of one epoch
        return original(cfg, optimizer, iters_per_epoch)

    replace(f"{SOLVER}:build_lr_scheduler", build_lr_scheduler)
