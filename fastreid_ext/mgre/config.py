"""Config keys of MGRe, below MODEL.MGRE."""

from fastreid.config import CfgNode as CN

from fastreid_ext.mgre.regions import TABLE_1


def add_mgre_config(cfg: CN) -> None:
    """Add the keys of MGRe; the defaults are the paper's full model."""
    cfg.MODEL.MGRE = CN()
    node = cfg.MODEL.MGRE
    # Stages with regions of the body (table 4): any of 1, 2, 3
    node.STAGES = [1, 2, 3]
    # Stages whose whole map is described: 4, and any that STAGES leaves ([1, 2, 3, 4] and no STAGES: "single-grained
    # regions" of table 5)
    node.WHOLE_IMAGE = [4]
    # The map that regions are located on and sampled from: own (their stage's) | last (stage 4's: "single-grained
    # features" of table 5)
    node.MAPS = "own"
    # Where regions lie: located (by the model, trained with joints) | labelled (around the joints, which the test needs
    # then too: INPUT.JOINTS.TEST; "without JO" of table 7)
    node.BOXES = "located"
    # False: regions are located but not sampled, and only WHOLE_IMAGE is described ("Baseline + JO" of table 7)
    node.SAMPLE = True
    # Table 1 and the joints of every region, see fastreid_ext.mgre.regions: a row each of
    # (name, stage, C_x, C_y, N, M, prior height, prior width, joints)
    # (lists all through: what is written to config.yaml must read as the default again)
    node.REGIONS = [[*row[:-1], list(row[-1])] for row in TABLE_1]
    # What the location module reads: raw (the stage's own map) | fused (with semantic guidance)
    node.LOCATION_INPUT = "raw"
    # Residual blocks of a feature extraction module; -1 = as many as the backbone's own stage has, the paper's reading;
    # 0 = none, as in the baseline
    node.FE = CN({"BLOCKS": -1})
    # Location loss (eq. 3): margin around the joints as a share of the image, least confidence and number of joints;
    # the units of its errors: pixels (of the stage's map, as eq. 2 has them) | shares (of the image, which need a
    # weight of about 1000); its weight beside the other losses
    node.LOCATION = CN({"MARGIN": 0.05, "CONFIDENCE": 0.2, "MIN_JOINTS": 2, "UNITS": "pixels", "WEIGHT": 1.0})
    # lambda of eq. 9, the weight of the losses of stages 1 to 3
    node.LAMBDA = 1.0
    # lambda^F of eq. 6, of stages 1 to 4; those of unused stages do not count
    node.TEST_WEIGHTS = [0.35, 0.5, 0.7, 0.8]
