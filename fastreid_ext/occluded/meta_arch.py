"""Occluded Person Re-Identification with Single-scale Global Representations (Yan et al., ICCV 2021)."""

from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.head_plugins import MapHead, Outputs
from fastreid_ext.modeling.trunk import output_channels


@register(META_ARCH_REGISTRY)
class OccludedReID(BranchedReID):
    """One global feature from one backbone; a second, reconstructed one in training (section 3, figure 2).

    With every part off it is FastReID's strong baseline: backbone, pooling, BNNeck and classifier.

    Args:
        backbone: any FastReID backbone; the paper's is build_dnl_resnet_backbone.
        head: of its last map; the paper's is :class:`OccludedHead`.
        shared: settings of :class:`BranchedReID`. The losses are eq. 5: those on logits read the global branch alone,
            metric losses both; the paper's augmentation is CompoundBatchErasing.

    Raises:
        ConfigError: no metric loss for reconstructive pooling.
    """

    takes = "map"
    nodes = ("OCCLUDED",)
    renamed = (
        (r"pool\.", "heads.pool."),
        (r"heads\.(reduce\.|bnneck\.|weight$)", r"heads.neck.\1"),
        (r"(reconstructive_pooling|momentum_elimination)\.", r"heads.\1."),
    )

    @configurable
    def __init__(self, *, backbone: nn.Module, head: MapHead, **shared: Any):
        if head.without_logits and all(term.source == "logits" for term in shared["loss_terms"]):
            raise ConfigError(
                "MODEL.OCCLUDED.RP is trained by a metric loss, and MODEL.LOSSES.NAME has none: add"
                " BoundedExponentialDistanceLoss, or set MODEL.OCCLUDED.RP.ENABLED False"
            )
        super().__init__(head, **shared)
        self.backbone = backbone
        self.heads = head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        return cls.shared_settings(cfg) | {
            "backbone": backbone,
            "head": cls.build_head(cfg, output_channels(backbone)),
        }

    def branches(self, images: Tensor, targets: Tensor | None, **labels: Tensor) -> Outputs:
        """Give the head the last map, which it pools globally and, in training, by reconstruction too (figure 2)."""
        return self.heads.branches(self.backbone(images), targets, **labels)

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D) in float32: the head's, the global one minus mu (3.2)."""
        return self.heads.embed(branches)
