"""Checks that a run is continued by the config that began it."""

import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from fastreid.config import CfgNode

from fastreid_ext.config import BEFORE_THE_KEY, get_cfg
from fastreid_ext.engine.csv_sets import is_listing
from fastreid_ext.errors import ConfigError, first_line
from fastreid_ext.files import read_text
from fastreid_ext.modeling.renamed import renamed_settings

# Keys that may differ between a run and its continuation: they change neither weights nor batches.
FREE_ON_RESUME = (
    "OUTPUT_DIR",
    "TEST",
    "DATASETS.TESTS",
    "DATASETS.TESTS_OPTIONAL",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.WEIGHTS_PARTIAL",
    "MODEL.BACKBONE.PRETRAIN_PARTIAL",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.PRETRAIN_PATH",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.CACHE_DIR",
    "DATALOADER.FAST_PIXELS",
    "DATALOADER.VERIFY_IMAGES",
    "SOLVER.COMPILE",
    "SOLVER.MAX_EPOCH",
    "SOLVER.CHECKPOINT_KEEP",
    "SOLVER.CHECKPOINT_PERIOD",
    "CUDNN_BENCHMARK",
    "SEED",
)

MOST_KEYS = 10_000
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 200
SHORT.maxlist = SHORT.maxtuple = 20
SHORT.maxlevel = 3


def check_same_run(cfg: CfgNode) -> None:
    """Check that OUTPUT_DIR, which --resume continues, was written by this config.

    Raises:
        ConfigError: the keys that differ, with both values.
    """
    path = Path(cfg.OUTPUT_DIR) / "config.yaml"
    if not path.is_file():
        return
    try:
        written = yaml.safe_load(read_text(path))
        found = _flat(written) if isinstance(written, dict) else {}
        # A run from before a key had what is the key's default, or was at first.
        before = renamed_settings(_flat(yaml.safe_load(get_cfg().dump())) | BEFORE_THE_KEY | found)
    except (RecursionError, TypeError, ValueError, yaml.YAMLError) as error:  # also a number of thousands of digits
        raise ConfigError(f"{path} is damaged ({first_line(error)}): choose another OUTPUT_DIR") from error
    now = _flat(yaml.safe_load(cfg.dump()))
    if not now.keys() & found.keys():
        raise ConfigError(f"{path} is not the config of a run: choose another OUTPUT_DIR")
    if now.get("MODEL.HEADS.NUM_CLASSES") == 0:
        before.pop("MODEL.HEADS.NUM_CLASSES", None)
        now.pop("MODEL.HEADS.NUM_CLASSES")
    if now.get("MODEL.CHANNELS_LAST") is None:  # the run settled it
        before.pop("MODEL.CHANNELS_LAST", None)
    free = set(FREE_ON_RESUME)
    bound = ("TEST.PRECISE_BN",)  # it changes the batch norms that are saved
    if cfg.SOLVER.SCHED == "CosineAnnealingLR":
        free.remove("SOLVER.MAX_EPOCH")  # the cosine ends there, so earlier learning rates would have differed
    for tree in (before, now):  # what is tested may change
        sets = tree.get("DATASETS.CSV")
        if is_listing(sets):
            trained_on = tree.get("DATASETS.NAMES") or ()
            tree["DATASETS.CSV"] = [pair for pair in sets if pair[0] in trained_on]
    changed = [
        f"{key} was {SHORT.repr(before[key])} and is {SHORT.repr(now[key])}"
        for key in sorted(now.keys() & before.keys())
        if before[key] != now[key] and (_below(key, bound) or not _below(key, free))
    ]
    if changed:
        raise ConfigError(
            f"{cfg.OUTPUT_DIR} holds a run of another config ({'; '.join(changed)}): choose another OUTPUT_DIR, or"
            " run without --resume to start again there"
        )


def _below(key: str, nodes: Iterable[str]) -> bool:
    return any(key == node or key.startswith(node + ".") for node in nodes)


def _flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
        if len(flat) > MOST_KEYS:  # a node that names itself many times over would fill the memory
            raise ValueError(f"more than {MOST_KEYS} keys")
    return flat
