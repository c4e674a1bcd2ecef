"""Checks of TEST and of what is kept out of training to be evaluated."""

from typing import Any

from fastreid.config import CfgNode

from fastreid_ext.data.hold_out import HELD_OUT
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.distances import DISTANCE_METRICS
from fastreid_ext.evaluation.evaluator import EVALUATORS, PROTOCOLS

METRICS = (*DISTANCE_METRICS, "jaccard")  # the last is FastReID's own name of a distance


def check_evaluation(cfg: CfgNode) -> None:
    """Check the stress test, the report's groups and what is kept out of training.

    Raises:
        ConfigError: a value out of its range.
    """
    for key, allowed in (("EVALUATOR", EVALUATORS), ("PROTOCOL", PROTOCOLS), ("METRIC", METRICS)):
        if cfg.TEST[key] not in allowed:
            raise ConfigError(f"TEST.{key} is {cfg.TEST[key]!r} and must be one of {allowed}")
    if cfg.TEST.EVALUATOR == "host" and cfg.TEST.PROTOCOL != PROTOCOLS[0]:
        raise ConfigError(f"FastReID's evaluator (TEST.EVALUATOR host) has no TEST.PROTOCOL {cfg.TEST.PROTOCOL}")
    node, edges, held = cfg.TEST.OCCLUSION, list(cfg.TEST.REPORT.OCCLUSION_EDGES), cfg.DATASETS.HOLD_OUT
    if not 0 <= node.PROB <= 1:
        raise ConfigError(f"TEST.OCCLUSION.PROB is {node.PROB} and must be from 0 to 1")
    area = list(node.AREA)
    if not (len(area) == 2 and _numbers(area) and 0 < area[0] <= area[1] <= 1):
        raise ConfigError(
            f"TEST.OCCLUSION.AREA is {area} and must be the smallest and the largest share of the image that is erased,"
            " such as [0.02, 0.4]"
        )
    if not 0 < node.RATIO <= 1:
        raise ConfigError(f"TEST.OCCLUSION.RATIO is {node.RATIO} and must be above 0 and not above 1")
    if node.SEED < 0:
        raise ConfigError(f"TEST.OCCLUSION.SEED is {node.SEED} and must be 0 or more")
    if not (_numbers(edges) and all(0 <= edge < 1 for edge in edges) and edges == sorted(set(edges))):
        raise ConfigError(
            f"TEST.REPORT.OCCLUSION_EDGES is {edges} and must be increasing shares, 0 to below 1, such as [0.0, 0.25]"
        )
    if held < 0 or held == 1:
        raise ConfigError(
            f"DATASETS.HOLD_OUT is {held}: 0 holds nothing out; otherwise an identity needs 2 or more held-out images"
            " to be found by each other"
        )
    if cfg.DATASETS.VALIDATION < 0:
        raise ConfigError(f"DATASETS.VALIDATION is {cfg.DATASETS.VALIDATION} and must be 0 or a number of identities")
    for name, key in ((HELD_OUT, "HOLD_OUT"), (VALIDATION, "VALIDATION")):
        if name in cfg.DATASETS.TESTS and not cfg.DATASETS[key]:
            raise ConfigError(f"DATASETS.TESTS names {name}, which is a subset of the training set: set DATASETS.{key}")


def _numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)
