"""What the meta-architectures ask of a head in FastReID's registry, and how they build it."""

from collections.abc import Sequence

from fastreid.config import CfgNode
from fastreid.modeling.heads import build_heads
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn


def build_head(cfg: CfgNode, takes: str, feat_dim: int, keys: Sequence[str] = ()) -> nn.Module:
    """Let FastReID's build_heads build MODEL.HEADS.NAME for a trunk whose last map has ``feat_dim`` channels.

    Args:
        cfg: the config.
        takes: what the meta-architecture gives its head.
        feat_dim: written to MODEL.BACKBONE.FEAT_DIM of the config that the head is built from.
        keys: nodes below MODEL of the project.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.FEAT_DIM = feat_dim
    return build_heads(cfg)


def takes_of(kind: type | None) -> str | None:
    """Return what a registered head takes or a meta-architecture gives, None for one that does not say so."""
    return getattr(kind, "takes", None)


def has_extra_losses(cfg: CfgNode) -> bool:
    """Return whether a config's meta-architecture computes a head's extra losses, which FastReID's own do not."""
    return takes_of(META_ARCH_REGISTRY._obj_map.get(cfg.MODEL.META_ARCHITECTURE)) is not None
