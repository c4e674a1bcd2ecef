"""Config keys of the Res2Net backbone, below MODEL.BACKBONE.RES2NET, and of the network, below MODEL.MULTITASK."""

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


def add_multitask_config(cfg: CN) -> None:
    """Add the keys of the multi-task network; the defaults are the paper's model."""
    cfg.MODEL.MULTITASK = CN()
    node = cfg.MODEL.MULTITASK
    # f: linear4096 (a linear layer of that or any other length on the average-pooled map) | none (the pooled map) |
    # avgmax (average- and max-pooled, side by side)
    node.DESCRIPTOR = "linear4096"
    # Of f before the classifier of the identities (eq. 1)
    node.DROPOUT = 0.5
    # The verification task (eq. 3 to 5), which needs DATALOADER.SAMPLER_TRAIN PairSampler; False leaves identification
    node.VERIFICATION = True
    # Its weight beside the identification of both images (section III.B: 1, and 0.5 for each image)
    node.VERIFICATION_WEIGHT = 1.0
