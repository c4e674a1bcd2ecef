"""MGRe: multi-granularity features from regions that are located and described together."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.mgre.heads import MGReLocationHead
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.head_plugins import BranchHead, Outputs
from fastreid_ext.modeling.regions import Granularity, RegionBoxes
from fastreid_ext.modeling.trunk import STAGES, check_trunk, map_of, run_stage, run_stem, stage_channels


@register(META_ARCH_REGISTRY)
class MGRe(BranchedReID):
    """Regions of the body located behind stages 1 to 3, the whole image behind stage 4 (figure 2).

    Args:
        backbone: any trunk, see :mod:`fastreid_ext.modeling.trunk`; the paper's is ResNet-50-IBN.
        head: of the stages' maps; the paper's is :class:`MGReLocationHead`.
        loss_weight: lambda of eq. 9.
        test_weights: lambda^F of eq. 6, for stages 1 to 4; a branch of another name than "stage<i>" weighs 1.
        shared: settings of :class:`BranchedReID`.

    Raises:
        ConfigError: a backbone without stages, or a weight that is not positive.
    """

    takes = "stage_maps"
    nodes = ("MGRE",)
    renamed = (
        (r"(guidance|locate|extract)\.", r"heads.\1."),
        (r"heads\.(stage\d)\.", r"heads.necks.\1."),
    )

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        head: BranchHead,
        loss_weight: float = 1.0,
        test_weights: Sequence[float] = (0.35, 0.5, 0.7, 0.8),
        **shared: Any,
    ):
        check_trunk(backbone)
        if not (loss_weight > 0 and math.isfinite(loss_weight)):
            raise ConfigError(f"MODEL.MGRE.LAMBDA must be positive, got {loss_weight}")
        if len(test_weights) != len(STAGES) or not all(weight > 0 for weight in test_weights):
            raise ConfigError(f"MODEL.MGRE.TEST_WEIGHTS must be four positive numbers, got {list(test_weights)}")
        super().__init__(head, **shared)
        self.backbone = backbone
        self.heads = head
        self.loss_weight = loss_weight
        of_stages = {f"stage{i}": weight for i, weight in zip(STAGES, test_weights, strict=True)}
        self.test_weights = {name: of_stages.get(name, 1.0) for name in head.dims}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node, backbone = cfg.MODEL.MGRE, build_backbone(cfg)
        check_trunk(backbone)
        settings = cls.shared_settings(cfg) | {
            "backbone": backbone,
            "head": cls.build_head(cfg, stage_channels(backbone)[4]),
        }
        if node.STAGES or len(node.WHOLE_IMAGE) > 1:
            settings["loss_weight"] = node.LAMBDA
        if len(node.WHOLE_IMAGE) > 1 or (node.STAGES and node.SAMPLE):
            settings["test_weights"] = node.TEST_WEIGHTS
        return settings

    def maps(self, images: Tensor) -> dict[int, Tensor]:
        """Return stage -> its map (B, C, h, w), of normalised images (B, 3, H, W)."""
        maps, y = {}, run_stem(self.backbone, images)
        for stage in STAGES:
            y = run_stage(self.backbone, stage, y)
            maps[stage] = map_of(y)
        return maps

    def branches(self, images: Tensor, targets: Tensor | None, **labels: Tensor) -> Outputs:
        """Give the head the stages' maps: it locates, samples and describes regions of each (figure 2)."""
        return self.heads.branches(self.maps(images), targets, **labels)

    def losses(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """lambda times the losses of stages 1 to 3, location among them, and those of stage 4 (eq. 9)."""
        losses = super().losses(branches, targets)
        return {key: loss if key.endswith("stage4") else self.loss_weight * loss for key, loss in losses.items()}

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D): L2-normalised features after BNNeck times lambda^F, concatenated (eq. 6)."""
        parts = [self.test_weights[name] * part for name, part in self.test_parts(branches).items()]
        return torch.cat(parts, dim=1)

    def test_parts(self, branches: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return branch -> L2-normalised feature (B, D) after BNNeck, which lambda^F weighs."""
        return {name: F.normalize(branches[name]["neck"].float()) for name in self.test_weights}

    def test_weights_option(self, weights: Mapping[str, float]) -> tuple[str, list[float]]:
        """Return the config key of lambda^F and its value for weights of the branches; 1 for an unused stage."""
        return "MODEL.MGRE.TEST_WEIGHTS", [weights.get(f"stage{i}", 1.0) for i in STAGES]

    def locate_regions(self, images: Tensor, joints: Tensor | None = None) -> dict[str, RegionBoxes]:
        """Return region -> its boxes in normalised images, and those that joints (B, J, 3) give."""
        return self._location_head().locate_regions(self.maps(images), joints)

    def granularities(self) -> dict[str, Granularity]:
        """Return stage -> the maps that its feature is pooled from, for figure 4."""
        return self._location_head().granularities(self.test_weights)

    def _location_head(self) -> MGReLocationHead:
        if not isinstance(self.heads, MGReLocationHead):
            raise ConfigError(f"{type(self.heads).__name__} locates no regions: MODEL.HEADS.NAME MGReLocationHead does")
        return self.heads
