"""Improved Res2Net Model for Person Re-Identification (Cao and Lee): the Res2Net backbone."""

from fastreid_ext.res2net.backbone import Res2Net, build_res2net_backbone
from fastreid_ext.res2net.bottleneck import Res2NetBottleneck
from fastreid_ext.res2net.config import add_res2net_config

__all__ = ["Res2Net", "Res2NetBottleneck", "add_res2net_config", "build_res2net_backbone"]
