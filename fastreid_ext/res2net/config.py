"""Config keys of the Res2Net backbone, below MODEL.BACKBONE.RES2NET."""

from fastreid.config import CfgNode as CN


def add_res2net_config(cfg: CN) -> None:
    """Add the keys of build_res2net_backbone, which reads MODEL.BACKBONE.DEPTH (26x, 50x or 101x), NORM, LAST_STRIDE,
    PRETRAIN and PRETRAIN_PATH too; the defaults are the 26w x 4s of its paper."""
    cfg.MODEL.BACKBONE.RES2NET = CN()
    node = cfg.MODEL.BACKBONE.RES2NET
    # w: channels of a split in layer1, twice as many in every further stage
    node.WIDTH = 26
    # s: splits of a block; 1 is a plain bottleneck
    node.SCALE = 4
    # The authors' later v1b: a stem of three 3x3 convolutions, and average pooling in the shortcuts instead of a stride
    node.V1B = False
