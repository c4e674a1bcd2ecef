"""Improved Res2Net model for person re-identification (Cao and Lee): identification and verification of pairs."""

from fastreid_ext.res2net.config import add_multitask_config
from fastreid_ext.res2net.heads import DescriptorHead
from fastreid_ext.res2net.meta_arch import Res2NetMultiTask
from fastreid_ext.res2net.verification import PairVerification, verification_loss

__all__ = ["DescriptorHead", "PairVerification", "Res2NetMultiTask", "add_multitask_config", "verification_loss"]
