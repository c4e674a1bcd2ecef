"""Checks of names that depend on each other: losses of a model, pooling of a backbone, registered data sets."""

import os
from collections.abc import Iterator

from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from fastreid_ext.compat.names import plain_names
from fastreid_ext.data.hold_out import HELD_OUT
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.checks.rules import nearest, shortened
from fastreid_ext.modeling.capabilities import TakesMaps
from fastreid_ext.modeling.loss_table import LOSSES

# FastReID's own losses, by their nodes below MODEL.LOSSES; its focal loss is in none of its meta-architectures.
HOST_LOSSES = {"CE": "CrossEntropyLoss", "TRI": "TripletLoss", "CIRCLE": "CircleLoss", "COSFACE": "Cosface", "FL": ""}
WITHOUT_POOLING = ("Identity", "Flatten")
VECTORS = "build_vit_backbone"  # the backbone of FastReID's whose last map is a vector already


def is_users_own_model(cfg: CfgNode) -> bool:
    """Whether MODEL.META_ARCHITECTURE is neither ours nor FastReID's."""
    return _package(cfg) not in ("", "fastreid", "fastreid_ext")


def is_hosts_model(cfg: CfgNode) -> bool:
    """Whether MODEL.META_ARCHITECTURE is one of FastReID's own."""
    return _package(cfg) == "fastreid"


def _package(cfg: CfgNode) -> str:
    kind = META_ARCH_REGISTRY._obj_map.get(cfg.MODEL.META_ARCHITECTURE)
    return kind.__module__.partition(".")[0] if kind is not None else ""


def loss_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each name of MODEL.LOSSES.NAME that the model does not know; FastReID's ignore it."""
    if is_users_own_model(cfg):
        return
    arch, names = cfg.MODEL.META_ARCHITECTURE, list(cfg.MODEL.LOSSES.NAME)
    ours = isinstance(META_ARCH_REGISTRY._obj_map.get(arch), TakesMaps)
    known = sorted(LOSSES) if ours else [name for name in HOST_LOSSES.values() if name]
    who = arch if ours else f"FastReID's {arch}"
    if not names:
        yield f"MODEL.LOSSES.NAME is empty; choose from {', '.join(known)}"
    for name in names:
        if not isinstance(name, str) or name not in known:
            behind = "" if ours else " and silently ignores everything else"
            near = nearest(name, known, everything_said=True)
            yield f"MODEL.LOSSES.NAME has {name!r}; {who} knows {', '.join(known)}{behind}{near}"
    if len(set(map(str, names))) < len(names):
        yield f"MODEL.LOSSES.NAME is {names}: name each loss once"


def host_model_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each setting that FastReID's MoCo or Distiller would stop at later."""
    arch, batch = cfg.MODEL.META_ARCHITECTURE, cfg.SOLVER.IMS_PER_BATCH
    if arch == "MoCo" and cfg.MODEL.QUEUE_SIZE % batch:
        yield f"MODEL.QUEUE_SIZE ({cfg.MODEL.QUEUE_SIZE}) of MoCo must be a multiple of SOLVER.IMS_PER_BATCH ({batch})"
    configs, weights = list(cfg.KD.MODEL_CONFIG), list(cfg.KD.MODEL_WEIGHTS)
    if arch == "Distiller" and not len(configs) == len(weights) > 0:
        yield (
            f"KD.MODEL_CONFIG has {len(configs)} teachers and KD.MODEL_WEIGHTS weights of {len(weights)}:"
            " Distiller needs both, one for each teacher"
        )
    elif arch == "Distiller":
        for file in map(str, (*configs, *weights)):
            if not os.path.isfile(file):
                yield f"there is no file {shortened(file)}, which KD names for a teacher"


def pooling_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence if what is pooled is no vector, or is one before it is pooled."""
    pool, backbone = cfg.MODEL.HEADS.POOL_LAYER, cfg.MODEL.BACKBONE.NAME
    if pool in WITHOUT_POOLING and backbone != VECTORS:
        yield (
            f"MODEL.HEADS.POOL_LAYER is {pool}, which makes no vector of the last map of {backbone}: set GlobalAvgPool"
        )


def dataset_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each name of DATASETS that is not registered, or stands there twice."""
    known = sorted(plain_names(DATASET_REGISTRY))
    unknown: dict[str, list[str]] = {}
    if cfg.TEST.PRECISE_BN.ENABLED and cfg.TEST.PRECISE_BN.DATASET not in DATASET_REGISTRY._obj_map:
        unknown[cfg.TEST.PRECISE_BN.DATASET] = ["TEST.PRECISE_BN.DATASET"]
    for key, subsets in (("NAMES", ()), ("TESTS", (HELD_OUT, VALIDATION)), ("TESTS_OPTIONAL", ())):
        names = list(cfg.DATASETS[key])
        if not names and (key == "NAMES" or (key == "TESTS" and not cfg.DATASETS.TESTS_OPTIONAL)):
            yield f"DATASETS.{key} is empty and must name a data set, such as ('Market1501',)"
        for name in dict.fromkeys(map(str, names)):
            if name not in DATASET_REGISTRY._obj_map and name not in subsets:
                unknown.setdefault(name, []).append(f"DATASETS.{key}")
            elif names.count(name) > 1:
                yield f"DATASETS.{key} names {name} {names.count(name)} times: name it once"
    for name, keys in unknown.items():
        near = nearest(name, known) or f"; there are {', '.join(known)}"
        yield f"no data set is registered as {shortened(repr(name))} ({' and '.join(keys)}){near}"
