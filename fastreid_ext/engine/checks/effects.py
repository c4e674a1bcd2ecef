"""Keys that a user set although something else is set in a way that they have no effect."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY

from fastreid_ext.config import get_cfg
from fastreid_ext.data.batches import IDENTITY_SAMPLERS, PAIR_SAMPLER
from fastreid_ext.engine.checks.names import HOST_LOSSES, is_users_own_model
from fastreid_ext.engine.key_tracking import below, given_keys, leaves
from fastreid_ext.modeling.augmentation_table import AUGMENTATIONS
from fastreid_ext.modeling.backbones import fixed_last_stride, has_token_trunk, trunk_builder, trunk_name
from fastreid_ext.modeling.distillation_table import DISTILLATION_LOSSES
from fastreid_ext.modeling.loss_table import LOSSES
from fastreid_ext.modeling.timm_trunk import BUILDER as TIMM_BUILDER

VIT_BUILDER = "build_vit_backbone"
WITHOUT_NON_LOCAL = ("18x", "34x")  # the depths of a ResNet for which FastReID's table has no place for such blocks


@dataclass(frozen=True)
class Switch:
    """Keys that another setting makes idle.

    Attributes:
        keys: they, or nodes with all below them.
        off: config -> whether they have no effect.
        because: config -> what makes them idle.
        by: the settings that do, by their keys.
        choice: the keys are of one entry of a list, such as a loss, that the list does not name. A base file sets the
            entry's keys for those who choose it.
        defaults_too: a default counts as well, if it is given on the command line: what takes the key's place has
            another value.
    """

    keys: tuple[str, ...]
    off: Callable[[CfgNode], bool]
    because: Callable[[CfgNode], str]
    by: tuple[str, ...] = ()
    choice: bool = False
    defaults_too: bool = False


def without_effect(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each key that the user gave a value other than the default, and that has no effect.

    Who switches a part off on the command line need not know which keys of it a config sets. So a key in a yaml of the
    user's own counts unless the command line has the switch, and one in a shipped yaml, or in one that the user's is
    based on, never does. In a config that we did not merge, all count but those of a loss or batch augmentation that is
    not chosen: whether a base file set them is not known.
    """
    defaults, given = dict(leaves(get_cfg())), given_keys(cfg)
    own = [k for k, value in leaves(cfg) if value != defaults.get(k) and (given is None or k in given)]
    for switch in _switches(defaults):
        if given is None and switch.choice:
            continue
        keys = own + [key for key, late in (given or {}).items() if late and key not in own and switch.defaults_too]
        idle = [key for key in keys if below(key, switch.keys) and not _is_off(cfg, key)]
        if given is not None and any(given.get(key) for key in switch.by):
            idle = [key for key in idle if given[key]]
        if idle and switch.off(cfg):
            yield from (f"{key} has no effect here: {switch.because(cfg)}" for key in idle)


def _is_off(cfg: CfgNode, key: str) -> bool:
    """Whether a key switches a part off, which does no harm where there is none."""
    return key.endswith(".ENABLED") and not value_of(cfg, key)


def value_of(cfg: CfgNode, key: str) -> Any:
    """Return the value of a dotted key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def _is(key: str, *values: Any) -> dict[str, Any]:
    """A switch that is off while a key has one of some values."""
    because = lambda cfg: f"{key} is {value_of(cfg, key)!r}"  # noqa: E731
    return {"off": lambda cfg: value_of(cfg, key) in values, "because": because, "by": (key,)}


def _is_not(key: str, *values: Any) -> dict[str, Any]:
    """A switch that is off unless a key has one of some values."""
    return _is(key) | {"off": lambda cfg: value_of(cfg, key) not in values}


def _lacks(key: str, *names: str) -> dict[str, Any]:
    """A switch that is off unless a list has one of some names."""
    named = " or ".join(dict.fromkeys(filter(None, names)))
    because = lambda cfg: f"{key} has no {named}" if named else "nothing reads it"  # noqa: E731
    return {
        "off": lambda cfg: not set(names) & set(value_of(cfg, key)),
        "because": because,
        "by": (key,),
        "choice": True,
    }


def _switches(defaults: Mapping[str, Any]) -> Iterator[Switch]:
    for node, others in _enabled_nodes(list(defaults)):
        yield Switch(others, **_is(f"{node}.ENABLED", False))
        if defaults.get(prob := f"{node}.PROB") == 0.0:  # as FastReID has it for AutoAug and AugMix
            switched = (f"{node}.ENABLED", *(key for key in others if key != prob))
            yield Switch(switched, **_is(prob, 0.0) | {"off": lambda cfg, prob=prob: _was_left(cfg, prob, 0.0)})
    by_node: dict[str, list[str]] = {node: [name] for node, name in HOST_LOSSES.items()}
    for name, entry in LOSSES.items():
        by_node.setdefault(entry.node, []).append(name)
    for node, names in by_node.items():
        switch = Switch((f"MODEL.LOSSES.{node}",), **_lacks("MODEL.LOSSES.NAME", *names))
        # A model of the user's own may read what it likes.
        yield replace(switch, off=lambda cfg, off=switch.off: not is_users_own_model(cfg) and off(cfg))
    for name, augmentation in AUGMENTATIONS.items():
        yield Switch((f"INPUT.BATCH_AUGMENT.{augmentation.node}",), **_lacks("INPUT.BATCH_AUGMENT.NAME", name))
    for name, entry in DISTILLATION_LOSSES.items():
        switch = Switch((f"KD.LOSSES.{entry.node}",), **_lacks("KD.LOSSES.NAME", name))
        yield replace(switch, off=lambda cfg, off=switch.off: bool(cfg.KD.TEACHER) and off(cfg))
    yield from TABLE


def _was_left(cfg: CfgNode, key: str, default: Any) -> bool:
    """Whether a key has its default without being given: who gives it, as in a sweep, means it."""
    return value_of(cfg, key) == default and key not in (given_keys(cfg) or {})


def _enabled_nodes(keys: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield every node that has a key ENABLED, and its other keys."""
    for node in (key.removesuffix(".ENABLED") for key in keys if key.endswith(".ENABLED")):
        others = tuple(key for key in keys if key.startswith(f"{node}.") and key != f"{node}.ENABLED")
        if others:
            yield node, others


def _has_cameras() -> bool:
    """Whether the builder of FastReID's vision transformer says how many cameras there are, as a fork's may."""
    try:
        return "camera" in inspect.getsource(inspect.unwrap(BACKBONE_REGISTRY.get(VIT_BUILDER)))
    except (OSError, TypeError):  # no source to read: it is not FastReID's, or there are compiled files alone
        return True


NAMED_BY_TIMM = {
    "off": lambda cfg: trunk_builder(cfg) == TIMM_BUILDER,
    "because": lambda cfg: "MODEL.BACKBONE.TIMM.NAME says all of a network of timm's",
    "by": ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.DNL.TRUNK"),
}
TABLE = (
    Switch(("MODEL.FREEZE_LAYERS",), **_is("SOLVER.FREEZE_ITERS", 0)),
    Switch(("SOLVER.FREEZE_ITERS",), **_is("MODEL.FREEZE_LAYERS", [])),
    Switch(
        ("MODEL.BACKBONE.PRETRAIN_PATH", "MODEL.BACKBONE.PRETRAIN_PARTIAL"), **_is("MODEL.BACKBONE.PRETRAIN", False)
    ),
    Switch(
        ("MODEL.BACKBONE.LAST_STRIDE",),
        lambda cfg: (fixed := fixed_last_stride(cfg)) is not None and fixed != cfg.MODEL.BACKBONE.LAST_STRIDE,
        lambda cfg: f"{trunk_name(cfg)} always has a last stride of {fixed_last_stride(cfg)}",
        ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.TIMM.NAME", "MODEL.BACKBONE.DNL.TRUNK"),
        defaults_too=True,
    ),
    Switch(
        ("MODEL.BACKBONE.WITH_NL",),
        lambda cfg: trunk_builder(cfg) == "build_resnet_backbone" and cfg.MODEL.BACKBONE.DEPTH in WITHOUT_NON_LOCAL,
        lambda cfg: f"FastReID puts no non-local blocks into a ResNet of depth {cfg.MODEL.BACKBONE.DEPTH}",
        ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.DEPTH", "MODEL.BACKBONE.DNL.TRUNK"),
    ),
    Switch(
        ("MODEL.BACKBONE.SIE_COE",),
        lambda cfg: trunk_builder(cfg) == VIT_BUILDER and not _has_cameras(),
        lambda cfg: f"FastReID's {VIT_BUILDER} makes no camera embedding",
        ("MODEL.BACKBONE.NAME",),
    ),
    Switch(
        ("MODEL.BACKBONE.TIMM.DROP_PATH", "MODEL.BACKBONE.TIMM.CHECKPOINTING"),
        lambda cfg: not has_token_trunk(cfg),
        lambda cfg: f"{trunk_name(cfg)} is no plain vision transformer of timm's",
        ("MODEL.BACKBONE.NAME", "MODEL.BACKBONE.TIMM.NAME", "MODEL.BACKBONE.DNL.TRUNK"),
    ),
    # False takes nothing out of a network; a depth or norm says what it is, the default one too.
    Switch(("MODEL.BACKBONE.WITH_IBN", "MODEL.BACKBONE.WITH_SE", "MODEL.BACKBONE.WITH_NL"), **NAMED_BY_TIMM),
    Switch(("MODEL.BACKBONE.DEPTH", "MODEL.BACKBONE.NORM"), **NAMED_BY_TIMM, defaults_too=True),
    Switch(
        tuple(f"MODEL.BACKBONE.DNL.{key}" for key in ("POSITIONS", "REDUCTION", "TEMPERATURE")),
        lambda cfg: not any(cfg.MODEL.BACKBONE.DNL.BLOCKS),
        lambda cfg: f"MODEL.BACKBONE.DNL.BLOCKS is {list(cfg.MODEL.BACKBONE.DNL.BLOCKS)}",
        ("MODEL.BACKBONE.DNL.BLOCKS",),
    ),
    Switch(("MODEL.WEIGHTS_PARTIAL",), **_is("MODEL.WEIGHTS", "")),
    Switch(("MODEL.HEADS.MARGIN",), **_is("MODEL.HEADS.CLS_LAYER", "Linear")),
    Switch(("MODEL.LOSSES.CE.ALPHA",), **_is_not("MODEL.LOSSES.CE.EPSILON", -1)),
    Switch(("MODEL.MULTITASK.VERIFICATION_WEIGHT",), **_is("MODEL.MULTITASK.VERIFICATION", False)),
    Switch(("MODEL.OCCLUDED.TEST_FEATURE",), **_is("MODEL.OCCLUDED.ME.ENABLED", True)),
    Switch(("MODEL.MSREID.MASK_BEFORE_REDUCE",), **_is("MODEL.MSREID.MASK", False)),
    Switch(("MODEL.DEEPMINER.ERASE_THRESHOLD",), **_is("MODEL.DEEPMINER.IE_BLOCKS", [])),
    Switch(("MODEL.DEEPMINER.SAM", "MODEL.DEEPMINER.CHAM"), **_is("MODEL.DEEPMINER.ATTENTION_BLOCKS", [])),
    Switch(("MODEL.DEEPMINER.CHAM.RESCALE",), **_is("MODEL.DEEPMINER.CHAM.ACTIVATION", "sigmoid")),
    Switch(("DATALOADER.NUM_INSTANCE",), **_is_not("DATALOADER.SAMPLER_TRAIN", *sorted(IDENTITY_SAMPLERS))),
    Switch(("DATALOADER.PAIRS",), **_is_not("DATALOADER.SAMPLER_TRAIN", PAIR_SAMPLER)),
    Switch(
        ("DATALOADER.SET_WEIGHT",),
        lambda cfg: True,
        lambda cfg: "this trainer has no SetReWeightSampler",
    ),
    Switch(("SOLVER.STEPS", "SOLVER.GAMMA"), **_is_not("SOLVER.SCHED", "MultiStepLR")),
    Switch(("SOLVER.GAMMA",), **_is("SOLVER.STEPS", [])),
    Switch(("SOLVER.ETA_MIN_LR",), **_is_not("SOLVER.SCHED", "CosineAnnealingLR")),
    Switch(
        ("SOLVER.WARMUP_FACTOR", "SOLVER.WARMUP_METHOD"),
        lambda cfg: not (cfg.SOLVER.WARMUP_EPOCHS or cfg.SOLVER.WARMUP_ITERS),
        lambda cfg: "SOLVER.WARMUP_EPOCHS and SOLVER.WARMUP_ITERS are 0",
        ("SOLVER.WARMUP_EPOCHS", "SOLVER.WARMUP_ITERS"),
    ),
    Switch(("SOLVER.MOMENTUM", "SOLVER.NESTEROV"), **_is_not("SOLVER.OPT", "SGD")),
    Switch(
        ("SOLVER.HEADS_LR_FACTOR",),
        lambda cfg: "heads" in dict(cfg.SOLVER.LR_FACTORS),
        lambda cfg: "SOLVER.LR_FACTORS has a factor for heads",
        ("SOLVER.LR_FACTORS",),
    ),
    Switch(
        ("SOLVER.CHECKPOINT_PERIOD",),
        lambda cfg: "periodic" not in cfg.SOLVER.CHECKPOINT_KEEP,
        lambda cfg: "SOLVER.CHECKPOINT_KEEP has no periodic",
        ("SOLVER.CHECKPOINT_KEEP",),
    ),
    Switch(("SOLVER.CLIP_GRADIENTS.NORM_TYPE",), **_is("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value")),
    Switch(
        ("TEST.PROTOCOL", "TEST.REPORT", "TEST.RANK_LIST", "TEST.EVAL_MEMORY_MB", "TEST.OPEN_SET"),
        **_is("TEST.EVALUATOR", "host"),
    ),
    Switch(("KD.TEACHER_WEIGHTS", "KD.LOSSES"), **_is("KD.TEACHER", "")),
    Switch(("TEST.OPEN_SET.SEED",), **_is("TEST.OPEN_SET.SHARE", 0)),
    Switch(("TEST.REPORT.OCCLUSION_EDGES", "TEST.REPORT.OCCLUSION_FILES"), **_is("TEST.PROTOCOL", "cuhk03")),
)
