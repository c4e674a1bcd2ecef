"""The command line of every project: train, evaluate, resume, on one process or many."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine import default_argument_parser, launch
from fastreid.engine.train_loop import TrainerBase
from fastreid.utils import comm
from fastreid.utils.collect_env import collect_env_info
from fastreid.utils.logger import setup_logger
from torch.multiprocessing.spawn import ProcessExitedException

from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import DataSetError
from fastreid_ext.data.images import ImageError
from fastreid_ext.data.poses import PoseError
from fastreid_ext.engine.checkpoint import AtomicCheckpointer, CheckpointError
from fastreid_ext.engine.checks import (
    ConfigError,
    check_all_read,
    check_config,
    check_device,
    check_same_run,
    check_writable,
)
from fastreid_ext.engine.key_tracking import track
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.results import write_results
from fastreid_ext.engine.seeding import resolve_seed, seed_everything
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.evaluation.distances import EvaluationError
from fastreid_ext.files import write_text
from fastreid_ext.model_zoo import get_config_file

logger = logging.getLogger("fastreid_ext.main")

# What a user can mend: shown as one sentence.
MISTAKES = (CheckpointError, ConfigError, DataSetError, EvaluationError, ImageError, PoseError, FloatingPointError)


def main(argv: Sequence[str] | None = None) -> Any:
    """Parse FastReID's arguments and train or evaluate; a mistake of the user ends in one sentence and status 1."""
    args = argument_parser().parse_args(argv)
    try:
        return launch(
            run,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
    except ProcessExitedException as error:
        if error.signal_name is not None:
            raise
        sys.exit(error.exit_code)  # that process has said why


def argument_parser() -> argparse.ArgumentParser:
    """FastReID's own parser: --config-file, --resume, --eval-only, --num-gpus, --num-machines, KEY VALUE ..."""
    parser = default_argument_parser()
    parser.description = "Train or evaluate a re-identification model."
    return parser


def run(args: argparse.Namespace) -> Any:
    """Do what the command line says, in one of its processes.

    Raises:
        SystemExit: something that the user can mend, in one sentence; how it came to it is in log.txt.
    """
    try:
        cfg = setup(args)
        if args.eval_only:
            return evaluate(cfg)
        trainer = build_trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        return trainer.train()
    except MISTAKES as error:
        logger.debug("stopped:", exc_info=True)
        sys.exit(f"error: {error}")


def build_trainer(cfg: CfgNode) -> Trainer:
    """Build the trainer.

    Raises:
        ConfigError: a value that model, optimiser, schedule or precision refuse.
    """
    try:
        return Trainer(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def evaluate(cfg: CfgNode) -> Any:
    """Evaluate MODEL.WEIGHTS on DATASETS.TESTS.

    Raises:
        ConfigError, CheckpointError: as :func:`load_trained`.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("--eval-only needs weights: add MODEL.WEIGHTS <output folder>/model_best.pth")
    seed = resolve_seed(cfg.SEED)
    seed_everything(seed)
    model = load_trained(cfg)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        write_results(cfg, results, seed)
    return results


def load_trained(cfg: CfgNode) -> torch.nn.Module:
    """Build the model of a config and load MODEL.WEIGHTS for its test feature.

    Raises:
        ConfigError: no weights are named, or a model key that nothing reads.
        CheckpointError: the weights do not fit the model.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("weights are missing: add MODEL.WEIGHTS <output folder>/model_best.pth")
    check_device(cfg)
    tracked, reads = track(cfg)
    tracked.defrost()
    tracked.MODEL.BACKBONE.PRETRAIN = False
    # Classifiers and centers take no part in the test feature, and their size may be that of no data set at hand.
    tracked.MODEL.HEADS.NUM_CLASSES = max(1, tracked.MODEL.HEADS.NUM_CLASSES)
    model = Trainer.build_model(tracked)
    check_all_read(
        tracked, get_cfg(), reads | {"MODEL.BACKBONE.PRETRAIN_PATH", "MODEL.FREEZE_LAYERS"}, nodes=("MODEL",)
    )
    AtomicCheckpointer(model).load(cfg.MODEL.WEIGHTS, checkpointables=[], complete=True)
    return model


def setup(args: argparse.Namespace) -> CfgNode:
    """Merge the config, check it, open the log and, for a training run, write config.yaml into OUTPUT_DIR."""
    cfg = get_cfg()
    merge_config(cfg, config_file_of(args.config_file), args.opts)
    check_config(cfg, comm.get_world_size())
    check_writable(cfg)
    if args.resume:
        check_same_run(cfg)
    cfg.freeze()
    comm.synchronize()  # nobody may overwrite config.yaml before all have compared it

    rank = comm.get_rank()
    for name in ("fastreid", "fastreid_ext"):
        handlers = setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name=name).handlers
        for handler in handlers:
            if getattr(handler, "stream", None) is sys.stdout:
                handler.setLevel(logging.INFO)  # environment and model structure go to log.txt alone
    logging.getLogger(TrainerBase.__module__).addFilter(_is_unexpected)
    logger.info("process %d of %d", rank, comm.get_world_size())
    logger.debug("environment:\n%s", collect_env_info())
    logger.info("command line: %s", " ".join(sys.argv))
    if comm.is_main_process() and not args.eval_only:
        folder = Path(cfg.OUTPUT_DIR)
        if not args.resume:
            # Or a --resume of this run, killed in its first epoch, would continue an older one.
            (folder / "last_checkpoint").unlink(missing_ok=True)
        path = folder / "config.yaml"
        write_text(path, cfg.dump())
        logger.info("full config in %s", path)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not args.eval_only
    return cfg


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Keep the host's training loop from logging the traceback of what is shown as one sentence."""
    return not (record.exc_info and isinstance(record.exc_info[1], MISTAKES))


def config_file_of(path: str) -> str:
    """Return a file as it is, else the shipped config of that name, such as DeepMiner/Market1501_R50.yml.

    Raises:
        ConfigError: neither exists.
    """
    if not path or os.path.isfile(path):
        return path
    try:
        return get_config_file(path)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path}, and {error}") from error
