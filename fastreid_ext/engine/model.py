"""The model of a run, on its device, or one sentence on why there is none."""

import logging
import pickle
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.modeling import build_model as build_registered
from torch import nn

from fastreid_ext.engine.checks.config import check_host_model
from fastreid_ext.engine.precision import losses_in_float32
from fastreid_ext.errors import ConfigError, UserError, first_line, is_ours
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.weight_files import check_weights_file

logger = logging.getLogger(__name__)


def build_model(cfg: CfgNode) -> nn.Module:
    """Return the model of MODEL.META_ARCHITECTURE on its device.

    Raises:
        ConfigError: a model that does not exist, settings that it refuses, or missing ImageNet weights.
    """
    backbone = cfg.MODEL.BACKBONE
    try:
        if backbone.PRETRAIN and Path(backbone.PRETRAIN_PATH).is_file():
            check_weights_file(backbone.PRETRAIN_PATH)
        model = build_registered(cfg)
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
        raise ConfigError(f"the model can't be built: {error.args[0] if error.args else error}") from error
    except OSError as error:
        if not cfg.MODEL.BACKBONE.PRETRAIN:
            raise
        raise ConfigError(
            f"the ImageNet weights are not available ({error}): set MODEL.BACKBONE.PRETRAIN_PATH to a file, or"
            " MODEL.BACKBONE.PRETRAIN False to train from scratch"
        ) from error
    if not isinstance(model, BranchedReID):
        check_host_model(cfg)
        losses_in_float32(model)
    logger.debug("model:\n%s", model)
    logger.info(
        "%s with %.2f M parameters on %s",
        cfg.MODEL.META_ARCHITECTURE,
        sum(p.numel() for p in model.parameters()) / 1e6,
        cfg.MODEL.DEVICE,
    )
    return model
