"""Config keys of MGRe, below MODEL.MGRE."""

from fastreid.config import CfgNode as CN

from fastreid_ext.mgre.regions import TABLE_1


def add_mgre_config(cfg: CN) -> None:
    """Add the keys of MGRe; the defaults are the paper's full model."""
    cfg.MODEL.MGRE = CN()
    node = cfg.MODEL.MGRE
    # Stages with located regions (table 4): any of 1, 2, 3. The whole image at stage 4 is always there
    node.STAGES = [1, 2, 3]
    # Table 1 and the joints of every region, see fastreid_ext.mgre.regions: a row each of
    # (name, stage, C_x, C_y, N, M, prior height, prior width, joints)
    # (lists all through: what is written to config.yaml must read as the default again)
    node.REGIONS = [[*row[:-1], list(row[-1])] for row in TABLE_1]
    # What the location module reads: raw (the stage's own map) | fused (with semantic guidance)
    node.LOCATION_INPUT = "raw"
    # Residual blocks of a feature extraction module; 0 = as many as the backbone's own stage has, which is the paper's
    node.FE = CN({"BLOCKS": 0})
    # Location loss (eq. 3): margin around the joints as a share of the image, least confidence and number of joints
    node.LOCATION = CN({"MARGIN": 0.05, "CONFIDENCE": 0.2, "MIN_JOINTS": 2})
    # lambda of eq. 9, the weight of the losses of stages 1 to 3
    node.LAMBDA = 1.0
    # lambda^F of eq. 6, of stages 1 to 4; those of unused stages do not count
    node.TEST_WEIGHTS = [0.35, 0.5, 0.7, 0.8]
