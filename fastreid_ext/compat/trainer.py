"""The host's trainer: resuming, and runs that evaluate only at the end."""

import functools
import importlib
import inspect
import logging
import os
import types

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.patch import patch, replace
from fastreid_ext.compat.probing import swapped
from fastreid_ext.compat.trial import trial_trainer

comm = HostModule("fastreid.utils.comm")
defaults = HostModule("fastreid.engine.defaults")
hooks = HostModule("fastreid.engine.hooks")

TRAINER = "fastreid.engine.defaults:DefaultTrainer"
EVAL_HOOK = "fastreid.engine.hooks:EvalHook"

logger = logging.getLogger(__name__)


def _eval_after_train(self) -> None:
    """Evaluate after the last epoch unless that was done; not after a failed training."""
    next_epoch = getattr(self.trainer, "epoch", -1) + 1  # no epoch: a hook failed before the first
    evaluated = self._period > 0 and next_epoch % self._period == 0
    if next_epoch >= self.trainer.max_epoch and not evaluated:
        self._do_eval()
    # The function is likely a closure over the trainer: drop it, or the two keep each other alive.
    del self._func


def _period_zero_fails() -> bool:
    """Whether an evaluation period of 0 raises after the last epoch, or means no evaluation."""
    evaluated = []
    hook = hooks.EvalHook(0, None)
    hook.trainer = types.SimpleNamespace(epoch=0, max_epoch=1)
    hook._do_eval = lambda: evaluated.append(1)
    hook.after_train()
    return evaluated != [1]


@patch(
    "eval-period-zero",
    heals="engine/hooks.py:382",
    needed_by="any version",
    targets={f"{EVAL_HOOK}.after_train": ("fded141d4d37",)},
    uses=(f"{EVAL_HOOK}._do_eval",),
    needed=_period_zero_fails,
    if_skipped="TEST.EVAL_PERIOD 0 divides by zero at the end of a run",
    cause="EvalHook takes the epoch modulo its period",
    fix="test for a period above 0 first",
)
def eval_period_zero() -> None:
    """TEST.EVAL_PERIOD 0 divided by zero; it now means one evaluation, after the last epoch."""
    replace(f"{EVAL_HOOK}.after_train", _eval_after_train)


def _finished_run_fails() -> bool:
    """Whether a run that starts after its last epoch raises, or evaluates nothing."""
    trainer = trial_trainer(world_size=1)
    trainer.start_epoch = trainer.max_epoch = 1
    trainer.register_hooks([hooks.EvalHook(1, lambda: trainer.test(trainer.cfg, trainer.model))])
    with swapped(importlib.import_module("fastreid.utils.comm"), is_main_process=lambda: True, synchronize=int):
        return not trainer.train()


@patch(
    "finished-run",
    heals="engine/hooks.py:380",
    needed_by="any version",
    targets={
        f"{TRAINER}.train": ("7fe910631cd6",),
        "fastreid.engine.train_loop:TrainerBase.train": ("8a849a73d3cd",),
    },
    needed=_finished_run_fails,
    if_skipped="resuming a run that has ended raises AttributeError",
    cause="a hook reads the epoch, which a loop of no epoch never sets",
    fix="return the evaluation of the weights where start_epoch is max_epoch",
)
def finished_run() -> None:
    """Resuming a run that has ended raised AttributeError in a hook; it now evaluates the final weights."""
    original = defaults.DefaultTrainer.train

    @functools.wraps(original)
    def train(self):
        if self.start_epoch < self.max_epoch:
            return original(self)
        logger.info(f"All {self.max_epoch} epochs are done: evaluating the weights as they are")
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results if comm.is_main_process() else None

    replace(f"{TRAINER}.train", train)


def _best_metric_on_disk(checkpointer) -> float | None:
    path = os.path.join(checkpointer.save_dir, "model_best.pth")
    return checkpointer._load_file(path).get("metric") if os.path.isfile(path) else None


def _best_metric_is_forgotten() -> bool:
    """Whether resuming never mentions the best metric, nor does its hook.

    Reads the source: where a fork keeps the number (a file of its own, a state of the hook, another name in the
    checkpoint) can't be foreseen, and a trial would need files.
    """
    source = inspect.getsource(defaults.DefaultTrainer) + inspect.getsource(hooks.PeriodicCheckpointer)
    return "best_metric" not in source


@patch(
    "best-metric",
    heals="utils/checkpoint.py:317",
    needed_by="any version",
    targets={
        f"{TRAINER}.resume_or_load": ("96b89c507f61",),
        "fastreid.utils.checkpoint:PeriodicCheckpointer": ("7f7fab3ae467",),
    },
    uses=("fastreid.engine.hooks:PeriodicCheckpointer", "fastreid.utils.checkpoint:Checkpointer._load_file"),
    needed=_best_metric_is_forgotten,
    if_skipped="the first evaluation after a resume replaces model_best.pth, however bad it is",
    cause="the best metric is in the hook alone and begins at -1",
    fix="read it from model_best.pth when a run is resumed",
)
def best_metric() -> None:
    """After a resume the first evaluation replaced model_best.pth, however bad; it is now read first."""
    original = defaults.DefaultTrainer.resume_or_load

    @functools.wraps(original)
    def resume_or_load(self, resume=True):
        original(self, resume=resume)
        if not (resume and self.checkpointer.has_checkpoint()):
            return
        # The hook exists on the main process only, which alone writes.
        for hook in self._hooks:
            if isinstance(hook, hooks.PeriodicCheckpointer):
                best = _best_metric_on_disk(hook.checkpointer)
                hook.best_metric = hook.best_metric if best is None else best

    replace(f"{TRAINER}.resume_or_load", resume_or_load)
