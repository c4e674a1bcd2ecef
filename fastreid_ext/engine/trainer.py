"""The trainer of every project: FastReID's DefaultTrainer, repeatable, resumable, on CPU and CUDA."""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, hooks
from fastreid.engine.train_loop import TrainerBase
from fastreid.evaluation import ReidEvaluator
from fastreid.modeling import build_model
from fastreid.utils import comm
from fastreid.utils.events import JSONWriter, TensorboardXWriter
from fastreid.utils.logger import setup_logger
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.data.loader import DeviceLoader
from fastreid_ext.engine import joints, loaders, optimizer, schedule
from fastreid_ext.engine.checkpoint import AtomicCheckpointer, EpochCheckpoints
from fastreid_ext.engine.checks import check_all_read, check_host_model, check_writable
from fastreid_ext.engine.devices import device_of, distributed
from fastreid_ext.engine.evaluation import evaluate_test_sets
from fastreid_ext.engine.hooks import AfterStep, AverageBuffers, EvaluateEpochs, FiniteWeights, WriteEvents
from fastreid_ext.engine.key_tracking import track
from fastreid_ext.engine.precision import autocast_dtype, losses_in_float32
from fastreid_ext.engine.progress import Progress
from fastreid_ext.engine.results import write_results
from fastreid_ext.engine.seeding import SeedEpochs, resolve_seed, seed_everything
from fastreid_ext.engine.step import TrainingStep, gradient_clipper
from fastreid_ext.errors import ConfigError, UserError, is_ours
from fastreid_ext.evaluation.evaluator import RankListEvaluator
from fastreid_ext.files import write_text
from fastreid_ext.modeling.augmentation_table import sampled_per_batch
from fastreid_ext.modeling.branched import BranchedReID

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
        cfg, reads = track(cfg)
        self.seed = resolve_seed(cfg.SEED)
        logger.info("seed %d", self.seed)
        seed_everything(self.seed)

        data_loader = self.build_train_loader(_with_seed(cfg, self.seed))
        self.seeded_loaders = [data_loader]
        self.test_loaders: loaders.TestLoaders = {}  # their workers wait from one evaluation to the next
        for name in cfg.DATASETS.TESTS:
            loaders.check_test_set(cfg, name)  # missing data is found now, not after the last epoch
        cfg = self.auto_scale_hyperparams(cfg, data_loader.dataset.num_classes)
        model = self.build_model(cfg)
        joints.check_labels(cfg, model)
        opt = self.build_optimizer(cfg, model)
        self.iters_per_epoch = len(data_loader.dataset) // sampled_per_batch(cfg)
        self.scheduler = self.build_lr_scheduler(cfg, opt, self.iters_per_epoch)
        self.warmup_iters = schedule.warmup_iters(cfg, self.iters_per_epoch)

        self._trainer = TrainingStep(distributed(model), data_loader, opt, **self.step_settings(cfg, model))
        self.start_epoch = 0
        self.max_epoch = cfg.SOLVER.MAX_EPOCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.delay_epochs = cfg.SOLVER.DELAY_EPOCHS
        self.cfg = cfg
        scaler = self._trainer.grad_scaler  # one that is off has no state, and another refuses to load none
        self.checkpointer = AtomicCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            optimizer=opt,
            **self.scheduler,
            **({"grad_scaler": scaler} if scaler.is_enabled() else {}),
        )
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
        """Return the model on its device.

        Raises:
            ConfigError: a model that does not exist, settings that it refuses, or ImageNet weights that can't be had.
        """
        try:
            model = build_model(cfg)
        except UserError as error:
            raise ConfigError(f"the model can't be built: {error}") from error
        except (KeyError, ValueError) as error:  # KeyError: the registries and tables of the host
            if is_ours(error):
                raise
            raise ConfigError(f"the model can't be built: {error.args[0] if error.args else error}") from error
        except OSError as error:
            if not cfg.MODEL.BACKBONE.PRETRAIN:
                raise
            raise ConfigError(
                f"the ImageNet weights can't be had ({error}): set MODEL.BACKBONE.PRETRAIN_PATH to a file, or"
                " MODEL.BACKBONE.PRETRAIN False to train from scratch"
            ) from error
        if not isinstance(model, BranchedReID):
            check_host_model(cfg)
            losses_in_float32(model)
        logger.debug("model:\n%s", model)
        logger.info(
            "%s with %.2f M parameters on %s",
            cfg.MODEL.META_ARCHITECTURE,
            sum(p.numel() for p in model.parameters()) / 1e6,
            cfg.MODEL.DEVICE,
        )
        return model

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
        if cfg.TEST.EVALUATOR == "host":
            return loader, ReidEvaluator(cfg, num_query, output_dir or cfg.OUTPUT_DIR)
        of_set = {
            key: getattr(loader.dataset, key) for key in ("groups", "gallery_again") if hasattr(loader.dataset, key)
        }
        return loader, RankListEvaluator(cfg, num_query, dataset_name, output_dir or cfg.OUTPUT_DIR, **of_set)

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> OrderedDict[str, Any]:
        """Evaluate a model; see :func:`fastreid_ext.engine.evaluation.evaluate_test_sets`."""
        return evaluate_test_sets(cfg, model, cls.build_evaluator)

    @classmethod
    def step_settings(cls, cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
        """Read the settings of :class:`TrainingStep` beyond model, data and optimiser."""
        settings: dict[str, Any] = {
            "autocast": autocast_dtype(device_of(cfg), cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE)
        }
        if cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
            clip = cfg.SOLVER.CLIP_GRADIENTS
            settings["clip"] = gradient_clipper(clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE)
        if cfg.MODEL.FREEZE_LAYERS and cfg.SOLVER.FREEZE_ITERS > 0:
            layers = tuple(f"{layer}." for layer in cfg.MODEL.FREEZE_LAYERS)
            settings["frozen"] = [p for name, p in model.named_parameters() if f"{name}.".startswith(layers)]
            settings["freeze_iters"] = cfg.SOLVER.FREEZE_ITERS
        return settings

    def build_hooks(self) -> list[hooks.HookBase | None]:
        """The host's hooks in the host's order, with our seeding, evaluation, checkpoints and progress."""
        cfg = self.cfg
        evaluate = EvaluateEpochs(cfg.TEST.EVAL_PERIOD, self._evaluate)
        period = cfg.SOLVER.CHECKPOINT_PERIOD  # read on every rank: all of them check that nothing is left unread
        ret = [
            SeedEpochs(self.seed),
            AfterStep(self.model),
            hooks.IterationTimer(),
            hooks.LRScheduler(self.optimizer, self.scheduler),
            self._precise_bn(),
            self._layer_freeze(),
            AverageBuffers(self.model),
            FiniteWeights(self.model),
            evaluate,
        ]
        if comm.is_main_process():
            self.epoch_checkpoints = EpochCheckpoints(
                self.checkpointer,
                period,
                metric=lambda: self._metric() if evaluate.evaluated_epoch == self.epoch else None,
                extra={"seed": self.seed},
            )
            ret += [
                self.epoch_checkpoints,
                Progress(sampled_per_batch(cfg)),
                WriteEvents(self.build_writers(), 200),
            ]
        return ret

    def build_writers(self) -> list[Any]:
        """Tensorboard and JSON as the host writes them; :class:`Progress` does the terminal."""
        folder = Path(self.cfg.OUTPUT_DIR)
        return [JSONWriter(str(folder / "metrics.json")), TensorboardXWriter(str(folder))]

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
        checkpoint = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if not (resume and self.checkpointer.has_checkpoint()):
            return
        self.start_epoch = checkpoint["epoch"] + 1
        saved_seed = checkpoint.get("seed", self.seed)
        if saved_seed != self.seed:
            if self.cfg.SEED >= 0:
                logger.warning("SEED is %d but the run was started with %d, which is kept", self.cfg.SEED, saved_seed)
            self.seed = saved_seed
            for loader in self.seeded_loaders:
                loader.loader.batch_sampler.seed = saved_seed
            for hook in self._hooks:
                if isinstance(hook, SeedEpochs):
                    hook.seed = saved_seed
        if comm.is_main_process():
            self.epoch_checkpoints.extra["seed"] = self.seed
            self.epoch_checkpoints.best_metric = checkpoint.get("best_metric", -1.0)

    def train(self) -> OrderedDict[str, Any]:
        """Train from start_epoch to MAX_EPOCH and return the last evaluation's results (main process)."""
        self.data_loader.start_at(self.start_epoch)
        if self.start_epoch >= self.max_epoch:
            logger.info("the run in %s is finished (%d epochs): evaluating it", self.cfg.OUTPUT_DIR, self.max_epoch)
            self._last_eval_results = self.test(self.cfg, self.model)
        else:
            try:
                with self._trainer.loading():
                    TrainerBase.train(self, self.start_epoch, self.max_epoch, self.iters_per_epoch)
            finally:
                for _, loader, _ in self.test_loaders.values():
                    loader.end_workers()
        if comm.is_main_process():
            write_results(self.cfg, self._last_eval_results, self.seed)
        return self._last_eval_results

    def _evaluate(self) -> OrderedDict[str, Any]:
        with loaders.keeping_test_loaders(self.test_loaders):
            self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def _metric(self) -> float:
        """The host's metric, (Rank-1 + mAP) / 2, of the first test set."""
        results = self._last_eval_results
        return float(results["metric"] if "metric" in results else next(iter(results.values()))["metric"])

    def _precise_bn(self) -> hooks.HookBase | None:
        if not self.cfg.TEST.PRECISE_BN.ENABLED:
            return None
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0
        names = (cfg.TEST.PRECISE_BN.DATASET,)
        if cfg.INPUT.JOINTS.ENABLED:
            cfg.INPUT.JOINTS.FILES = joints.files_of(cfg, names)
        cfg.DATASETS.NAMES = names
        cfg.MODEL.HEADS.NUM_CLASSES = 0
        loader = self.build_train_loader(_with_seed(cfg, self.seed))
        self.seeded_loaders.append(loader)
        return hooks.PreciseBN(self.model, loader, cfg.TEST.PRECISE_BN.NUM_ITER)

    def _layer_freeze(self) -> hooks.HookBase | None:
        cfg = self.cfg
        if not cfg.MODEL.FREEZE_LAYERS or cfg.SOLVER.FREEZE_ITERS <= 0:
            return None
        return hooks.LayerFreeze(self.model, cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS)


def _with_seed(cfg: CfgNode, seed: int) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SEED = seed
    return cfg
