"""Checks of TEST and of what is kept out of training to be evaluated."""

from collections.abc import Iterator

from fastreid.config import CfgNode

from fastreid_ext.data.hold_out import HELD_OUT
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.checks.listing import raise_together
from fastreid_ext.engine.checks.ranges import out_of_range
from fastreid_ext.engine.key_tracking import below
from fastreid_ext.engine.occlusion import occlusion_mistakes
from fastreid_ext.evaluation.evaluator import PROTOCOLS


def check_evaluation(cfg: CfgNode) -> None:
    """Check TEST and what is kept out of training, for a command that evaluates without training.

    Raises:
        ConfigError: values out of their range, or that do not fit each other.
    """
    wrong = [sentence for key, sentence in out_of_range(cfg) if below(key, ("TEST", "DATASETS"))]
    raise_together(wrong or evaluation_mistakes(cfg))


def evaluation_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each pair of settings that do not fit each other."""
    if cfg.TEST.EVALUATOR == "host" and cfg.TEST.PROTOCOL != PROTOCOLS[0]:
        yield f"FastReID's evaluator (TEST.EVALUATOR host) has no TEST.PROTOCOL {cfg.TEST.PROTOCOL}"
    if cfg.TEST.EVALUATOR == "host" and cfg.TEST.SAME_IMAGE == "exclude":
        yield "FastReID's evaluator (TEST.EVALUATOR host) leaves no image out: set TEST.SAME_IMAGE refuse or keep"
    for name, key in ((HELD_OUT, "HOLD_OUT"), (VALIDATION, "VALIDATION")):
        if name in cfg.DATASETS.TESTS and not cfg.DATASETS[key]:
            yield f"DATASETS.TESTS names {name}, which is a subset of the training set: set DATASETS.{key}"
    yield from occlusion_mistakes(cfg)
