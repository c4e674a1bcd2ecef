"""The host's trainer: resuming, and runs that evaluate only at the end."""

import functools
import logging
import os

from fastreid.engine import hooks
from fastreid.engine.defaults import DefaultTrainer
from fastreid.utils import comm

from fastreid_ext.compat.patch import patch, replace

TRAINER = "fastreid.engine.defaults:DefaultTrainer"
EVAL_HOOK = "fastreid.engine.hooks:EvalHook"

logger = logging.getLogger(__name__)


def _eval_after_train(self) -> None:
    """Evaluate after the last epoch unless it has been done; not after a training that failed."""
    next_epoch = getattr(self.trainer, "epoch", -1) + 1  # no epoch: a hook failed before the first
    evaluated = self._period > 0 and next_epoch % self._period == 0
    if next_epoch >= self.trainer.max_epoch and not evaluated:
        self._do_eval()
    # The function is likely a closure over the trainer: drop it, or the two keep each other alive.
    del self._func


@patch(
    "eval-period-zero",
    heals="engine/hooks.py:382",
    needed_by="any version",
    targets={f"{EVAL_HOOK}.after_train": ("fded141d4d37",)},
)
def eval_period_zero() -> None:
    """TEST.EVAL_PERIOD 0 divided by zero; it now means one evaluation, after the last epoch."""
    replace(f"{EVAL_HOOK}.after_train", _eval_after_train)


@patch(
    "finished-run",
    heals="engine/hooks.py:380",
    needed_by="any version",
    targets={
        f"{TRAINER}.train": ("7fe910631cd6",),
        "fastreid.engine.train_loop:TrainerBase.train": ("8a849a73d3cd",),
    },
)
def finished_run() -> None:
    """Resuming a run that has ended raised AttributeError in a hook; it now evaluates the final weights."""
    original = DefaultTrainer.train

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


@patch(
    "best-metric",
    heals="utils/checkpoint.py:317",
    needed_by="any version",
    targets={
        f"{TRAINER}.resume_or_load": ("96b89c507f61",),
        "fastreid.utils.checkpoint:PeriodicCheckpointer": ("7f7fab3ae467",),
    },
)
def best_metric() -> None:
    """After a resume the first evaluation replaced model_best.pth, however bad; it is now read first."""
    original = DefaultTrainer.resume_or_load

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
