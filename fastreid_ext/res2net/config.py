"""Config keys of the multi-task network, below MODEL.MULTITASK."""

from fastreid.config import CfgNode as CN


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
