"""Losses that two papers (or a user) share: plain tensors in, a scalar out; neither cfg nor FastReID."""

from fastreid_ext.losses.bounded_exponential_distance import bounded_exponential_distance_loss
from fastreid_ext.losses.center import CenterLoss
from fastreid_ext.losses.cross_entropy import smoothed_cross_entropy
from fastreid_ext.losses.relational import relational_distance_loss, similarity_preserving_loss
from fastreid_ext.losses.supervised_contrastive import supervised_contrastive_loss
from fastreid_ext.losses.triplet import batch_hard_triplet_loss, soft_margin_triplet_loss

__all__ = [
    "CenterLoss",
    "batch_hard_triplet_loss",
    "bounded_exponential_distance_loss",
    "relational_distance_loss",
    "similarity_preserving_loss",
    "smoothed_cross_entropy",
    "soft_margin_triplet_loss",
    "supervised_contrastive_loss",
]
