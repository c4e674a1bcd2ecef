"""Improved Res2Net model for Person re-identification (Cao and Lee): identification and verification of pairs."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils.events import get_event_storage
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.data.batches import PAIR_SAMPLER
from fastreid_ext.modeling.augmentation_table import BatchAugmentation, augmentations_from_config
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.loss_table import Criterion, Term, terms_from_config
from fastreid_ext.modeling.trunk import output_channels
from fastreid_ext.res2net.heads import DescriptorHead
from fastreid_ext.res2net.verification import SAME, PairVerification, verification_loss


@register(META_ARCH_REGISTRY)
class Res2NetMultiTask(BranchedReID):
    """Who is in each of two images, and whether it is the same person (figure 1).

    The two networks of figure 1 share their weights: both images of every pair are in one batch, which goes through the
    trunk once. Images 2i and 2i + 1 of a training batch are a pair.

    Args:
        backbone: any backbone of FastReID.
        head: of its last map.
        num_classes: K, identities of the training set.
        loss_terms: the losses of each image (eq. 2); cross entropy over the 2P images of P pairs with a weight of 1 is
            0.5 for each image of a pair.
        verification: of head.dim numbers; None = identification alone.
        verification_weight: of eq. 5.
        augmentations: see :class:`BranchedReID`; they must leave pairs beside each other.

    Raises:
        ValueError: a weight that is not positive.
    """

    training_only = ("criterion", "heads.classifier")

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: DescriptorHead,
        num_classes: int,
        loss_terms: list[Term],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        verification: PairVerification | None = None,
        verification_weight: float = 1.0,
        augmentations: Sequence[BatchAugmentation] = (),
    ):
        if not verification_weight > 0:
            raise ValueError(
                f"MODEL.MULTITASK.VERIFICATION_WEIGHT must be positive, got {verification_weight}; VERIFICATION False"
                " leaves the task out"
            )
        super().__init__(
            Criterion(loss_terms, {"global": head.dim}, num_classes),
            list(pixel_mean),
            list(pixel_std),
            augmentations=augmentations,
        )
        self.backbone = backbone
        self.heads = head
        self.verification = verification
        self.verification_weight = verification_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.MULTITASK
        backbone = build_backbone(cfg)
        head = DescriptorHead(output_channels(backbone), cfg.MODEL.HEADS.NUM_CLASSES, node.DESCRIPTOR, node.DROPOUT)
        settings = {
            "backbone": backbone,
            "head": head,
            "num_classes": cfg.MODEL.HEADS.NUM_CLASSES,
            "loss_terms": terms_from_config(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "augmentations": augmentations_from_config(cfg),
        }
        if not node.VERIFICATION:
            return settings
        # Another sampler's batches have as many images, and hardly a positive pair among them or nothing else.
        if cfg.DATALOADER.SAMPLER_TRAIN != PAIR_SAMPLER:
            raise ValueError(
                f"MODEL.MULTITASK.VERIFICATION learns from pairs, but DATALOADER.SAMPLER_TRAIN is"
                f" {cfg.DATALOADER.SAMPLER_TRAIN}: set it to {PAIR_SAMPLER}, or VERIFICATION False"
            )
        # Read only where it is used, so that a key without effect is found at start-up.
        return settings | {
            "verification": PairVerification(head.dim),
            "verification_weight": node.VERIFICATION_WEIGHT,
        }

    def branches(self, images: Tensor, targets: Tensor | None) -> dict[str, dict[str, Tensor]]:
        """Describe every image by f, and in training classify it (eq. 1)."""
        return {"global": self.heads(self.backbone(images), targets)}

    def losses(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """Identification of all images (eq. 2) and verification of all pairs (eq. 5).

        Raises:
            ValueError: an odd batch, which is not made of pairs.
        """
        losses = self.criterion(branches, targets)
        if self.verification is None:
            return losses
        if len(targets) % 2:
            raise ValueError(
                f"a training batch of {type(self).__name__} is pairs, images 2i and 2i + 1, but this one has"
                f" {len(targets)} images: set DATALOADER.SAMPLER_TRAIN {PAIR_SAMPLER}"
            )
        feature = branches["global"]["feature"]
        same = targets[0::2] == targets[1::2]
        logits = self.verification(feature[0::2], feature[1::2])
        losses["loss_verification_global"] = self.verification_weight * verification_loss(logits, same)
        right = (logits.detach().argmax(dim=1) == SAME) == same
        get_event_storage().put_scalar("accuracy/verification", right.float().mean().item())
        return losses

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature f (B, D) in float32 (section III.B, testing)."""
        return branches["global"]["feature"].float()

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
            ValueError: a model without the verification task.
        """
        if self.verification is None:
            raise ValueError(
                f"this {type(self).__name__} has no verification task (MODEL.MULTITASK.VERIFICATION False)"
            )
        return self.verification
