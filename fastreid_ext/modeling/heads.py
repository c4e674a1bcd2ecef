"""BNNeck and classifier, which most branches end in."""

from typing import Any

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode
from fastreid.layers import any_softmax, get_norm
from fastreid.layers.weight_init import weights_init_kaiming
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.precision import at_least_float32, without_autocast


class BNNeckHead(nn.Module):
    """A linear layer if wanted, BNNeck, and a classifier without bias.

    Luo et al., Bag of Tricks, 2019: metric losses read the feature before the batch norm, the classifier reads
    the one after it. Unlike FastReID's EmbeddingHead the feature is the one *after* the linear layer.

    Args:
        in_dim: length of the pooled vector.
        num_classes: K.
        embedding_dim: length of the feature; 0 leaves the linear layer out.
        norm: FastReID's name of the batch norm ("BN", "syncBN", ...).
        cls_layer, scale, margin: FastReID's softmax layer ("Linear", "CosSoftmax", ...) and its settings.
        classifier_std: of the normal numbers that the classifier starts from, with mean 0.

    Raises:
        ConfigError: an unknown cls_layer.
    """

    def __init__(
        self,
        in_dim: int,
        num_classes: int,
        embedding_dim: int = 0,
        norm: str = "BN",
        cls_layer: str = "Linear",
        scale: float = 1.0,
        margin: float = 0.0,
        classifier_std: float = 0.01,
    ):
        super().__init__()
        if cls_layer not in any_softmax.__all__:
            raise ConfigError(f"MODEL.HEADS.CLS_LAYER must be one of {any_softmax.__all__}, got {cls_layer!r}")
        self.in_dim = in_dim
        self.dim = embedding_dim or in_dim
        self.reduce = nn.Conv2d(in_dim, embedding_dim, 1, bias=False) if embedding_dim else nn.Identity()
        self.bnneck = get_norm(norm, self.dim, bias_freeze=True)
        self.cls_layer = getattr(any_softmax, cls_layer)(num_classes, scale, margin)
        self.weight = nn.Parameter(torch.empty(num_classes, self.dim))
        self.reduce.apply(weights_init_kaiming)
        self.bnneck.apply(weights_init_kaiming)
        nn.init.normal_(self.weight, std=classifier_std)

    @classmethod
    def settings_of(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read every setting but in_dim from MODEL.HEADS."""
        node = cfg.MODEL.HEADS
        return {
            "num_classes": node.NUM_CLASSES,
            "embedding_dim": node.EMBEDDING_DIM,
            "norm": node.NORM,
            "cls_layer": node.CLS_LAYER,
            "scale": node.SCALE,
            "margin": node.MARGIN,
        }

    def forward(self, pooled: torch.Tensor, targets: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """(B, C) -> {"feature": before BNNeck, "neck": after it, both (B, D); with targets (B,) "logits" (B, K)}.

        Raises:
            ConfigError: one image in a training batch, which has no batch statistics.
        """
        if self.training and pooled.shape[0] < 2:
            raise ConfigError("BNNeck needs at least two images in a training batch, got one")
        feature = self.reduce(pooled[:, :, None, None])
        neck = self.bnneck(feature)[:, :, 0, 0]
        output = {"feature": feature[:, :, 0, 0], "neck": neck}
        if targets is not None:
            output["logits"] = self._classify(neck, targets)
        return output

    def _classify(self, neck: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if isinstance(self.cls_layer, any_softmax.ArcSoftmax | any_softmax.CosSoftmax | any_softmax.CircleSoftmax):
            with without_autocast(neck):
                cosine = F.linear(F.normalize(at_least_float32(neck)), F.normalize(self.weight))
                return self.cls_layer(cosine, targets)  # changes its input in place
        return F.linear(neck, self.weight) * self.cls_layer.s
