"""A small model of every project on every trunk of trunk_list.py, for what tries all of them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from trunk_list import TRUNKS

from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.trunk import output_channels
from fastreid_ext.res2net import backbone as res2net

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.backbones.resnest import ResNeSt
from fastreid.modeling.backbones.resnext import ResNeXt

# Project, with another's head -> demo config, other settings
PROJECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "DeepMiner": ("deepminer", {"MODEL.DEEPMINER.LOCAL_STRIPES": 2}),  # a last map may have two rows
    "MSReID": ("msreid", {"MODEL.MSREID.DIM": 32}),
    "MGRe": ("mgre", {"MODEL.HEADS.EMBEDDING_DIM": 16}),
    "OccludedReID": ("occluded", {}),
    "Res2NetMultiTask": ("res2net", {"MODEL.MULTITASK.DESCRIPTOR": "linear64"}),
    "Baseline": ("baseline", {}),
    "MSReID with MGReLocationHead": ("msreid", {"MODEL.HEADS.NAME": "MGReLocationHead"}),
    "MGRe with MaskSeparatedHead": ("mgre", {"MODEL.HEADS.NAME": "MaskSeparatedHead", "MODEL.MSREID.DIM": 32}),
    "OccludedReID with PairVerificationHead": (
        "occluded",
        {
            "MODEL.HEADS.NAME": "PairVerificationHead",
            "MODEL.MULTITASK.DESCRIPTOR": "none",
            "MODEL.MULTITASK.VERIFICATION": False,
            "MODEL.OCCLUDED.RP.ENABLED": False,
        },
    ),
    "Res2NetMultiTask with OccludedHead": (
        "res2net",
        {"MODEL.HEADS.NAME": "OccludedHead", "MODEL.OCCLUDED.RP.ENABLED": False, "SOLVER.LR_FACTORS": []},
    ),
    "DeepMiner with DNL": ("deepminer", {"MODEL.DEEPMINER.LOCAL_STRIPES": 2}),
}
VECTOR = "ViT small"  # FastReID's own, which gives no maps of stages
# Their modules are those of another row, which is smaller or has more kinds of them; or a project can't have them.
LEFT_OUT = (
    *("OSNet x0.25", "OSNet x1.0", "MobileNetV3 Large", "RegNetX-200MF", "Narrow ResNet-18", "ResNet-18", "ResNet-50"),
    *("ResNet-50, IBN", "ResNet-152", "MobileNetV4 Medium", "ConvNeXtV2 Tiny", "FastViT-T8", "DenseNet-121"),
    *("EfficientNetV2 Small", "DINOv2 Small", "DINOv3 Small", "EVA-02 Tiny"),
)
MATRIX = [trunk for trunk in TRUNKS if trunk not in (*LEFT_OUT, VECTOR)]
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.BACKBONE.WITH_IBN": False,
    "MODEL.BACKBONE.DNL.BLOCKS": [0, 2, 3, 0],  # the default again
    "MODEL.HEADS.NUM_CLASSES": 12,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "TEST.RANK_LIST.ENABLED": False,
}


def settings_of(project: str, trunk: str) -> CfgNode:
    """Return the config of a project on a trunk, both by their names."""
    return settings_on(project, TRUNKS[trunk].settings())


def settings_on(project: str, backbone: Mapping[str, Any]) -> CfgNode:
    """Return the config of a project with keys of MODEL.BACKBONE, each by its whole name."""
    file, own = PROJECTS[project]
    settings = {**SMALL, **own, **backbone}
    if project.endswith("DNL"):
        dnl = {"NAME": "build_dnl_backbone", "DNL.TRUNK": settings["MODEL.BACKBONE.NAME"], "DNL.BLOCKS": [0, 1, 1, 1]}
        settings |= {f"MODEL.BACKBONE.{key}": value for key, value in dnl.items()}
    cfg = get_config(f"demo/{file}.yml")
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    if project == "Baseline":  # FastReID's own measures nothing
        try:
            with torch.device("meta"):
                cfg.MODEL.BACKBONE.FEAT_DIM = output_channels(build_backbone(cfg))
        except RuntimeError:  # FastReID's transformer reads numbers off its tensors
            cfg.MODEL.BACKBONE.FEAT_DIM = output_channels(build_backbone(cfg))
    return cfg


@contextmanager
def short_stages() -> Iterator[None]:
    """Let networks that begin at 50 layers have one residual block a stage for a while: a third of their weights."""
    whole = {kind: kind._make_layer for kind in (ResNeXt, ResNeSt)}
    blocks = res2net.BLOCKS["26x"]
    try:
        for kind, make in whole.items():
            kind._make_layer = _of_one_block(make)
        res2net.BLOCKS["26x"] = (1, 1, 1, 1)
        yield
    finally:
        for kind, make in whole.items():
            kind._make_layer = make
        res2net.BLOCKS["26x"] = blocks


def _of_one_block(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    return lambda network, block, planes, blocks, *args, **kwargs: make(network, block, planes, 1, *args, **kwargs)
