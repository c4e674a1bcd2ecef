"""Occluded Person Re-Identification with Single-scale Global Representations (Yan et al., ICCV 2021)."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.layers import pooling
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.layers import MomentumElimination, ReconstructivePooling
from fastreid_ext.modeling.augmentation_table import BatchAugmentation, augmentations_from_config
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.heads import BNNeckHead
from fastreid_ext.modeling.loss_table import Criterion, Term, terms_from_config
from fastreid_ext.modeling.trunk import output_channels
from fastreid_ext.occluded.heads import MODES, MultiHeadBNNeckHead
from fastreid_ext.precision import at_least_float32, without_autocast

logger = logging.getLogger(__name__)

TEST_FEATURES = ("neck", "pooled")
NECK_FEATURES = ("before", "after")
CIRCLE = "circle"


@register(META_ARCH_REGISTRY)
class OccludedReID(BranchedReID):
    """One global feature from one backbone; a second, reconstructed one in training (section 3, figure 2).

    With every part off it is FastReID's strong baseline: backbone, pooling, BNNeck and classifier.

    Args:
        backbone: any FastReID backbone; the paper's is build_dnl_resnet_backbone.
        head: BNNeck and classifier behind the pooling; its ``in_dim`` is the channels of the backbone's last map.
        loss_terms: eq. 5; losses on logits read the global branch alone, metric losses both branches.
        pool_layer: name of the host's global pooling; the paper's is GeM.
        neck_feat: what the metric losses read of the global branch, "before" or "after" BNNeck.
        reconstructive_pooling: eq. 2 in training, as the branch "rp".
        momentum_elimination: beta of eq. 6; None leaves it out.
        test_feature: "neck" (after BNNeck) or "pooled" (before it), where there is no momentum elimination; with it
            the test feature is the pooled one, L2-normalised, minus mu.
        augmentations: see :class:`BranchedReID`; the paper's is CompoundBatchErasing.

    Raises:
        ValueError: an unknown pooling, neck_feat or test_feature, or no metric loss for reconstructive pooling.
    """

    training_only = ("criterion", "reconstructive_pooling")

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: BNNeckHead,
        num_classes: int,
        loss_terms: list[Term],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        pool_layer: str = "GeneralizedMeanPoolingP",
        neck_feat: str = "before",
        reconstructive_pooling: bool = True,
        momentum_elimination: float | None = 0.9,
        test_feature: str = "neck",
        augmentations: Sequence[BatchAugmentation] = (),
    ):
        choices = {
            "MODEL.HEADS.POOL_LAYER": (pool_layer, pooling.__all__),
            "MODEL.HEADS.NECK_FEAT": (neck_feat, NECK_FEATURES),
            "MODEL.OCCLUDED.TEST_FEATURE": (test_feature, TEST_FEATURES),
        }
        for key, (value, allowed) in choices.items():
            if value not in allowed:
                raise ValueError(f"{key} must be one of {tuple(allowed)}, got {value!r}")
        if reconstructive_pooling and all(term.source == "logits" for term in loss_terms):
            raise ValueError(
                "MODEL.OCCLUDED.RP is trained by a metric loss, and MODEL.LOSSES.NAME has none: add"
                " BoundedExponentialDistanceLoss, or set MODEL.OCCLUDED.RP.ENABLED False"
            )
        dims = {"global": head.dim} | ({"rp": head.in_dim} if reconstructive_pooling else {})
        criterion = Criterion(loss_terms, dims, num_classes, without_logits=("rp",))
        super().__init__(criterion, list(pixel_mean), list(pixel_std), augmentations=augmentations)
        self.backbone = backbone
        self.pool = getattr(pooling, pool_layer)()
        self.heads = head
        self.reconstructive_pooling = ReconstructivePooling(head.in_dim) if reconstructive_pooling else None
        self.momentum_elimination = (
            None if momentum_elimination is None else MomentumElimination(head.dim, momentum_elimination)
        )
        self.neck_feat = neck_feat
        self.test_feature = test_feature

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node, heads = cfg.MODEL.OCCLUDED, cfg.MODEL.HEADS
        backbone = build_backbone(cfg)
        settings = {
            "backbone": backbone,
            "head": build_head(cfg, output_channels(backbone)),
            "num_classes": heads.NUM_CLASSES,
            "loss_terms": terms_from_config(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "pool_layer": heads.POOL_LAYER,
            "neck_feat": heads.NECK_FEAT,
            "reconstructive_pooling": node.RP.ENABLED,
            "momentum_elimination": None,
            "augmentations": augmentations_from_config(cfg),
        }
        # Read only where it is used, so that a key without effect is found at start-up.
        if not node.ME.ENABLED:
            return settings | {"test_feature": node.TEST_FEATURE}
        if cfg.TEST.METRIC != "cosine":
            logger.warning(
                "MODEL.OCCLUDED.ME subtracts one vector from every test feature, which leaves %s distances as they"
                " are: set TEST.METRIC cosine",
                cfg.TEST.METRIC,
            )
        return settings | {"momentum_elimination": node.ME.BETA}

    def branches(self, images: Tensor, targets: Tensor | None) -> dict[str, dict[str, Tensor]]:
        """Pool the last map globally and, in training, by reconstruction too (figure 2)."""
        maps = self.backbone(images)  # (B, C, h, w)
        with without_autocast(maps):  # GeM takes powers, which leave a half type's range
            pooled = self.pool(at_least_float32(maps)).flatten(1)
        outputs = {"global": self.heads(pooled.to(self.heads.weight.dtype), targets)}
        if targets is None:
            return outputs
        if self.reconstructive_pooling is not None:
            outputs["rp"] = {"feature": self.reconstructive_pooling(maps)}
        if self.momentum_elimination is not None:
            self.momentum_elimination.observe(outputs["global"]["feature"])
        if self.neck_feat == "after":
            outputs["global"]["feature"] = outputs["global"]["neck"]
        return outputs

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D) in float32: the global one, minus mu with momentum elimination (3.2)."""
        outputs = branches["global"]
        if self.momentum_elimination is not None:
            return self.momentum_elimination(outputs["feature"])
        return outputs["neck" if self.test_feature == "neck" else "feature"].float()


def build_head(cfg: CfgNode, in_dim: int) -> BNNeckHead:
    """Build BNNeck and the classifier of MODEL.OCCLUDED.CLASSIFIER.MODE for pooled vectors of length in_dim.

    Raises:
        ValueError: an unknown mode, or settings that the classifier refuses.
    """
    node, heads = cfg.MODEL.OCCLUDED.CLASSIFIER, cfg.MODEL.HEADS
    shared = {
        "in_dim": in_dim,
        "num_classes": heads.NUM_CLASSES,
        "embedding_dim": heads.EMBEDDING_DIM,
        "norm": heads.NORM,
    }
    if node.MODE == CIRCLE:
        return BNNeckHead(**shared, cls_layer=heads.CLS_LAYER, scale=heads.SCALE, margin=heads.MARGIN)
    if node.MODE not in MODES:
        raise ValueError(f"MODEL.OCCLUDED.CLASSIFIER.MODE must be one of {(*MODES, CIRCLE)}, got {node.MODE!r}")
    return MultiHeadBNNeckHead(**shared, mode=node.MODE, heads=node.HEADS, scale=node.SCALE, gamma=node.GAMMA)
