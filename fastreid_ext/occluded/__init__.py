"""Occluded Person Re-Identification with Single-scale Global Representations (Yan et al., ICCV 2021)."""

from fastreid_ext.layers import DisentangledNonLocal2d, MomentumElimination, ReconstructivePooling
from fastreid_ext.losses import bounded_exponential_distance_loss
from fastreid_ext.occluded.backbone import build_dnl_backbone, build_dnl_resnet_backbone
from fastreid_ext.occluded.config import add_occluded_config
from fastreid_ext.occluded.erasing import CompoundBatchErasing
from fastreid_ext.occluded.heads import OccludedHead
from fastreid_ext.occluded.hooks import MomentumEliminationHook
from fastreid_ext.occluded.meta_arch import OccludedReID
from fastreid_ext.occluded.multi_head import MultiHeadBNNeckHead, multi_head_logits

__all__ = [
    "CompoundBatchErasing",
    "DisentangledNonLocal2d",
    "MomentumElimination",
    "MomentumEliminationHook",
    "MultiHeadBNNeckHead",
    "OccludedHead",
    "OccludedReID",
    "ReconstructivePooling",
    "add_occluded_config",
    "bounded_exponential_distance_loss",
    "build_dnl_backbone",
    "build_dnl_resnet_backbone",
    "multi_head_logits",
]
