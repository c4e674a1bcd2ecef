"""results.json: the numbers of a run for other programs."""

import json
import logging
import platform
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode

from fastreid_ext.engine.test_sets import tested_sets
from fastreid_ext.files import write_text

logger = logging.getLogger(__name__)


def write_results(cfg: CfgNode, results: dict[str, Any], seed: int) -> None:
    """Write results.json into OUTPUT_DIR: metrics by data set, seed, device and versions."""
    names = tested_sets(cfg)
    by_set = results if set(names) <= set(results) else {names[0]: results}
    record = {
        "results": {
            name: {key: float(value) for key, value in metrics.items() if not isinstance(value, str)}
            for name, metrics in by_set.items()
        },
        "seed": seed,
        "device": cfg.MODEL.DEVICE,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    write_text(Path(cfg.OUTPUT_DIR) / "results.json", json.dumps(record, indent=2) + "\n")
    for name, metrics in record["results"].items():
        logger.info("%s: Rank-1 %.1f, mAP %.1f", name, metrics["Rank-1"], metrics["mAP"])
    logger.info("numbers, checkpoints and rank lists are in %s", cfg.OUTPUT_DIR)
