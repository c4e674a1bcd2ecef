"""Mask Separated Feature Learning for Person Re-Identification (Kim and Kim)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.layers import get_norm
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.layers import SoftAttention
from fastreid_ext.modeling.augmentation_table import BatchAugmentation, augmentations_from_config
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.loss_table import Criterion, Term, terms_from_config
from fastreid_ext.modeling.trunk import STAGES, check_trunk, run_stage, run_stem, stage_channels
from fastreid_ext.msreid.heads import MaskSeparatedHead

STEM_POOLS = ("host", "torchvision")


@register(META_ARCH_REGISTRY)
class MSReID(BranchedReID):
    """Soft attention behind every stage of a ResNet, and a head that separates two features by a mask (figure 2).

    Args:
        backbone: any ResNet-like FastReID backbone.
        head: :class:`MaskSeparatedHead` for the channels of its layer3 and layer4.
        num_classes: K, identities of the training set.
        loss_terms: the losses of each branch (eq. 4).
        attention: soft attention behind layer1 ... layer4.
        attention_norm: FastReID's name of the attention's batch norm.
        shared_centers: one set of centers for both branches.
        stem_pool: "host", or "torchvision" for the padded max pooling of the authors' stem.
        augmentations: see :class:`BranchedReID`.

    Raises:
        ValueError: a backbone without ResNet stages, or an unknown stem_pool.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: MaskSeparatedHead,
        num_classes: int,
        loss_terms: list[Term],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        attention: bool = True,
        attention_norm: str = "BN",
        shared_centers: bool = False,
        stem_pool: str = "host",
        augmentations: Sequence[BatchAugmentation] = (),
    ):
        check_trunk(backbone)
        if stem_pool not in STEM_POOLS:
            raise ValueError(f"MODEL.MSREID.STEM_POOL must be one of {STEM_POOLS}, got {stem_pool!r}")
        shared = ("center",) if shared_centers else ()
        super().__init__(
            Criterion(loss_terms, head.dims, num_classes, shared=shared),
            list(pixel_mean),
            list(pixel_std),
            augmentations=augmentations,
        )
        channels = stage_channels(backbone)
        if stem_pool == "torchvision":
            backbone.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.backbone = backbone
        norm = partial(get_norm, attention_norm)
        stages = STAGES if attention else ()
        self.attention = nn.ModuleDict({str(i): SoftAttention(channels[i], norm=norm) for i in stages})
        self.heads = head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.MSREID
        backbone = build_backbone(cfg)
        check_trunk(backbone)
        channels = stage_channels(backbone)
        terms = terms_from_config(cfg)
        settings = {
            "backbone": backbone,
            "head": MaskSeparatedHead(cfg, local_channels=channels[3], global_channels=channels[4]),
            "num_classes": cfg.MODEL.HEADS.NUM_CLASSES,
            "loss_terms": terms,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "attention": node.ATTENTION,
            "attention_norm": cfg.MODEL.HEADS.NORM,
            "stem_pool": node.STEM_POOL,
            "augmentations": augmentations_from_config(cfg),
        }
        # Read only where it is used, so that a key without effect is found at start-up.
        if node.LOCAL and any(term.what == "center" for term in terms):
            settings["shared_centers"] = node.SHARED_CENTERS
        return settings

    def maps(self, images: Tensor) -> dict[int, Tensor]:
        """Return stage -> its map (B, C, h, w) behind the attention, of normalised images (B, 3, H, W)."""
        maps = {}
        y = run_stem(self.backbone, images)
        for stage in STAGES:
            y = run_stage(self.backbone, stage, y)
            maps[stage] = y = self.attention[str(stage)](y) if self.attention else y
        return maps

    def spatial_masks(self, images: Tensor) -> dict[str, Tensor]:
        """Return what each branch sees, (B, 1, h, w) in [0, 1], of normalised images (figure 1).

        Raises:
            ValueError: a model without the mask.
        """
        if self.heads.mask is None:
            raise ValueError("this model has no mask (MODEL.MSREID.MASK False)")
        maps = self.maps(images)
        masks = self.heads.masks(maps[3], maps[4])
        return {f"{name} mask": masks[name] for name in self.heads.necks}

    def branches(self, images: Tensor, targets: Tensor | None) -> dict[str, dict[str, Tensor]]:
        """Separate layer3's and layer4's maps by the mask and pass each through its head."""
        maps = self.maps(images)
        return self.heads(maps[3], maps[4], targets)

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D): both features before BNNeck, concatenated, not normalised, in float32."""
        return torch.cat([outputs["feature"].float() for outputs in branches.values()], dim=1)
