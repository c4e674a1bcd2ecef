"""The trainer of every project: FastReID's DefaultTrainer, repeatable, resumable, on CPU and CUDA."""

import logging
from collections import OrderedDict
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, hooks
from fastreid.engine.train_loop import TrainerBase
from fastreid.evaluation import ReidEvaluator
from fastreid.utils import comm
from fastreid.utils.events import EventStorage
from fastreid.utils.logger import setup_logger
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.data.loader import DeviceLoader
from fastreid_ext.engine import joints, loaders, optimizer, schedule
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.checks.machine import check_writable
from fastreid_ext.engine.checks.shared_images import warn_of_images_again, warn_of_known_persons
from fastreid_ext.engine.compiling import compile_model
from fastreid_ext.engine.devices import distributed
from fastreid_ext.engine.environment import warn_if_elsewhere
from fastreid_ext.engine.epoch_checkpoints import NO_METRIC, EpochCheckpoints
from fastreid_ext.engine.evaluation import build_evaluator, evaluate_test_sets
from fastreid_ext.engine.evaluation_sets import EvaluationSets
from fastreid_ext.engine.event_writers import EventsWriter, MetricsWriter
from fastreid_ext.engine.hooks import (
    AfterStep,
    AverageBuffers,
    EvaluateEpochs,
    FiniteWeights,
    WriteEvents,
    layer_freeze,
    precise_batch_norms,
)
from fastreid_ext.engine.key_tracking import check_all_read, track
from fastreid_ext.engine.layout import settled_layout, with_layout
from fastreid_ext.engine.model import build_model
from fastreid_ext.engine.progress import Progress
from fastreid_ext.engine.results import write_results
from fastreid_ext.engine.run_folder import HeldFolder
from fastreid_ext.engine.run_record import write_run_record
from fastreid_ext.engine.seeding import RunSeed, SeedEpochs, seed_everything
from fastreid_ext.engine.step import TrainingStep, step_settings
from fastreid_ext.engine.test_sets import with_tests_that_are_there
from fastreid_ext.engine.trained_on import trained_on, warn_if_other_images
from fastreid_ext.engine.training_subsets import evaluated_sets
from fastreid_ext.engine.weight_average import average_of
from fastreid_ext.files import write_text
from fastreid_ext.modeling.augmentation_table import sampled_per_batch

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Builds data, model, optimiser and hooks from a config and trains.

    Differences from the host's: batches and augmentation are a function of (seed, epoch); torch.amp on any device;
    merged, fused optimiser groups; whole-epoch checkpoints that survive a kill; a config key that nothing reads is
    an error.

    Raises:
        ConfigError, DataSetError: what :mod:`fastreid_ext.engine.checks` and the data sets find.
    """

    def __init__(self, cfg: CfgNode):
        TrainerBase.__init__(self)
        for name in ("fastreid", "fastreid_ext"):
            if not logging.getLogger(name).isEnabledFor(logging.INFO):  # not started from the command line
                setup_logger(name=name)
        check_writable(cfg)
        self.folder = _held(cfg)  # here too, since a program may build a trainer without the command line
        untracked = with_tests_that_are_there(cfg)
        cfg, reads = track(untracked)
        self.seed = RunSeed(cfg.SEED)
        logger.info("seed %d", int(self.seed))
        seed_everything(int(self.seed))

        data_loader = self._seeded_train_loader(cfg)
        images = len(data_loader.dataset) * cfg.SOLVER.MAX_EPOCH
        cfg = with_layout(cfg, settled_layout(untracked, images))
        cfg = self.auto_scale_hyperparams(cfg, data_loader.dataset.num_classes)
        self.evaluation_sets = EvaluationSets(evaluated_sets(cfg), partial(self.build_evaluator, cfg))
        items = getattr(data_loader.dataset, "img_items", ())
        warn_of_images_again(items)
        warn_of_known_persons(items, self.evaluation_sets.images)
        model = self.build_model(cfg)
        joints.check_labels(cfg, model)
        opt = self.build_optimizer(cfg, model)
        self.iters_per_epoch = len(data_loader.dataset) // sampled_per_batch(cfg)
        self.scheduler = self.build_lr_scheduler(cfg, opt, self.iters_per_epoch)
        self.warmup_iters = schedule.warmup_iters(cfg, self.iters_per_epoch)

        settings = step_settings(cfg, model)
        self._trainer = TrainingStep(distributed(compile_model(cfg, model)), data_loader, opt, **settings)
        self.start_epoch = 0
        self.max_epoch = cfg.SOLVER.MAX_EPOCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.delay_epochs = cfg.SOLVER.DELAY_EPOCHS
        self.cfg = cfg
        self.average = average_of(cfg, model, opt)
        scaler = self._trainer.grad_scaler  # a disabled scaler has no state, and an enabled one refuses an empty state
        self.checkpointer = AtomicCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            optimizer=opt,
            **self.scheduler,
            **({"grad_scaler": scaler} if scaler.is_enabled() else {}),
            **({"average": self.average} if self.average else {}),
        )
        self.checkpointer.average = self.average
        self.checkpointer.training = trained_on(items)
        self.checkpointer.epochs = self.max_epoch
        self.register_hooks(self.build_hooks())
        check_all_read(cfg, get_cfg(), reads)

    # ---- what the config says -------------------------------------------------------------------------------------

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> DeviceLoader:
        """Return the endless loader of DATASETS.NAMES; its batches follow from cfg.SEED and the epoch."""
        return loaders.train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> tuple[DeviceLoader, int]:
        """Return the loader of a test set's queries and gallery, or of the held-out images, and how many queries."""
        return loaders.eval_loader(cfg, dataset_name)

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Return the model on its device; see :func:`fastreid_ext.engine.model.build_model`."""
        return build_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser; see :func:`fastreid_ext.engine.optimizer.build_optimizer`."""
        return optimizer.build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, opt: torch.optim.Optimizer, iters_per_epoch: int) -> dict[str, Any]:
        """Return the schedules; see :func:`fastreid_ext.engine.schedule.build_lr_scheduler`."""
        return schedule.build_lr_scheduler(cfg, opt, iters_per_epoch)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None
    ) -> tuple[DeviceLoader, ReidEvaluator]:
        """Return a test set's loader and the evaluator of its features, by TEST.EVALUATOR."""
        loader, num_query = cls.build_test_loader(cfg, dataset_name)
        return loader, build_evaluator(cfg, dataset_name, loader.dataset, num_query, output_dir or cfg.OUTPUT_DIR)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, sets: EvaluationSets | None = None) -> OrderedDict[str, Any]:
        """Evaluate a model; see :func:`fastreid_ext.engine.evaluation.evaluate_test_sets`.

        Args:
            cfg: the run's config.
            model: what gives features.
            sets: loaders and evaluators that a run keeps; None builds new ones.
        """
        return evaluate_test_sets(cfg, model, partial(cls.build_evaluator, cfg) if sets is None else sets.__getitem__)

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """FastReID's hooks in FastReID's order, with our seeding, checkpoints, evaluation and progress."""
        cfg = self.cfg
        keep = tuple(cfg.SOLVER.CHECKPOINT_KEEP)  # read on every rank: all of them check that nothing is left unread
        period = cfg.SOLVER.CHECKPOINT_PERIOD if "periodic" in keep else None
        main = comm.is_main_process()
        self.epoch_checkpoints = None
        if main:
            self.epoch_checkpoints = EpochCheckpoints(
                self.checkpointer,
                keep,
                period,
                self._metric,
                self.seed,
                cfg.MODEL.DEVICE,
                lambda: self.folder.check(),
                self.checkpointer.training,
            )
        record = self.epoch_checkpoints.record if main else (lambda epoch: None)
        self.evaluation = EvaluateEpochs(cfg.TEST.EVAL_PERIOD, self._evaluate, record)
        self.events = WriteEvents(self.build_writers(), 200) if main else None
        return [
            SeedEpochs(self.seed),
            AfterStep(self.model),
            hooks.IterationTimer(),
            hooks.LRScheduler(self.optimizer, self.scheduler),
            precise_batch_norms(cfg, self.model, self._seeded_train_loader, self.average),
            layer_freeze(cfg, self.model),
            AverageBuffers(self.model),
            FiniteWeights(self.model),
            self.epoch_checkpoints,  # before the evaluation, whose faults then lose nothing
            self.evaluation,
            Progress(sampled_per_batch(cfg)) if main else None,
            self.events,
        ]

    def build_writers(self) -> list[Any]:
        """Tensorboard and JSON as the host writes them; :class:`Progress` does the terminal."""
        folder = Path(self.cfg.OUTPUT_DIR)
        return [MetricsWriter(folder / "metrics.json"), EventsWriter(folder)]

    @staticmethod
    def auto_scale_hyperparams(cfg: CfgNode, num_classes: int) -> CfgNode:
        """Return cfg with MODEL.HEADS.NUM_CLASSES of the training set, and write it to config.yaml."""
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.HEADS.NUM_CLASSES = num_classes
        cfg.freeze()
        if comm.is_main_process():
            write_text(Path(cfg.OUTPUT_DIR) / "config.yaml", cfg.dump())
        return cfg

    # ---- running --------------------------------------------------------------------------------------------------

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from OUTPUT_DIR if it has a checkpoint and resume is set, else load MODEL.WEIGHTS."""
        checkpoint = self.checkpointer.resume_or_load(
            self.cfg.MODEL.WEIGHTS, resume=resume, partial=self.cfg.MODEL.WEIGHTS_PARTIAL
        )
        if not (resume and self.checkpointer.has_checkpoint()):
            return
        self.start_epoch = checkpoint["epoch"] + 1
        self.seed.resume(checkpoint.get("seed", int(self.seed)))
        if checkpoint.get("metric", NO_METRIC) == NO_METRIC:
            self.evaluation.pending = checkpoint["epoch"]
        if self.epoch_checkpoints is not None:
            warn_if_elsewhere(checkpoint.get("environment"), self.cfg.MODEL.DEVICE)
            warn_if_other_images(checkpoint.get("training"), self.checkpointer.training)
            self.epoch_checkpoints.take_up(checkpoint)

    def train(self) -> OrderedDict[str, Any]:
        """Train from start_epoch to MAX_EPOCH and return the last evaluation's results (main process)."""
        self.folder = _held(self.cfg)  # again, for a trainer that has trained before
        self.data_loader.start_at(self.start_epoch)
        try:
            if self.start_epoch >= self.max_epoch:
                logger.info("the run in %s is finished (%d epochs): evaluating it", self.cfg.OUTPUT_DIR, self.max_epoch)
                self._evaluate_finished()
            else:
                with self._trainer.loading():
                    TrainerBase.train(self, self.start_epoch, self.max_epoch, self.iters_per_epoch)
            if comm.is_main_process():
                write_run_record(self.cfg, getattr(self.model, "module", self.model), int(self.seed))
                # After all that others read: a run with results.json is finished, however it ended.
                write_results(self.cfg, self._last_eval_results, int(self.seed))
                self.epoch_checkpoints.finish()
        finally:
            self.evaluation_sets.end_workers()
            if self.folder is not None:
                self.folder.release()
        return self._last_eval_results

    def _seeded_train_loader(self, cfg: CfgNode) -> DeviceLoader:
        """Return the train loader of a config, drawn from the run's seed."""
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SEED = int(self.seed)  # a negative one was drawn
        loader = self.build_train_loader(cfg)
        loader.draw_from(self.seed)
        return loader

    def _evaluate(self) -> OrderedDict[str, Any]:
        modes = [(module, module.training) for module in self.model.modules()]
        with self.average.applied() if self.average else nullcontext():
            self._last_eval_results = self.test(self.cfg, self.model, self.evaluation_sets)
        for module, training in modes:  # the host sets all to that of the model, also layers that are frozen
            module.training = training
        return self._last_eval_results

    def _evaluate_finished(self) -> None:
        """Evaluate the last epoch; where it ended before its metric was recorded, make up for that."""
        if self.evaluation.pending is None:
            self._evaluate()
            return
        with EventStorage(self.start_epoch * self.iters_per_epoch - 1) as self.storage:
            self.evaluation.evaluate(self.evaluation.pending)
            if self.events is not None:
                self.events.after_epoch()

    def _metric(self) -> float:
        """The host's metric, (Rank-1 + mAP) / 2, of the first test set."""
        results = self._last_eval_results
        return float(results["metric"] if "metric" in results else next(iter(results.values()))["metric"])


def _held(cfg: CfgNode) -> HeldFolder | None:
    """Hold OUTPUT_DIR for this process, if it is the one that writes."""
    return HeldFolder(cfg.OUTPUT_DIR) if comm.is_main_process() else None
