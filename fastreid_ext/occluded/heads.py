"""The head of the occluded model: pooling, reconstructive pooling, classifier, momentum elimination (figure 2)."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.layers import pooling
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import MomentumElimination, ReconstructivePooling
from fastreid_ext.modeling.head_plugins import MapHead, Outputs, has_extra_losses
from fastreid_ext.modeling.heads import BNNeckHead
from fastreid_ext.occluded.multi_head import MODES, MultiHeadBNNeckHead
from fastreid_ext.precision import at_least_float32, without_autocast

logger = logging.getLogger(__name__)

TEST_FEATURES = ("neck", "pooled")
NECK_FEATURES = ("before", "after")
CIRCLE = "circle"


@register(REID_HEADS_REGISTRY)
class OccludedHead(MapHead):
    """A global feature, in training a reconstructed one beside it (section 3), and the test feature without mu (3.2).

    Takes one map (B, C, h, w). In FastReID's ``Baseline`` it trains and tests too, without reconstructive pooling,
    whose feature ``Baseline`` has no loss for, and on the sum of the classifier's heads; for momentum elimination a
    trainer other than ours needs :class:`MomentumEliminationHook`.

    Args:
        neck: BNNeck and classifier behind the pooling; its ``in_dim`` is C.
        pool_layer: name of the host's global pooling; the paper's is GeM.
        neck_feat: what the metric losses read of the global branch, "before" or "after" BNNeck.
        reconstructive_pooling: eq. 2 in training, as the branch "rp".
        reconstructed_neck: BNNeck and classifier of that branch, for L_c on both features; None for the global one
            alone.
        momentum_elimination: beta of eq. 6; None leaves it out.
        test_feature: "neck" (after BNNeck) or "pooled" (before it), where there is no momentum elimination; with it
            the test feature is the pooled one, L2-normalised, minus mu.

    Raises:
        ConfigError: an unknown pooling, neck_feat or test_feature, or a neck for a branch that there is not.
    """

    training_only = ("reconstructive_pooling", "reconstructed_neck")

    @configurable
    def __init__(
        self,
        *,
        neck: BNNeckHead,
        pool_layer: str = "GeneralizedMeanPoolingP",
        neck_feat: str = "before",
        reconstructive_pooling: bool = True,
        reconstructed_neck: BNNeckHead | None = None,
        momentum_elimination: float | None = 0.9,
        test_feature: str = "neck",
    ):
        super().__init__()
        choices = {
            "MODEL.HEADS.POOL_LAYER": (pool_layer, pooling.__all__),
            "MODEL.HEADS.NECK_FEAT": (neck_feat, NECK_FEATURES),
            "MODEL.OCCLUDED.TEST_FEATURE": (test_feature, TEST_FEATURES),
        }
        for key, (value, allowed) in choices.items():
            if value not in allowed:
                raise ConfigError(f"{key} must be one of {tuple(allowed)}, got {value!r}")
        if reconstructed_neck is not None and not reconstructive_pooling:
            raise ConfigError("MODEL.OCCLUDED.RP.CLASSIFIER True needs MODEL.OCCLUDED.RP.ENABLED True")
        self.pool = getattr(pooling, pool_layer)()
        self.neck = neck
        self.reconstructive_pooling = ReconstructivePooling(neck.in_dim) if reconstructive_pooling else None
        self.reconstructed_neck = reconstructed_neck
        self.momentum_elimination = (
            None if momentum_elimination is None else MomentumElimination(neck.dim, momentum_elimination)
        )
        self.neck_feat = neck_feat
        self.test_feature = test_feature
        reconstructed = neck.in_dim if reconstructed_neck is None else reconstructed_neck.dim
        self.dims = {"global": neck.dim} | ({"rp": reconstructed} if reconstructive_pooling else {})
        self.without_logits = ("rp",) if reconstructive_pooling and reconstructed_neck is None else ()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.OCCLUDED
        settings = {
            "neck": build_neck(cfg, cfg.MODEL.BACKBONE.FEAT_DIM),
            "pool_layer": cfg.MODEL.HEADS.POOL_LAYER,
            "neck_feat": cfg.MODEL.HEADS.NECK_FEAT,
            "reconstructive_pooling": node.RP.ENABLED and has_extra_losses(cfg),
            "momentum_elimination": None,
        }
        if settings["reconstructive_pooling"] and node.RP.CLASSIFIER:
            settings["reconstructed_neck"] = build_neck(cfg, cfg.MODEL.BACKBONE.FEAT_DIM)
        if node.RP.ENABLED and not settings["reconstructive_pooling"]:
            logger.warning(
                "%s has no loss for reconstructive pooling (MODEL.OCCLUDED.RP): %s leaves it out",
                cfg.MODEL.META_ARCHITECTURE,
                cls.__name__,
            )
        if not node.ME.ENABLED:
            return settings | {"test_feature": node.TEST_FEATURE}
        if cfg.TEST.METRIC != "cosine":
            logger.warning(
                "MODEL.OCCLUDED.ME subtracts one vector from every test feature, which leaves %s distances as they"
                " are: set TEST.METRIC cosine",
                cfg.TEST.METRIC,
            )
        return settings | {"momentum_elimination": node.ME.BETA}

    def branches(self, maps: Tensor, targets: Tensor | None = None) -> Outputs:
        """Pool the map (B, C, h, w) globally and, with targets, by reconstruction too (figure 2).

        A training step's features are shown to momentum elimination; a forward without gradients is no step.
        """
        with without_autocast(maps):  # GeM takes powers, which leave a half type's range
            pooled = self.pool(at_least_float32(maps)).flatten(1)
        outputs = {"global": self.neck(pooled.to(self.neck.weight.dtype), targets)}
        if targets is None:
            return outputs
        if self.reconstructive_pooling is not None:
            outputs["rp"] = self._reconstructed(maps, targets)
        if self.momentum_elimination is not None and torch.is_grad_enabled():
            self.momentum_elimination.observe(outputs["global"]["feature"])
        if self.neck_feat == "after":
            for output in outputs.values():
                output["feature"] = output.get("neck", output["feature"])
        return outputs

    def _reconstructed(self, maps: Tensor, targets: Tensor) -> dict[str, Tensor]:
        feature = self.reconstructive_pooling(maps)
        neck = self.reconstructed_neck
        return {"feature": feature} if neck is None else neck(feature.to(neck.weight.dtype), targets)

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D) in float32: the global one, minus mu with momentum elimination (3.2)."""
        outputs = branches["global"]
        if self.momentum_elimination is not None:
            return self.momentum_elimination(outputs["feature"])
        return outputs["neck" if self.test_feature == "neck" else "feature"].float()


def build_neck(cfg: CfgNode, in_dim: int) -> BNNeckHead:
    """Build BNNeck and the classifier of MODEL.OCCLUDED.CLASSIFIER.MODE for pooled vectors of length in_dim.

    Raises:
        ConfigError: an unknown mode, or settings that the classifier refuses.
    """
    mode = cfg.MODEL.OCCLUDED.CLASSIFIER.MODE
    if mode not in (*MODES, CIRCLE):
        raise ConfigError(f"MODEL.OCCLUDED.CLASSIFIER.MODE must be one of {(*MODES, CIRCLE)}, got {mode!r}")
    kind = BNNeckHead if mode == CIRCLE else MultiHeadBNNeckHead
    return kind(in_dim, **kind.settings_of(cfg))
