"""Layers that two papers (or a user) share: plain arguments, neither cfg nor FastReID."""

from fastreid_ext.layers.disentangled_non_local import DisentangledNonLocal2d
from fastreid_ext.layers.momentum_elimination import MomentumElimination
from fastreid_ext.layers.reconstructive_pooling import ReconstructivePooling
from fastreid_ext.layers.soft_attention import SoftAttention
from fastreid_ext.layers.unit_length import unit_length

__all__ = ["DisentangledNonLocal2d", "MomentumElimination", "ReconstructivePooling", "SoftAttention", "unit_length"]
