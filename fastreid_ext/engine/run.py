"""One run, in one of its processes: set up from a config, then train, continue or evaluate."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine.train_loop import TrainerBase
from fastreid.utils import comm
from fastreid.utils.collect_env import collect_env_info
from fastreid.utils.logger import setup_logger

from fastreid_ext.config import get_cfg
from fastreid_ext.data.loader_faults import dead_workers_named
from fastreid_ext.engine.checks.config import check_config
from fastreid_ext.engine.checks.machine import check_writable
from fastreid_ext.engine.checks.resume import check_same_run
from fastreid_ext.engine.compiling import compile_model
from fastreid_ext.engine.log_file import stop_if_unwritable
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.results import write_results
from fastreid_ext.engine.run_folder import HeldFolder
from fastreid_ext.engine.run_record import write_run_record
from fastreid_ext.engine.seeding import resolve_seed, seed_everything
from fastreid_ext.engine.test_sets import with_tests_that_are_there
from fastreid_ext.engine.trained import config_file_of, load_trained
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.errors import ConfigError, FileError, UserError
from fastreid_ext.files import no_room_named, show_any_name, write_text
from fastreid_ext.signals import follows_signal

logger = logging.getLogger(__name__)


def run(config: str | CfgNode, overrides: Sequence[str], *, resume: bool = False, eval_only: bool = False) -> Any:
    """Train or evaluate in this process and return the results of the last evaluation.

    Args:
        config: a yaml, the name of a shipped one, or a config that is merged already, which is left as it is.
        overrides: KEY VALUE pairs.
        resume: continue the run in OUTPUT_DIR, if there is one.
        eval_only: evaluate MODEL.WEIGHTS on DATASETS.TESTS.

    Raises:
        UserError: an error the user can fix; its traceback is in log.txt.
    """
    try:
        cfg = checked_config(config, overrides)
        with holding(cfg) as folder, no_room_named(cfg.OUTPUT_DIR), dead_workers_named():
            setup(cfg, resume, eval_only)
            if folder is not None:
                folder.log_taken_over()
            if eval_only:
                return evaluate(cfg)
            trainer = Trainer(cfg)
            trainer.resume_or_load(resume=resume)
            return trainer.train()
    except UserError:
        with suppress(FileError):  # the disk may be full of the same
            logger.debug("stopped:", exc_info=True)
        raise


def evaluate(cfg: CfgNode) -> Any:
    """Evaluate MODEL.WEIGHTS on DATASETS.TESTS.

    Raises:
        ConfigError, CheckpointError: as :func:`load_trained`.
    """
    if not cfg.MODEL.WEIGHTS:
        raise ConfigError("--eval-only needs weights: add MODEL.WEIGHTS <output folder>/model_best.pth")
    cfg = with_tests_that_are_there(cfg)
    seed = resolve_seed(cfg.SEED)
    seed_everything(seed)
    model = compile_model(cfg, load_trained(cfg))
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        write_run_record(cfg, model, seed, eval_only=True)
        write_results(cfg, results, seed)
    return results


def checked_config(config: str | CfgNode, overrides: Sequence[str]) -> CfgNode:
    """Return the merged config, frozen, after the checks that need neither data nor the folder of the run."""
    named = isinstance(config, str)
    cfg = get_cfg() if named else config.clone()
    merge_config(cfg, config_file_of(config) if named else "", list(overrides))
    check_config(cfg, comm.get_world_size())
    check_writable(cfg)
    cfg.freeze()
    return cfg


@contextmanager
def holding(cfg: CfgNode) -> Iterator[HeldFolder | None]:
    """Hold OUTPUT_DIR in the main process; the others go on when it does, and get None.

    Raises:
        FileError: another process holds it.
    """
    with HeldFolder(cfg.OUTPUT_DIR) if comm.is_main_process() else nullcontext() as folder:
        comm.synchronize()
        yield folder


def setup(cfg: CfgNode, resume: bool, eval_only: bool) -> None:
    """Open the log and, for a training run, write config.yaml into OUTPUT_DIR, which the main process holds."""
    if resume:
        check_same_run(cfg)
    comm.synchronize()  # no process may overwrite config.yaml before all have compared it

    rank = comm.get_rank()
    for name in ("fastreid", "fastreid_ext"):
        handlers = setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name=name).handlers
        for handler in handlers:
            if not isinstance(handler, logging.StreamHandler):
                continue
            show_any_name(handler.stream)
            name = str(getattr(handler.stream, "name", ""))
            if handler.stream is sys.stdout:
                handler.setLevel(logging.INFO)  # environment and model structure go to log.txt alone
            elif os.path.basename(name).startswith("log.txt"):  # of another rank too
                stop_if_unwritable(handler, Path(name))
    logging.getLogger(TrainerBase.__module__).addFilter(_is_unexpected)
    logger.info("process %d of %d", rank, comm.get_world_size())
    logger.debug("environment:\n%s", collect_env_info())
    logger.info("command line: %s", " ".join(sys.argv))
    if comm.is_main_process() and not eval_only:
        folder = Path(cfg.OUTPUT_DIR)
        if not resume:
            # Otherwise --resume of this run, if killed in its first epoch, would continue an older one.
            (folder / "last_checkpoint").unlink(missing_ok=True)
        path = folder / "config.yaml"
        if not (resume and path.is_file()):  # that of a run that goes on says what was settled as it began
            write_text(path, cfg.dump())
        logger.info("full config in %s", path)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK and not eval_only


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Keep FastReID's training loop from logging the traceback of an error that is shown as one sentence."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, UserError) or follows_signal(error))
