"""The head of both tasks: descriptor f, classifier of identities, verification of pairs (sections II.C and II.D)."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.data.batches import PAIR_SAMPLER
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.head_plugins import MapHead, Outputs, has_extra_losses
from fastreid_ext.modeling.scalars import log_scalars
from fastreid_ext.res2net.verification import SAME, PairVerification, verification_loss

logger = logging.getLogger(__name__)


@register(REID_HEADS_REGISTRY)
class PairVerificationHead(MapHead):
    """Pool the last map to the descriptor f, classify f (eq. 1), and compare the two f of every pair (eq. 3 to 5).

    Takes one map (B, C, h, w). In FastReID's ``Baseline`` it trains and tests too, without the verification task, which
    ``Baseline`` has no loss for.

    Args:
        in_dim: C, channels of the map.
        num_classes: K.
        descriptor: "linear<D>", a linear layer on the average-pooled map, "linear4096" in the paper; "none", the
            average-pooled map; "avgmax", the average- and the max-pooled one side by side.
        dropout: of f before the classifier, in training.
        verification: with the verification task; images 2i and 2i + 1 of a training batch are a pair.
        verification_weight: of eq. 5 beside the identification.

    Attributes:
        dim: D, length of f.

    Raises:
        ConfigError: an unknown descriptor, a dropout outside [0, 1), or a weight that is not positive.
    """

    training_only = ("classifier",)

    @configurable
    def __init__(
        self,
        *,
        in_dim: int,
        num_classes: int,
        descriptor: str = "linear4096",
        dropout: float = 0.5,
        verification: bool = True,
        verification_weight: float = 1.0,
    ):
        super().__init__()
        linear = re.fullmatch(r"linear([1-9]\d*)", descriptor)
        if not linear and descriptor not in ("none", "avgmax"):
            raise ConfigError(
                f"MODEL.MULTITASK.DESCRIPTOR must be linear4096 (or another length), none or avgmax, got {descriptor!r}"
            )
        if not 0 <= dropout < 1:
            raise ConfigError(f"MODEL.MULTITASK.DROPOUT must lie in [0, 1), got {dropout}")
        if not verification_weight > 0:
            raise ConfigError(
                f"MODEL.MULTITASK.VERIFICATION_WEIGHT must be positive, got {verification_weight}; VERIFICATION False"
                " leaves the task out"
            )
        self.with_max = descriptor == "avgmax"
        self.dim = int(linear[1]) if linear else in_dim * (2 if self.with_max else 1)
        self.dims = {"global": self.dim}
        self.embedding = nn.Linear(in_dim, self.dim) if linear else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.dim, num_classes)
        for layer in (self.embedding, self.classifier):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
        self.verification = PairVerification(self.dim) if verification else None
        self.verification_weight = verification_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node, arch = cfg.MODEL.MULTITASK, cfg.MODEL.META_ARCHITECTURE
        settings = {
            "in_dim": cfg.MODEL.BACKBONE.FEAT_DIM,
            "num_classes": cfg.MODEL.HEADS.NUM_CLASSES,
            "descriptor": node.DESCRIPTOR,
            "dropout": node.DROPOUT,
            "verification": node.VERIFICATION and has_extra_losses(cfg),
        }
        if node.VERIFICATION and not settings["verification"]:
            logger.warning(
                "%s has no loss for pairs (MODEL.MULTITASK.VERIFICATION): %s leaves them out", arch, cls.__name__
            )
        if not settings["verification"]:
            return settings
        # Another sampler's batches have as many images, and hardly a positive pair among them or nothing else.
        # A model for tests alone, with fewer than two identities, comes with no settings of a loader.
        if cfg.DATALOADER.SAMPLER_TRAIN != PAIR_SAMPLER and settings["num_classes"] > 1:
            raise ConfigError(
                f"MODEL.MULTITASK.VERIFICATION learns from pairs, but DATALOADER.SAMPLER_TRAIN is"
                f" {cfg.DATALOADER.SAMPLER_TRAIN}: set it to {PAIR_SAMPLER}, or VERIFICATION False"
            )
        return settings | {"verification_weight": node.VERIFICATION_WEIGHT}

    def branches(self, maps: Tensor, targets: Tensor | None = None) -> Outputs:
        """(B, C, h, w) -> {"global": {"feature": f (B, D); with targets (B,) "logits" (B, K)}}."""
        pooled = maps.mean(dim=(2, 3))
        if self.with_max:
            pooled = torch.cat([pooled, maps.amax(dim=(2, 3))], dim=1)
        outputs = {"feature": self.embedding(pooled)}
        if targets is not None:
            outputs["logits"] = self.classifier(self.dropout(outputs["feature"]))
        return {"global": outputs}

    def extra_losses(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """Return the verification loss of all pairs (eq. 5), weighted, and log its accuracy.

        Raises:
            ConfigError: an odd batch, which is not made of pairs.
        """
        if self.verification is None:
            return {}
        if targets.shape[0] % 2:
            raise ConfigError(
                f"a training batch of {type(self).__name__} is pairs, images 2i and 2i + 1, but this one has"
                f" {targets.shape[0]} images: set DATALOADER.SAMPLER_TRAIN {PAIR_SAMPLER}"
            )
        feature = branches["global"]["feature"]
        same = targets[0::2] == targets[1::2]
        logits = self.verification(feature[0::2], feature[1::2])
        right = (logits.detach().argmax(dim=1) == SAME) == same
        log_scalars(["accuracy/verification"], right.float().mean()[None])
        return {"loss_verification_global": self.verification_weight * verification_loss(logits, same)}

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature f (B, D) in float32 (section III.B, testing)."""
        return branches["global"]["feature"].float()
