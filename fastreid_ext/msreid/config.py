"""Config keys of MSReID, below MODEL.MSREID."""

from fastreid.config import CfgNode as CN


def add_msreid_config(cfg: CN) -> None:
    """Add the keys of MSReID; the defaults are the paper's full model."""
    cfg.MODEL.MSREID = CN()
    node = cfg.MODEL.MSREID
    # A of figure 5: soft attention behind every stage (section 3.2)
    node.ATTENTION = True
    # L: a local branch from stage 3 (section 3.3)
    node.LOCAL = True
    # M: the global branch sees the mask m, the local one 1 - m; without it both see everything
    node.MASK = True
    # Length of a branch's reduced map (section 3.4)
    node.DIM = 1536
    # How average and max pooling are put together: sum | concat (which doubles the length)
    node.POOL = "sum"
    # The maps are reduced and then masked, as the authors' code does; True is the order of the prose
    node.MASK_BEFORE_REDUCE = False
    # One set of centers for both branches instead of one each
    node.SHARED_CENTERS = False
    # How attention, mask, reduction and classifiers start: authors (as in their code) | torch
    node.INIT = "authors"
    # host: FastReID's max pooling of the stem; torchvision: padded, as converted weights of the authors need it
    node.STEM_POOL = "host"
