"""The multi-head classifier (section 3.2, L_c of eq. 5), after Tang et al., NeurIPS 2020, section 4.1."""

from typing import Any

import torch
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import unit_length
from fastreid_ext.modeling.heads import BNNeckHead
from fastreid_ext.precision import at_least_float32, without_autocast

MODES = ("per_head", "summed")


def multi_head_logits(
    features: torch.Tensor, weight: torch.Tensor, heads: int = 2, scale: float = 16.0, gamma: float = 1 / 32
) -> torch.Tensor:
    """Return ``(scale / H) x_h^T w_h / ((|w_h| + gamma) |x_h|)`` for every head h of H, in float32.

    Args:
        features: (B, D); x_h is the h-th of H equal parts.
        weight: (K, D), in the same parts.
        heads: H, a divisor of D.
        scale: of the cosines of all heads together.
        gamma: added to the norm of a weight, so that a small one answers less.

    Returns:
        (B, H, K).

    Raises:
        ConfigError: H does not divide D.
    """
    dim = features.shape[1]
    if heads < 1 or dim % heads:
        raise ConfigError(f"a classifier of {heads} heads needs a feature length that they divide, got {dim}")
    with without_autocast(features):
        x = unit_length(features.unflatten(1, (heads, -1)))  # (B, H, D / H)
        w = at_least_float32(weight).unflatten(1, (heads, -1))  # (K, H, D / H)
        w = w / (torch.linalg.vector_norm(w, dim=-1, keepdim=True) + gamma)
        return torch.einsum("bhd,khd->bhk", x, w.to(x.dtype)) * (scale / heads)


class MultiHeadBNNeckHead(BNNeckHead):
    """BNNeck with a classifier of H heads behind it.

    Args:
        in_dim: length of the pooled vector.
        num_classes: K.
        mode: per_head gives "logits" (B, H, K), whose cross entropies are summed, as L_c is printed; summed gives
            their sum (B, K), as Tang et al. train it.
        heads, scale, gamma: see :func:`multi_head_logits`.
        embedding_dim, norm: see :class:`BNNeckHead`.

    Raises:
        ConfigError: an unknown mode, or a feature length that the heads do not divide.
    """

    def __init__(
        self,
        in_dim: int,
        num_classes: int,
        mode: str = "per_head",
        heads: int = 2,
        scale: float = 16.0,
        gamma: float = 1 / 32,
        embedding_dim: int = 0,
        norm: str = "BN",
    ):
        if mode not in MODES:
            raise ConfigError(f"the mode of a multi-head classifier must be one of {MODES}, got {mode!r}")
        if heads < 1 or (embedding_dim or in_dim) % heads:
            raise ConfigError(
                f"a classifier of {heads} heads (MODEL.OCCLUDED.CLASSIFIER.HEADS) needs a feature length that they"
                f" divide, got {embedding_dim or in_dim}"
            )
        if not (scale > 0 and gamma > 0):
            raise ConfigError(f"a multi-head classifier needs scale > 0 and gamma > 0, got {scale} and {gamma}")
        super().__init__(in_dim, num_classes, embedding_dim, norm)
        self.mode = mode
        self.settings = {"heads": heads, "scale": scale, "gamma": gamma}
        self.cls_layer = nn.Identity()  # the host's softmax layers belong to one head

    @classmethod
    def settings_of(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read every setting but in_dim from MODEL.HEADS and MODEL.OCCLUDED.CLASSIFIER."""
        heads, node = cfg.MODEL.HEADS, cfg.MODEL.OCCLUDED.CLASSIFIER
        return {
            "num_classes": heads.NUM_CLASSES,
            "embedding_dim": heads.EMBEDDING_DIM,
            "norm": heads.NORM,
            "mode": node.MODE,
            "heads": node.HEADS,
            "scale": node.SCALE,
            "gamma": node.GAMMA,
        }

    def _classify(self, neck: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = multi_head_logits(neck, self.weight, **self.settings)
        return logits if self.mode == "per_head" else logits.sum(dim=1)

    def extra_repr(self) -> str:
        return f"mode={self.mode}, " + ", ".join(f"{key}={value:g}" for key, value in self.settings.items())
