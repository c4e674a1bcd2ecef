"""Config keys of occluded re-identification, below MODEL.OCCLUDED, MODEL.BACKBONE.DNL and INPUT.BATCH_AUGMENT.CBE."""

from fastreid.config import CfgNode as CN


def add_occluded_config(cfg: CN) -> None:
    """Add the keys of the occluded project; the defaults are the paper's full model (section 5.1)."""
    cfg.MODEL.OCCLUDED = CN()
    node = cfg.MODEL.OCCLUDED
    # Reconstructive pooling (eq. 2): a second feature that the metric losses read, in training only. CLASSIFIER: with
    # a BNNeck and a classifier of its own, so that L_c reads both features, as the caption of figure 2 has it
    node.RP = CN({"ENABLED": True, "CLASSIFIER": False})
    # Momentum elimination (eq. 6): the test feature is the pooled one, L2-normalised, minus its running mean mu.
    # BETA is the share of the old mean
    node.ME = CN({"ENABLED": True, "BETA": 0.9})
    # Test feature without ME: neck (after BNNeck, as FastReID's) | pooled (before it)
    node.TEST_FEATURE = "neck"
    # L_c of eq. 5: per_head (a cross entropy each) | summed (one, on the sum of the heads' logits) | circle
    # (FastReID's softmax layer, MODEL.HEADS.CLS_LAYER, SCALE and MARGIN, with one head)
    node.CLASSIFIER = CN({"MODE": "per_head", "HEADS": 2, "SCALE": 16.0, "GAMMA": 1 / 32})
    # Disentangled non-local blocks (eq. 1) of build_dnl_resnet_backbone and build_dnl_backbone: behind how many of the
    # residual blocks of stages 1 to 4; which ones: last | alternate (every other one); C / REDUCTION channels inside;
    # TEMPERATURE of the pairwise term (0.05 in the code of Yin et al.). TRUNK is what build_dnl_backbone puts them in:
    # any MODEL.BACKBONE.NAME whose network has stages (docs/trunks.md)
    cfg.MODEL.BACKBONE.DNL = CN({"BLOCKS": [0, 2, 3, 0], "POSITIONS": "last", "REDUCTION": 2, "TEMPERATURE": 1.0})
    cfg.MODEL.BACKBONE.DNL.TRUNK = "build_resnet_backbone"
