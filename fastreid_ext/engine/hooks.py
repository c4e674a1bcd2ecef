"""Hooks of our trainer that replace one of FastReID's, or that FastReID lacks."""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from fastreid.engine import hooks
from fastreid.engine.train_loop import HookBase
from fastreid.utils import comm
from torch import nn

from fastreid_ext.errors import DivergedError
from fastreid_ext.modeling.capabilities import MovesAfterStep


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


class AfterStep(HookBase):
    """Calls ``after_step()`` of every module of the model that has one, after every optimiser step.

    State that follows training but not the optimiser (a running mean of features, say) moves there, and not in the
    forward: FastReID's PreciseBN runs forward passes in training mode that are not steps.
    """

    def __init__(self, model: nn.Module):
        self.modules = [module for module in model.modules() if isinstance(module, MovesAfterStep)]

    def after_step(self) -> None:
        for module in self.modules:
            module.after_step()


class AverageBuffers(HookBase):
    """Averages the floating-point buffers of all ranks after every epoch.

    Each rank's batch norms see only its share of the batches. Without this hook the ranks would evaluate with other
    statistics than the main process saves, and a resumed run would give all ranks the main process's.
    """

    def __init__(self, model: nn.Module):
        self.model = model

    @torch.no_grad()
    def after_epoch(self) -> None:
        world = comm.get_world_size()
        saved = self.model.state_dict()  # pixel_mean and the like are settings and stay as they are
        for name, buffer in self.model.named_buffers() if world > 1 else ():
            if name in saved and buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer.div_(world)


class FiniteWeights(HookBase):
    """Stops a run before it saves weights that are not finite: a gradient can overflow although no loss did."""

    def __init__(self, model: nn.Module):
        self.model = model

    @torch.no_grad()
    def after_epoch(self) -> None:
        bad = [name for name, weight in self.model.named_parameters() if not torch.isfinite(weight).all()]
        if bad:
            saved = "the checkpoint of the epoch before is good" if self.trainer.epoch else "no epoch was saved"
            raise DivergedError(
                f"epoch {self.trainer.epoch}: {len(bad)} weights are not finite, such as {bad[:3]}; {saved}."
                " Lower SOLVER.BASE_LR, or set SOLVER.CLIP_GRADIENTS.ENABLED True"
            )


class WriteEvents(hooks.PeriodicWriter):
    """Writes the events every ``period`` iterations and after every epoch.

    The host also writes after the last iteration of a run; a writer skips events that are not newer, so the
    metrics of the last evaluation never reached metrics.json.
    """

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self.trainer.iters_per_epoch:
            super().after_step()
