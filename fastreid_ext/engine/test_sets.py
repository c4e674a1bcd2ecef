"""The test sets of a config: DATASETS.TESTS, and those of DATASETS.TESTS_OPTIONAL that are there."""

import logging

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.catalog import DataSetError, dataset_root, is_there
from fastreid_ext.data.datasets.files import log_once
from fastreid_ext.errors import ConfigError


def skipped_sets(cfg: CfgNode) -> tuple[str, ...]:
    """Return the names of DATASETS.TESTS_OPTIONAL that are not there and that nothing else needs.

    A name that is not registered is none of them: it is a mistake.
    """
    needed = {*cfg.DATASETS.NAMES}
    if cfg.TEST.PRECISE_BN.ENABLED:
        needed.add(cfg.TEST.PRECISE_BN.DATASET)
    optional = [name for name in dict.fromkeys(cfg.DATASETS.TESTS_OPTIONAL) if name in DATASET_REGISTRY._obj_map]
    return tuple(name for name in optional if name not in needed and not is_there(name))


def tested_sets(cfg: CfgNode) -> tuple[str, ...]:
    """Return the names of DATASETS.TESTS, then of DATASETS.TESTS_OPTIONAL, without optional sets that are missing.

    What is skipped is said in the log. A set that is there but not whole is an error when it is loaded.

    Raises:
        DataSetError: none is left.
    """
    optional = dict.fromkeys(cfg.DATASETS.TESTS_OPTIONAL)
    names = dict.fromkeys((*cfg.DATASETS.TESTS, *optional))
    missing = [name for name in optional if not is_there(name)]
    left = tuple(name for name in names if name not in missing)
    if missing and not left:
        raise DataSetError(
            f"no test set is there below {dataset_root().resolve()}: DATASETS.TESTS_OPTIONAL names"
            f" {', '.join(missing)}; add one of them, or name another set in DATASETS.TESTS"
        )
    if missing:
        log_once(
            logging.WARNING,
            f"{', '.join(missing)} of DATASETS.TESTS_OPTIONAL {'is' if len(missing) == 1 else 'are'} not there below"
            f" {dataset_root().resolve()}, so the test is on {', '.join(left)} alone",
        )
    return left


def with_tests_that_are_there(cfg: CfgNode) -> CfgNode:
    """Return the config with :func:`tested_sets` in DATASETS.TESTS, so that a run tests the same sets throughout.

    What is skipped is no longer in DATASETS.CSV either, nor in TEST.REPORT.OCCLUSION_FILES.

    Raises:
        DataSetError: none is left.
    """
    if not cfg.DATASETS.TESTS_OPTIONAL:
        return cfg
    names, frozen = tested_sets(cfg), cfg.is_frozen()
    cfg = cfg.clone()
    cfg.defrost()
    skipped = skipped_sets(cfg)
    for node, key in ((cfg.DATASETS, "CSV"), (cfg.TEST.REPORT, "OCCLUSION_FILES")):
        node[key] = [[name, path] for name, path in node[key] if name not in skipped]
    cfg.DATASETS.TESTS, cfg.DATASETS.TESTS_OPTIONAL = names, ()
    if frozen:
        cfg.freeze()
    return cfg


def first_test_set(cfg: CfgNode, otherwise: str) -> str:
    """Return the name of the first test set.

    Raises:
        ConfigError: the config names none; ``otherwise`` is the sentence.
    """
    if not (cfg.DATASETS.TESTS or cfg.DATASETS.TESTS_OPTIONAL):
        raise ConfigError(otherwise)
    return tested_sets(cfg)[0]
