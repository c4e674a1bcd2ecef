"""Config keys of Deep Miner, below MODEL.DEEPMINER."""

from fastreid.config import CfgNode as CN


def add_deepminer_config(cfg: CN) -> None:
    """Add the keys of Deep Miner; the defaults are the paper's final model (section 4.4)."""
    cfg.MODEL.DEEPMINER = CN()
    node = cfg.MODEL.DEEPMINER
    # Blocks B_i that an input-erased branch follows: any of 1, 2, 3
    node.IE_BLOCKS = [2, 3]
    # tau of eq. 1
    node.ERASE_THRESHOLD = 0.8
    # Horizontal stripes of the local branch (section 3.3); 0 = no local branch
    node.LOCAL_STRIPES = 4
    # Blocks B_i that an attention module follows (section 3.4); empty = no attention
    node.ATTENTION_BLOCKS = [2, 3]
    # SAM: spatial attention; A and B have C / REDUCTION channels
    node.SAM = CN({"ENABLED": True, "REDUCTION": 8})
    # CHAM: channel attention; ACTIVATION softmax | sigmoid | softmax_spatial;
    # RESCALE multiplies a softmax by its number of entries
    node.CHAM = CN({"ENABLED": True, "REDUCTION": 16, "ACTIVATION": "softmax", "RESCALE": True})
    # Divide every branch's test feature by its length, so that the long local one does not dominate
    node.TEST_BRANCH_NORM = False
