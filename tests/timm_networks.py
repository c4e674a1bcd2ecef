"""Trunks of timm's networks for tests."""

import functools

from fastreid.modeling.backbones import build_backbone
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.modeling.trunk import STAGES, run_stage, run_stem


def config(name, **keys):
    cfg = get_cfg()
    node = {"NAME": "build_timm_backbone", "TIMM.NAME": name, "PRETRAIN": False, "LAST_STRIDE": 2, **keys}
    cfg.merge_from_list([item for key, value in node.items() for item in (f"MODEL.BACKBONE.{key}", value)])
    return cfg


def make(name, **keys):
    return build_backbone(config(name, **keys))


@functools.cache
def built(name):
    """A trunk that is only looked at."""
    return make(name)


def by_stage(trunk, images):
    y = run_stem(trunk, images)
    for stage in STAGES:
        y = run_stage(trunk, stage, y)
    return y


def awake(network):
    """Branches that begin at almost nothing, as those of a ConvNeXt do, would hide what is in them."""
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, mean=float(not name.endswith("bias")), std=0.2)
    return network
