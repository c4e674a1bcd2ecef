"""The model of a run, on its device, or one sentence on why there is none."""

import inspect
import logging
import os
import pickle
from collections.abc import Sequence

import torch
from fastreid.config import CfgNode
from fastreid.modeling import build_model as build_registered
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from torch import nn

from fastreid_ext import zoo
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.engine.checks.config import augmentation_mistakes
from fastreid_ext.engine.checks.listing import raise_together
from fastreid_ext.engine.checks.names import loss_mistakes
from fastreid_ext.engine.checks.rules import nearest
from fastreid_ext.engine.checks.trial import MISFITS, try_model
from fastreid_ext.engine.precision import losses_in_float32
from fastreid_ext.errors import ConfigError, UserError, first_line, is_ours
from fastreid_ext.modeling.backbones import fixed_last_stride, trunk_builder, trunk_name
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.weights import check_file

logger = logging.getLogger(__name__)


def build_model(cfg: CfgNode) -> nn.Module:
    """Return the model of MODEL.META_ARCHITECTURE on its device.

    Raises:
        ConfigError: a model that does not exist, settings that it refuses, or missing ImageNet weights.
    """
    backbone = cfg.MODEL.BACKBONE
    _check_files(cfg)
    try:
        model = build_registered(cfg)
        if cfg.MODEL.META_ARCHITECTURE == "Distiller":
            check_teachers(model.model_ts, cfg.KD.MODEL_WEIGHTS)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"MODEL.BACKBONE.PRETRAIN_PATH: {backbone.PRETRAIN_PATH} can't be read safely as weights"
            f" ({first_line(error)})"
        ) from error
    except UserError as error:
        raise ConfigError(f"the model can't be built: {error}") from error
    except (KeyError, ValueError) as error:  # KeyError: the registries and tables of the host
        if is_ours(error):
            raise
        raise ConfigError(f"the model can't be built: {_depths(cfg, error) or first_line(error)}") from error
    except MISFITS as error:  # FastReID asserts its names, and its MGN loads weights of another shape
        if is_ours(error):
            raise
        raise ConfigError(f"the model can't be built: {first_line(error)}") from error
    except OSError as error:
        if not cfg.MODEL.BACKBONE.PRETRAIN:
            raise
        raise ConfigError(
            f"the ImageNet weights are not available ({error}): set MODEL.BACKBONE.PRETRAIN_PATH to a file, or"
            " MODEL.BACKBONE.PRETRAIN False to train from scratch"
        ) from error
    if not isinstance(model, BranchedReID):
        raise_together([*loss_mistakes(cfg), *augmentation_mistakes(cfg)])
        losses_in_float32(model)
    if cfg.MODEL.CHANNELS_LAST:
        model = model.to(memory_format=torch.channels_last)  # a convolution's output is laid out as its weights are
    try_model(model, cfg)
    logger.debug("model:\n%s", model)
    fixed = fixed_last_stride(cfg)
    if fixed is not None and fixed != backbone.LAST_STRIDE:
        # A default, or what a shipped config sets for its own trunk: whoever gives the key is stopped by a check.
        logger.info(
            "MODEL.BACKBONE.LAST_STRIDE %s is left out: %s always has a last stride of %s",
            *(backbone.LAST_STRIDE, trunk_name(cfg), fixed),
        )
    logger.info(
        "%s with %.2f M parameters on %s",
        cfg.MODEL.META_ARCHITECTURE,
        sum(p.numel() for p in model.parameters()) / 1e6,
        cfg.MODEL.DEVICE,
    )
    return model


def check_teachers(teachers: Sequence[nn.Module], files: Sequence[str]) -> None:
    """Load the weights of distillation's teachers again, because FastReID goes on with a part of a teacher.

    Args:
        teachers: FastReID's ``Distiller.model_ts``; the last ones are those of the files.
        files: KD.MODEL_WEIGHTS.

    Raises:
        ConfigError: a file that is missing or of another model.
    """
    for teacher, path in zip(teachers[-len(files) :], files, strict=True):
        try:
            AtomicCheckpointer(teacher).load(path, checkpointables=[], complete=True)
        except UserError as error:
            raise ConfigError(f"KD.MODEL_WEIGHTS has {path}: {error}") from error


def _check_files(cfg: CfgNode) -> None:
    """Check the files that code which is not ours will read: a user's own backbone, and FastReID's distillation.

    Raises:
        ConfigError: one that is no file of weights.
    """
    backbone = cfg.MODEL.BACKBONE
    files = {"KD.MODEL_WEIGHTS": list(cfg.KD.MODEL_WEIGHTS)} if cfg.MODEL.META_ARCHITECTURE == "Distiller" else {}
    trunk = trunk_builder(cfg)
    if backbone.PRETRAIN and not hasattr(BACKBONE_REGISTRY._obj_map.get(trunk), "loads_whole"):
        files["MODEL.BACKBONE.PRETRAIN_PATH"] = [backbone.PRETRAIN_PATH]
        if file := zoo.file_named(backbone.PRETRAIN_PATH):
            raise ConfigError(
                f"MODEL.BACKBONE.PRETRAIN_PATH is {backbone.PRETRAIN_PATH}, and {trunk} reads its file by code"
                f" of its own, which does not know that name: write {file}"
            )
    for key, paths in files.items():
        for path in filter(os.path.exists, paths):
            try:
                check_file(path)
            except UserError as error:
                raise ConfigError(f"{key}: {error}") from error


def _depths(cfg: CfgNode, error: Exception) -> str:
    """Return which depths a backbone has, if an error is about one that it lacks; FastReID has them in its code."""
    depth, name = cfg.MODEL.BACKBONE.DEPTH, cfg.MODEL.BACKBONE.NAME
    if not isinstance(error, KeyError) or error.args != (depth,):
        return ""
    build = inspect.unwrap(BACKBONE_REGISTRY._obj_map.get(trunk_builder(cfg)))
    consts = [c for c in build.__code__.co_consts if isinstance(c, tuple) and c]
    tables = [c for c in consts if all(isinstance(d, str) and any(map(str.isdigit, d)) for d in c)]
    # What is in all tables: ResNeXt's of blocks has a 152x, its table of non-local blocks does not.
    known = [d for d in tables[0] if all(d in table for table in tables)] if tables else []
    listed = f", which has {', '.join(known)}{nearest(depth, known, everything_said=True)}" if known else ""
    return f"MODEL.BACKBONE.DEPTH is {depth!r}, a depth that is none of {name}{listed}"
