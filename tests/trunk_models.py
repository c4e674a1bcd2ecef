"""A small config of every project on every trunk of benchmarks/trunk_table.py."""

import shapes
from fastreid.modeling.backbones import build_backbone
from trunk_table import TRUNKS

from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.trunk import output_channels

# (MODEL.META_ARCHITECTURE, head) -> demo config, other settings
PROJECTS = {
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


def settings_of(project, trunk):
    """Return the config of a project on a trunk, both by their names."""
    return settings_on(project, TRUNKS[trunk].settings())


def settings_on(project, backbone):
    """Return the config of a project with keys of MODEL.BACKBONE, each by its whole name."""
    file, own = PROJECTS[project]
    settings = {**SMALL, **own, **backbone}
    if project.endswith("DNL"):
        dnl = {"NAME": "build_dnl_backbone", "DNL.TRUNK": settings["MODEL.BACKBONE.NAME"], "DNL.BLOCKS": [0, 1, 1, 1]}
        settings |= {f"MODEL.BACKBONE.{key}": value for key, value in dnl.items()}
    cfg = get_config(f"demo/{file}.yml")
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    if project == "Baseline":  # FastReID's own measures nothing
        numbers = cfg.MODEL.BACKBONE.NAME == "build_vit_backbone"  # it reads some off its tensors
        with shapes.WithoutDraws() if numbers else shapes.OnMeta():
            cfg.MODEL.BACKBONE.FEAT_DIM = output_channels(build_backbone(cfg))
    return cfg
