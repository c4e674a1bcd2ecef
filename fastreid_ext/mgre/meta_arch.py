"""MGRe: multi-granularity features from regions that are located and described together."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.mgre.extraction import SemanticGuidance, feature_extraction, pool
from fastreid_ext.mgre.located import granularities, region_boxes
from fastreid_ext.mgre.location import LocationModule, location_loss
from fastreid_ext.mgre.regions import Region, regions_from_rows
from fastreid_ext.mgre.sampling import sample_regions
from fastreid_ext.modeling.augmentation_table import BatchAugmentation, augmentations_from_config
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.heads import BNNeckHead
from fastreid_ext.modeling.located import Granularity, RegionBoxes
from fastreid_ext.modeling.loss_table import Criterion, Term, terms_from_config
from fastreid_ext.modeling.trunk import STAGES, check_trunk, run_stage, run_stem, stage_channels

LOCATED = (1, 2, 3)
GUIDED = (1, 2)  # stages whose maps lack semantic information (section 3.1)
LOCATION_INPUTS = ("raw", "fused")


@META_ARCH_REGISTRY.register()
class MGRe(BranchedReID):
    """Regions of the body located behind stages 1 to 3, the whole image behind stage 4 (figure 2).

    Args:
        backbone: any ResNet-like FastReID backbone; the paper's is ResNet-50-IBN.
        num_classes: K, identities of the training set.
        loss_terms: identification and triplet loss of every stage.
        regions: rows of table 1; those of stages that are not used are left out.
        stages: with located regions, any of 1, 2, 3.
        location_input: "raw" or "fused", what the location modules read.
        blocks: residual blocks of a feature extraction module; 0 = as many as the backbone's stage has.
        location: settings of :func:`location_loss`: margin, threshold, min_joints.
        loss_weight: lambda of eq. 9.
        test_weights: lambda^F of eq. 6, for stages 1 to 4.
        head: settings of :class:`BNNeckHead` other than in_dim and num_classes.
        augmentations: see :class:`BranchedReID`.

    Raises:
        ValueError: stages that do not exist or have no region, or values outside their range.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        num_classes: int,
        loss_terms: list[Term],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        regions: Sequence[Region],
        stages: Sequence[int] = LOCATED,
        location_input: str = "raw",
        blocks: int = 0,
        location: dict[str, float] | None = None,
        loss_weight: float = 1.0,
        test_weights: Sequence[float] = (0.35, 0.5, 0.7, 0.8),
        head: dict[str, Any] | None = None,
        augmentations: Sequence[BatchAugmentation] = (),
    ):
        check_trunk(backbone)
        stages = sorted(stages)
        self._check(stages, regions, location_input, loss_weight, test_weights)
        head = {"embedding_dim": 512} | (head or {})
        channels = stage_channels(backbone)
        located = {i: [region for region in regions if region.stage == i] for i in stages}
        counts = {i: len(members) for i, members in located.items()} | {4: 1}
        heads = {f"stage{i}": BNNeckHead(channels[i] * n, num_classes, **head) for i, n in counts.items()}
        criterion = Criterion(loss_terms, {name: h.dim for name, h in heads.items()}, num_classes)
        super().__init__(criterion, list(pixel_mean), list(pixel_std), augmentations=augmentations)

        norm = head.get("norm", "BN")
        self.labels = ("joints",) if stages else ()
        self.regions = located
        self.backbone = backbone
        self.guidance = nn.ModuleDict(
            {str(i): SemanticGuidance(channels[4], channels[i]) for i in stages if i in GUIDED}
        )
        self.locate = nn.ModuleDict({str(i): LocationModule(channels[i], located[i]) for i in stages})
        layers = {i: getattr(backbone, f"layer{i}") for i in counts}
        extract = {region.name: region.stage for i in stages for region in located[i]} | {"image": 4}
        self.extract = nn.ModuleDict(
            {name: feature_extraction(layers[i], blocks or len(layers[i]), norm) for name, i in extract.items()}
        )
        self.heads = nn.ModuleDict(heads)
        self.location_input = location_input
        self.location = location or {}
        self.loss_weight = loss_weight
        self.test_weights = {f"stage{i}": test_weights[i - 1] for i in counts}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node, heads = cfg.MODEL.MGRE, cfg.MODEL.HEADS
        settings = {
            "backbone": build_backbone(cfg),
            "num_classes": heads.NUM_CLASSES,
            "loss_terms": terms_from_config(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "stages": node.STAGES,
            "regions": regions_from_rows(node.REGIONS),
            "blocks": node.FE.BLOCKS,
            "test_weights": node.TEST_WEIGHTS,
            "head": {
                "embedding_dim": heads.EMBEDDING_DIM,
                "norm": heads.NORM,
                "cls_layer": heads.CLS_LAYER,
                "scale": heads.SCALE,
                "margin": heads.MARGIN,
            },
            "augmentations": augmentations_from_config(cfg),
        }
        # Read only where it is used, so that a key without effect is found at start-up.
        if node.STAGES:
            settings["location_input"] = node.LOCATION_INPUT
            settings["loss_weight"] = node.LAMBDA
            place = node.LOCATION
            settings["location"] = {
                "margin": place.MARGIN,
                "threshold": place.CONFIDENCE,
                "min_joints": place.MIN_JOINTS,
            }
        return settings

    @staticmethod
    def _check(
        stages: Sequence[int],
        regions: Sequence[Region],
        location_input: str,
        loss_weight: float,
        test_weights: Sequence[float],
    ) -> None:
        if len(set(stages)) != len(stages) or not set(stages) <= set(LOCATED):
            raise ValueError(f"MODEL.MGRE.STAGES must name each stage once, out of {LOCATED}; got {list(stages)}")
        empty = [i for i in stages if not any(region.stage == i for region in regions)]
        if empty:
            raise ValueError(f"MODEL.MGRE.STAGES has {empty}, for which MODEL.MGRE.REGIONS has no region")
        if location_input not in LOCATION_INPUTS:
            raise ValueError(f"MODEL.MGRE.LOCATION_INPUT must be one of {LOCATION_INPUTS}, got {location_input!r}")
        if not loss_weight > 0:
            raise ValueError(f"MODEL.MGRE.LAMBDA must be positive, got {loss_weight}")
        if len(test_weights) != len(STAGES) or not all(weight > 0 for weight in test_weights):
            raise ValueError(f"MODEL.MGRE.TEST_WEIGHTS must be four positive numbers, got {list(test_weights)}")

    def maps(self, images: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Return the stages' maps, and those that are sampled: with semantic guidance where there is one."""
        raw, y = {}, run_stem(self.backbone, images)
        for stage in STAGES:
            raw[stage] = y = run_stage(self.backbone, stage, y)
        fused = {i: self.guidance[str(i)](y, raw[4]) if str(i) in self.guidance else y for i, y in raw.items()}
        return raw, fused

    def boxes(self, raw: Mapping[int, Tensor], fused: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return stage -> predicted boxes (B, R, 4) of its regions (eq. 1, 2)."""
        read = raw if self.location_input == "raw" else fused
        return {i: self.locate[str(i)](read[i]) for i in self.regions}

    def located(self, images: Tensor, joints: Tensor | None = None) -> dict[str, RegionBoxes]:
        """Return region -> its boxes in normalised images, and those that joints (B, J, 3) give."""
        return region_boxes(self.regions, self.boxes(*self.maps(images)), joints, self.location)

    def granularities(self) -> dict[str, Granularity]:
        """Return stage -> the maps that its feature is pooled from, for figure 4."""
        return granularities(self.regions, self.test_weights, self.extract)

    def branches(
        self, images: Tensor, targets: Tensor | None, joints: Tensor | None = None
    ) -> dict[str, dict[str, Tensor]]:
        """Locate, sample and describe the regions of every stage (figure 2)."""
        raw, fused = self.maps(images)
        outputs = {}
        for i, boxes in self.boxes(raw, fused).items():
            regions = self.regions[i]
            parts = [sample_regions(fused[i], boxes[:, n], region.sampled) for n, region in enumerate(regions)]
            pooled = [pool(self.extract[region.name](part)) for region, part in zip(regions, parts, strict=True)]
            outputs[f"stage{i}"] = self._describe(f"stage{i}", pooled, targets)
            if targets is not None and joints is not None:
                joint_sets = [region.joints for region in regions]
                outputs[f"stage{i}"]["location"] = location_loss(boxes, joints, joint_sets, **self.location)
        outputs["stage4"] = self._describe("stage4", [pool(self.extract["image"](raw[4]))], targets)
        return outputs

    def _describe(self, name: str, pooled: list[Tensor], targets: Tensor | None) -> dict[str, Tensor]:
        head = self.heads[name]
        return head(torch.cat(pooled, dim=1).to(head.weight.dtype), targets)

    def losses(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """lambda times the losses of stages 1 to 3, location among them, and those of stage 4 (eq. 9)."""
        losses = self.criterion(branches, targets)
        for name, outputs in branches.items():
            if "location" in outputs:
                losses[f"loss_location_{name}"] = outputs["location"]
        return {key: loss if key.endswith("stage4") else self.loss_weight * loss for key, loss in losses.items()}

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D): L2-normalised features after BNNeck times lambda^F, concatenated (eq. 6)."""
        parts = [self.test_weights[name] * F.normalize(out["neck"].float()) for name, out in branches.items()]
        return torch.cat(parts, dim=1)
