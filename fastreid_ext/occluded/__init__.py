"""Occluded Person Re-Identification with Single-scale Global Representations (Yan et al., ICCV 2021)."""

from fastreid_ext.layers import DisentangledNonLocal2d, MomentumElimination, ReconstructivePooling
from fastreid_ext.occluded.backbone import build_dnl_resnet_backbone
from fastreid_ext.occluded.config import add_occluded_config
from fastreid_ext.occluded.erasing import CompoundBatchErasing
from fastreid_ext.occluded.heads import MultiHeadBNNeckHead, multi_head_logits
from fastreid_ext.occluded.meta_arch import OccludedReID

__all__ = [
    "CompoundBatchErasing",
    "DisentangledNonLocal2d",
    "MomentumElimination",
    "MultiHeadBNNeckHead",
    "OccludedReID",
    "ReconstructivePooling",
    "add_occluded_config",
    "build_dnl_resnet_backbone",
    "multi_head_logits",
]
