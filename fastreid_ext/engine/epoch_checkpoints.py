"""The checkpoints of a run, epoch by epoch: saved before the evaluation, completed with its metric after it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsInt

from fastreid.engine.train_loop import HookBase

from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.environment import environment

KEPT = ("best", "final", "periodic", "latest", "optimizer")  # what SOLVER.CHECKPOINT_KEEP may name
BEST, FINAL, LATEST = "model_best", "model_final", "model_latest"
NO_METRIC = -1.0  # of an epoch that is not evaluated, or not yet

logger = logging.getLogger(__name__)


class EpochCheckpoints(HookBase):
    """Saves ``model_latest`` after every epoch (what --resume reads), and the files that the run is to leave.

    ``model_best`` is the best epoch that was evaluated, ``model_<epoch>`` every CHECKPOINT_PERIOD epochs,
    ``model_final`` the last one. All are on the disk before the epoch is evaluated, so that a fault there loses
    nothing; :meth:`record` then writes them again with the metric. Only ``model_latest`` holds the state of the
    optimiser, unless ``keep`` says otherwise.

    Args:
        checkpointer: where and what to save.
        keep: SOLVER.CHECKPOINT_KEEP, of :data:`KEPT`.
        period: SOLVER.CHECKPOINT_PERIOD, in epochs; None = never.
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
        keep: Sequence[str],
        period: int | None,
        metric: Callable[[], float],
        seed: SupportsInt,
        device: str,
        check: Callable[[], None],
        training: Mapping[str, int | str],
    ):
        self.checkpointer = checkpointer
        self.keep = frozenset(keep)
        self.period = period
        self.metric = metric
        self.seed = seed
        self.device = device
        self.check = check
        self.training = dict(training)
        self.best_metric = NO_METRIC
        self._saved: dict[str, Any] | None = None  # what the last checkpoint holds beside weights and states

    def take_up(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on from a checkpoint that was loaded."""
        self.best_metric = checkpoint.get("best_metric", NO_METRIC)
        self._saved = self._content(checkpoint["epoch"], checkpoint.get("metric", NO_METRIC))

    def after_epoch(self) -> None:
        self._save(self.trainer.epoch, NO_METRIC)

    def record(self, epoch: int) -> None:
        """Write the metric of an epoch that was just evaluated into its checkpoints, and model_best if it is."""
        metric = self.metric()
        best = metric > self.best_metric
        if best:
            self.best_metric = metric
        # A kill before the last file has the metric lets the resumed run evaluate again and write them all.
        self._save(epoch, metric, best)

    def finish(self) -> None:
        """Remove what --resume needs at the end of a run that is not to leave it.

        Until then last_checkpoint names a file that is there, whenever the process is killed.
        """
        if "latest" in self.keep or self._saved is None:
            return
        folder = Path(self.checkpointer.save_dir)
        latest, final = folder / f"{LATEST}.pth", "final" in self.keep
        if final and latest.exists():  # a run that was taken up at its end, to leave other files, may not have it
            self._write(FINAL, self._saved, last=True)
        elif not final and (folder / f"{BEST}.pth").is_file():
            self.checkpointer.tag_last_checkpoint(f"{BEST}.pth")
        elif not final:
            logger.warning("%s is kept: there is no %s.pth beside it", latest, BEST)
            return
        latest.unlink(missing_ok=True)

    def _save(self, epoch: int, metric: float, best: bool = False) -> None:
        self.check()
        ended = epoch >= self.trainer.max_epoch - 1
        content = self._saved = self._content(epoch, metric)
        if best and "best" in self.keep:
            self._write(BEST, content)
        if ended and "final" in self.keep:
            self._write(FINAL, content)
        if not ended and self.period is not None and (epoch + 1) % self.period == 0:
            self._write(f"model_{epoch:04d}", content)
        self.checkpointer.save(LATEST, **content)

    def _write(self, name: str, content: Mapping[str, Any], last: bool = False) -> None:
        self.checkpointer.save(name, last=last, states="optimizer" in self.keep, **content)

    def _content(self, epoch: int, metric: float) -> dict[str, Any]:
        content = {"epoch": epoch, "metric": metric, "best_metric": self.best_metric, "seed": int(self.seed)}
        return content | {"environment": environment(self.device), "training": self.training}
