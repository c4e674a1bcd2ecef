"""Improved Res2Net model for person re-identification (Cao and Lee): the backbone, and the two tasks on pairs."""

from fastreid_ext.res2net.backbone import Res2Net, build_res2net_backbone
from fastreid_ext.res2net.bottleneck import Res2NetBottleneck
from fastreid_ext.res2net.config import add_multitask_config, add_res2net_config
from fastreid_ext.res2net.heads import PairVerificationHead
from fastreid_ext.res2net.meta_arch import Res2NetMultiTask
from fastreid_ext.res2net.verification import PairVerification, verification_loss

__all__ = [
    "PairVerification",
    "PairVerificationHead",
    "Res2Net",
    "Res2NetBottleneck",
    "Res2NetMultiTask",
    "add_multitask_config",
    "add_res2net_config",
    "build_res2net_backbone",
    "verification_loss",
]
