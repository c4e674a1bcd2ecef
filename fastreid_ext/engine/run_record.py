"""report.json: what a run was made of and with, which ``fastreid-ext report`` reads beside its results."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

from fastreid.config import CfgNode
from torch import nn

import fastreid_ext
from fastreid_ext.engine.environment import environment
from fastreid_ext.engine.model_cost import model_cost
from fastreid_ext.errors import FileError
from fastreid_ext.files import write_text
from fastreid_ext.foreign_files import read_json

NAME, FORMAT = "report.json", "fastreid-ext run 1"
GIT_SECONDS = 5.0

logger = logging.getLogger(__name__)


def write_run_record(cfg: CfgNode, model: nn.Module, seed: int, eval_only: bool = False) -> None:
    """Write report.json into OUTPUT_DIR; the main process alone calls it, after the evaluation.

    An evaluation of weights of a run into the run's own folder keeps what its training recorded.

    Args:
        cfg: the run's config.
        model: without a wrapper for several processes.
        seed: of the run.
        eval_only: the run trained nothing.

    Raises:
        FileError: it can't be written.
    """
    path = Path(cfg.OUTPUT_DIR) / NAME
    if eval_only and Path(cfg.MODEL.WEIGHTS).resolve().parent == path.resolve().parent and _is_of_training(path):
        return
    try:
        cost = model_cost(cfg, model)
    except Exception:  # of a model from elsewhere; what days of training gave must not be lost for it
        logger.warning("the multiply-adds of the model could not be counted:", exc_info=True)
        cost = {}
    record = {
        "format": FORMAT,
        "finished": time.strftime("%F %T %z"),
        "command": sys.argv,
        "eval_only": eval_only,
        "seed": seed,
        "commit": commit(),
        "environment": {"python": sys.version.split()[0], **environment(cfg.MODEL.DEVICE)},
        "model": cost,
        "config": cfg.dump(),
    }
    write_text(path, json.dumps(record, indent=1) + "\n")


def _is_of_training(path: Path) -> bool:
    try:
        found = read_json(path) if path.is_file() else None
    except FileError:  # damaged: it is written anew
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT and found.get("eval_only") is False


def commit() -> str:
    """Return the commit of the checkout that this package runs from, "-dirty" at its end if files were changed.

    "" where it runs from no checkout, or git can't say.
    """
    root = Path(fastreid_ext.__file__).parents[1]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):  # no git, or a disk that is slow
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
