"""The CSV data sets that a config names: DATASETS.CSV [["Shop", "path/to/folder"]]."""

import os
import re
from collections.abc import Iterator
from typing import Any

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.catalog import dataset_root
from fastreid_ext.data.datasets.csv_dataset import register_csv_dataset
from fastreid_ext.data.hold_out import HELD_OUT
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.errors import ConfigError
from fastreid_ext.files import fault_of

NAME = re.compile(r"\w[\w.-]*")  # it becomes a part of files' names, and stands before / in --test-set


def is_listing(value: Any) -> bool:
    """Whether a value is a list of [name, folder]."""
    pairs = value if isinstance(value, list | tuple) else (None,)
    return all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(part, str) and part for part in pair)
        for pair in pairs
    )


def register_csv_sets(cfg: CfgNode) -> None:
    """Register the sets of DATASETS.CSV; those that an earlier config of this process named may move.

    Raises:
        ConfigError: a value that is no list of [name, folder], or a name that is taken or can't be one.
    """
    names = [name for name, _ in cfg.DATASETS.CSV] if is_listing(cfg.DATASETS.CSV) else None
    if names is None:
        raise ConfigError(f"DATASETS.CSV is {cfg.DATASETS.CSV!r} and must be a list of [name, folder]")
    for name, folder in cfg.DATASETS.CSV:
        if not NAME.fullmatch(name):
            raise ConfigError(f"DATASETS.CSV has the name {name!r}: a name has letters, digits, _, - and dots")
        if name in (HELD_OUT, VALIDATION):
            raise ConfigError(f"DATASETS.CSV has the name {name}, which is that of a subset of the training set")
        if names.count(name) > 1:
            raise ConfigError(f"DATASETS.CSV names {name} {names.count(name)} times: each set has one folder")
        folder = os.path.expanduser(folder)
        if fault := fault_of(folder):
            raise ConfigError(f"the folder of {name} in DATASETS.CSV {fault}")
        try:
            register_csv_dataset(name, folder, movable=True)
        except ConfigError as error:
            raise ConfigError(f"DATASETS.CSV: {error}") from error


def csv_set_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each set of DATASETS.CSV whose folder is missing, or that nothing uses.

    The folder of one that is optional may be missing.
    """
    used, optional = {*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS}, set(cfg.DATASETS.get("TESTS_OPTIONAL", ()))
    if cfg.TEST.PRECISE_BN.ENABLED:
        used.add(cfg.TEST.PRECISE_BN.DATASET)
    for name, _ in cfg.DATASETS.CSV:
        folder = dataset_root() / DATASET_REGISTRY.get(name).folder
        if not folder.is_dir() and (name in used or name not in optional):
            yield (
                f"DATASETS.CSV has the set {name}, but there is no folder {folder.absolute()}: give its absolute path,"
                f" or one below the folder of all data sets, {dataset_root().absolute()} (FASTREID_DATASETS)"
            )
        if name not in used | optional:
            yield f"DATASETS.CSV has the set {name}, which neither DATASETS.NAMES nor DATASETS.TESTS uses"
