"""Improved Res2Net model for Person re-identification (Cao and Lee): identification and verification of pairs."""

from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.head_plugins import MapHead, Outputs
from fastreid_ext.modeling.trunk import output_channels
from fastreid_ext.res2net.verification import PairVerification


@register(META_ARCH_REGISTRY)
class Res2NetMultiTask(BranchedReID):
    """Who is in each of two images, and whether it is the same person (figure 1).

    The two networks of figure 1 share their weights: both images of every pair are in one batch, which goes through the
    trunk once. Images 2i and 2i + 1 of a training batch are a pair.

    Args:
        backbone: any backbone of FastReID.
        head: of its last map; the paper's is :class:`PairVerificationHead`.
        shared: settings of :class:`BranchedReID`. The losses of each image are eq. 2: cross entropy over the 2P images
            of P pairs with a weight of 1 is 0.5 for each image of a pair. Augmentations must leave pairs beside each
            other.
    """

    takes = "map"
    nodes = ("MULTITASK",)
    renamed = (
        (r"verification\.", "heads.verification."),
        (r"heads\.embed\.", "heads.embedding."),
    )

    @configurable
    def __init__(self, *, backbone: nn.Module, head: MapHead, **shared: Any):
        if shared.get("momentum_elimination") is not None and getattr(head, "verification", None) is not None:
            raise ConfigError(
                "the verification of pairs compares f as it was trained, which MODEL.TEST_FEATURE.MOMENTUM_ELIMINATION"
                " changes: set its ENABLED False, or MODEL.MULTITASK.VERIFICATION False"
            )
        super().__init__(head, **shared)
        self.backbone = backbone
        self.heads = head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        backbone = build_backbone(cfg)
        return {"backbone": backbone, "head": cls.build_head(cfg, output_channels(backbone))} | cls.shared_settings(cfg)

    def branches(self, images: Tensor, targets: Tensor | None, **labels: Tensor) -> Outputs:
        """Describe every image by f, and in training classify it (eq. 1)."""
        return self.heads.branches(self.backbone(images), targets, **labels)

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature f (B, D) in float32 (section III.B, testing)."""
        return self.heads.embed(branches)

    @torch.no_grad()
    def verify(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the probability (N,) that two images show the same person (eq. 4), whichever of them is the first.

        Args:
            first, second: images (N, 3, H, W) on the 0-255 scale, as a batch of the test has them.

        Raises:
            ValueError: a model without the verification task, or one in training mode.
        """
        if self.training:
            raise ValueError("verify() compares test features: call model.eval() first")
        return self.pair_verification().probability(self(first), self(second))

    def pair_verification(self) -> PairVerification:
        """Return what compares two test features.

        Raises:
            ConfigError: a model without the verification task.
        """
        verification = getattr(self.heads, "verification", None)
        if verification is None:
            raise ConfigError(
                f"this {type(self).__name__} has no verification task (MODEL.MULTITASK.VERIFICATION False)"
            )
        return verification
