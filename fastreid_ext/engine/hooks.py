"""Hooks of our trainer that change a hook of the host."""

from collections.abc import Callable
from typing import Any

from fastreid.engine import hooks


class EvaluateEpochs(hooks.EvalHook):
    """Evaluates every ``period`` epochs and after the last one, before that epoch's checkpoint is written.

    The host evaluates a last epoch that is off the period after the checkpoint, which then lacks the metric, and
    divides by a period of 0; here 0 means the last epoch only.
    """

    def __init__(self, period: int, evaluate: Callable[[], dict[str, Any]]):
        super().__init__(period, evaluate)
        self.evaluated_epoch = -1

    def after_epoch(self) -> None:
        done = self.trainer.epoch + 1
        if done == self.trainer.max_epoch or (self._period > 0 and done % self._period == 0):
            self._do_eval()
            self.evaluated_epoch = self.trainer.epoch

    def after_train(self) -> None:
        """The last epoch was evaluated as it ended."""
