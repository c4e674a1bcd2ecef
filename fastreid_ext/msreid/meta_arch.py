"""Mask Separated Feature Learning for Person Re-Identification (Kim and Kim)."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.layers import get_norm
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import SoftAttention
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.head_plugins import BranchHead, Outputs
from fastreid_ext.modeling.trunk import STAGES, check_trunk, pool_stem, run_stage, run_stem, stage_channels
from fastreid_ext.msreid.start import check_init, start

STEM_POOLS = ("host", "torchvision")
REDUCTION = 16  # of the soft attention's channels


@register(META_ARCH_REGISTRY)
class MSReID(BranchedReID):
    """Soft attention behind every stage of a trunk, and a head that separates two features by a mask (figure 2).

    Args:
        backbone: any trunk, see :mod:`fastreid_ext.modeling.trunk`; the paper's is ResNet-50.
        head: of the stages' maps; the paper's is :class:`MaskSeparatedHead`.
        attention: soft attention behind each stage, whose channel part has a 16th of the stage's channels inside; where
            16 does not divide them, their greatest common divisor takes its place.
        attention_norm: FastReID's name of the attention's batch norm.
        shared_centers: one set of centers for both branches.
        stem_pool: "host", or "torchvision" for the padded max pooling of the authors' stem.
        init: how the attention starts, see :mod:`fastreid_ext.msreid.start`.
        shared: settings of :class:`BranchedReID`.

    Raises:
        ConfigError: a backbone without stages, an unknown stem_pool or init, or "torchvision" for a stem without
            pooling.
    """

    takes = "stage_maps"
    nodes = ("MSREID",)
    renamed = ((r"heads\.(reduce|necks)\.global\.", r"heads.\1.global_."),)

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: BranchHead,
        attention: bool = True,
        attention_norm: str = "BN",
        shared_centers: bool = False,
        stem_pool: str = "host",
        init: str = "authors",
        **shared: Any,
    ):
        check_trunk(backbone)
        if stem_pool not in STEM_POOLS:
            raise ConfigError(f"MODEL.MSREID.STEM_POOL must be one of {STEM_POOLS}, got {stem_pool!r}")
        check_init(init)
        super().__init__(head, shared_losses=("center",) if shared_centers else (), **shared)
        channels = stage_channels(backbone)
        if stem_pool == "torchvision":
            pool_stem(backbone, nn.MaxPool2d(kernel_size=3, stride=2, padding=1))
        self.backbone = backbone
        norm = partial(get_norm, attention_norm)
        stages = STAGES if attention else ()
        self.attention = nn.ModuleDict(
            {str(i): SoftAttention(channels[i], math.gcd(channels[i], REDUCTION), norm) for i in stages}
        )
        start(self.attention, init)
        self.heads = head

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node, backbone = cfg.MODEL.MSREID, build_backbone(cfg)
        check_trunk(backbone)
        settings = cls.shared_settings(cfg) | {
            "backbone": backbone,
            "head": cls.build_head(cfg, stage_channels(backbone)[4]),
            "attention": node.ATTENTION,
            "attention_norm": cfg.MODEL.HEADS.NORM,
            "stem_pool": node.STEM_POOL,
            "init": node.INIT,
        }
        if node.LOCAL and any(term.what == "center" for term in settings["loss_terms"]):
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
            ConfigError: a model without the mask.
        """
        if getattr(self.heads, "mask", None) is None:
            raise ConfigError(
                f"this model has no mask (MODEL.MSREID.MASK False): its {type(self.heads).__name__} makes none"
            )
        maps = self.maps(images)
        masks = self.heads.masks(maps[3], maps[4])
        return {f"{name} mask": masks[name] for name in self.heads.necks}

    def branches(self, images: Tensor, targets: Tensor | None, **labels: Tensor) -> Outputs:
        """Give the head the stages' maps: it separates those of stages 3 and 4 by the mask."""
        return self.heads.branches(self.maps(images), targets, **labels)

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D): both features before BNNeck, concatenated, not normalised, in float32."""
        return torch.cat([outputs["feature"].float() for outputs in branches.values()], dim=1)
