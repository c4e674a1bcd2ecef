"""Hooks of our trainer that replace one of FastReID's, or that FastReID lacks."""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from fastreid.config import CfgNode
from fastreid.engine import hooks
from fastreid.engine.train_loop import HookBase
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.utils import comm
from torch import nn

from fastreid_ext.data.batches import TARGETS_ON_CPU
from fastreid_ext.data.loader import DeviceLoader
from fastreid_ext.engine import joints
from fastreid_ext.engine.weight_average import WeightAverage
from fastreid_ext.errors import DivergedError, counted
from fastreid_ext.modeling.capabilities import MovesAfterStep

logger = logging.getLogger(__name__)


class EvaluateEpochs(hooks.EvalHook):
    """Evaluates every ``period`` epochs and after the last one, when that epoch's checkpoint is on the disk.

    The host evaluates a last epoch that is off the period after everything else, and divides by a period of 0; here 0
    means the last epoch only. A run that ended between checkpoint and evaluation evaluates that epoch when it is
    resumed, before it trains on.

    Args:
        period: TEST.EVAL_PERIOD.
        evaluate: returns the metrics.
        record: called after it, with the epoch; writes the metric into the checkpoint.
    """

    def __init__(self, period: int, evaluate: Callable[[], dict[str, Any]], record: Callable[[int], None]):
        super().__init__(period, evaluate)
        self.record = record
        self.pending: int | None = None  # the epoch that a resumed run ended with, if its checkpoint has no metric

    def asked_for(self, epoch: int) -> bool:
        """Whether an epoch is to be evaluated."""
        done = epoch + 1
        return done >= self.trainer.max_epoch or (self._period > 0 and done % self._period == 0)

    def evaluate(self, epoch: int) -> None:
        """Evaluate the weights, which are those at the end of an epoch."""
        self._do_eval()
        self.record(epoch)

    def before_train(self) -> None:
        if self.pending is None or not self.asked_for(self.pending):
            return
        storage = self.trainer.storage
        storage.iter = self.trainer.start_iter - 1  # the last one of that epoch
        self.evaluate(self.pending)
        storage.iter = self.trainer.start_iter
        self.pending = None

    def after_epoch(self) -> None:
        if self.asked_for(self.trainer.epoch):
            self.evaluate(self.trainer.epoch)

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

    def before_train(self) -> None:
        super().after_epoch()  # of the evaluation that a resumed run made up for, if it did

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self.trainer.iters_per_epoch:
            super().after_step()


class PreciseBN(hooks.PreciseBN):
    """FastReID's PreciseBN, with the weights that are evaluated.

    Args:
        model, data_loader, num_iter: as FastReID's.
        average: of the run, None where it has none.
    """

    def __init__(self, model: nn.Module, data_loader: DeviceLoader, num_iter: int, average: WeightAverage | None):
        super().__init__(model, data_loader, num_iter)
        self.average = average

    def update_stats(self) -> None:
        if not self._disabled and self._data_iter is None:
            self._data_iter = _without_numbers(self._data_loader)
        with self.average.applied() if self.average else nullcontext():
            super().update_stats()


def _without_numbers(data_loader: DeviceLoader) -> Iterator[dict[str, Any]]:
    """Yield batches whose targets are on their device alone, where FastReID marks them."""
    for batch in data_loader:
        yield {key: value for key, value in batch.items() if key != TARGETS_ON_CPU}


def precise_batch_norms(
    cfg: CfgNode, model: nn.Module, loader_of: Callable[[CfgNode], DeviceLoader], average: WeightAverage | None
) -> PreciseBN | None:
    """Return the hook of TEST.PRECISE_BN, None where it is off; ``loader_of`` makes the train loader of a config."""
    node = cfg.TEST.PRECISE_BN
    if not node.ENABLED:
        return None
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = 0
    names = (node.DATASET,)
    if cfg.INPUT.JOINTS.ENABLED:
        cfg.INPUT.JOINTS.FILES = joints.files_of(cfg, names)
    cfg.DATASETS.NAMES = names
    cfg.MODEL.HEADS.NUM_CLASSES = 0
    return PreciseBN(model, loader_of(cfg), node.NUM_ITER, average)


class FreezeLayers(HookBase):
    """Keeps frozen modules in eval mode, where batch norms use the statistics that they have and leave them.

    The host's knows those at a model's first level alone, and does so once: an evaluation puts them in training mode
    again. :class:`fastreid_ext.engine.step.TrainingStep` keeps their weights.

    Args:
        model: or its DDP wrapper.
        layers: names of modules, or of parameters, which have no mode.
        iters: how many iterations they are frozen for.
    """

    def __init__(self, model: nn.Module, layers: Collection[str], iters: int):
        heads = tuple(kind for kind in REID_HEADS_REGISTRY._obj_map.values() if isinstance(kind, type))
        named = [module for name, module in getattr(model, "module", model).named_modules() if name in layers]
        # A head in eval mode has no outputs for losses: of it, what is below is frozen.
        self.modules = [part for module in named for part in module.modules() if not isinstance(part, heads)]
        self.names, self.iters, self.frozen = ", ".join(layers), iters, False

    def before_step(self) -> None:
        frozen = self.trainer.iter < self.iters
        if frozen != self.frozen:
            logger.info(
                "%s %s", self.names, f"frozen for {counted(self.iters, 'iteration')}" if frozen else "open from now on"
            )
        for module in self.modules if frozen or self.frozen else ():
            module.training = not frozen
        self.frozen = frozen


def layer_freeze(cfg: CfgNode, model: nn.Module) -> FreezeLayers | None:
    """Return the hook of MODEL.FREEZE_LAYERS, None where nothing is frozen."""
    if not cfg.MODEL.FREEZE_LAYERS or cfg.SOLVER.FREEZE_ITERS <= 0:
        return None
    return FreezeLayers(model, cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS)
