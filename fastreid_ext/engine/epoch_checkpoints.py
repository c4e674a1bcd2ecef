"""The checkpoints of a run, epoch by epoch: saved before the evaluation, completed with its metric after it."""

from collections.abc import Callable, Mapping
from typing import SupportsInt

from fastreid.engine.train_loop import HookBase

from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.environment import environment

LATEST = "model_latest"
NO_METRIC = -1.0  # of an epoch that is not evaluated, or not yet


class EpochCheckpoints(HookBase):
    """Saves ``model_latest`` after every epoch (what --resume reads), and the host's files at their period.

    ``model_best`` is the best epoch that was evaluated, ``model_<epoch>`` every CHECKPOINT_PERIOD epochs,
    ``model_final`` the last one. All are on the disk before the epoch is evaluated, so that a fault there loses
    nothing; :meth:`record` then writes them again with the metric.

    Args:
        checkpointer: where and what to save.
        period: SOLVER.CHECKPOINT_PERIOD, in epochs.
        metric: returns the metric of the last evaluation.
        seed: the run's, which every checkpoint holds.
        device: MODEL.DEVICE; every checkpoint says what the run's bits depend on.
        check: called before anything is written; raises what stops the run.
        training: what is trained on, which every checkpoint says.

    Attributes:
        best_metric: the highest one so far.
    """

    def __init__(
        self,
        checkpointer: AtomicCheckpointer,
        period: int,
        metric: Callable[[], float],
        seed: SupportsInt,
        device: str,
        check: Callable[[], None],
        training: Mapping[str, int | str],
    ):
        self.checkpointer = checkpointer
        self.period = period
        self.metric = metric
        self.seed = seed
        self.device = device
        self.check = check
        self.training = dict(training)
        self.best_metric = NO_METRIC

    def after_epoch(self) -> None:
        self._save(self.trainer.epoch, NO_METRIC)

    def record(self, epoch: int) -> None:
        """Write the metric of an epoch that was just evaluated into its checkpoints, and model_best if it is."""
        metric = self.metric()
        best = metric > self.best_metric
        if best:
            self.best_metric = metric
        # A kill before the last file has the metric lets the resumed run evaluate again and write them all.
        self._save(epoch, metric, ("model_best",) if best else ())

    def _save(self, epoch: int, metric: float, names: tuple[str, ...] = ()) -> None:
        self.check()
        last = self.trainer.max_epoch - 1
        if (epoch + 1) % self.period == 0 and epoch < last:
            names += (f"model_{epoch:04d}",)
        content = {"epoch": epoch, "metric": metric, "best_metric": self.best_metric, "seed": int(self.seed)}
        content |= {"environment": environment(self.device), "training": self.training}
        for name in names:
            self.checkpointer.save(name, last=False, **content)
        self.checkpointer.save("model_final" if epoch >= last else LATEST, **content)
