"""Figures in the smallest size: the settings of their runs, and the command."""

import tiny_resnet  # noqa: F401  (a backbone)
from small_training import RUN

from fastreid_ext.cli import main

TINY = RUN | {
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.FEAT_DIM": 64,
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.DEVICE": "cpu",
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "TEST.IMS_PER_BATCH": 32,
    "SOLVER.CHECKPOINT_KEEP": ("final", "latest"),
}
OPTS = [str(item) for pair in TINY.items() for item in pair]


def call(output, project, figure, *options, opts=()):
    command = ["reproduce", project, figure, "--size", "synthreid", "--no-estimate", "--output", str(output)]
    return main([*command, *map(str, options), "--opts", *OPTS, *opts])
