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
from fastreid_ext.mgre.extraction import SemanticGuidance, feature_extraction, pool
from fastreid_ext.mgre.located import granularities, region_boxes
from fastreid_ext.mgre.location import LocationModule, labelled_boxes, location_loss
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
CHOICES = {"LOCATION_INPUT": ("raw", "fused"), "MAPS": ("own", "last"), "BOXES": ("located", "labelled")}


@register(META_ARCH_REGISTRY)
class MGRe(BranchedReID):
    """Regions of the body located behind stages 1 to 3, the whole image behind stage 4 (figure 2).

    Args:
        backbone: any ResNet-like FastReID backbone; the paper's is ResNet-50-IBN.
        num_classes: K, identities of the training set.
        loss_terms: identification and triplet loss of every stage.
        regions: rows of table 1; those of stages that are not used are left out.
        stages: with regions, any of 1, 2, 3.
        whole_image: stages whose whole map is described: 4, and any that ``stages`` leaves.
        maps: "own" (regions lie on their stage's map) or "last" (all lie on stage 4's).
        boxes: "located", or "labelled": those of the joints, at the test too; a region with too few visible joints has
            its prior box then.
        sample: False locates regions without describing them.
        location_input: "raw" or "fused", what the location modules read.
        blocks: residual blocks of a feature extraction module; -1 = as many as the backbone's stage has, 0 = none.
        location: settings of :func:`location_loss`: margin, threshold, min_joints.
        location_weight: of the location losses beside the others; see the key MODEL.MGRE.LOCATION.WEIGHT.
        loss_weight: lambda of eq. 9.
        test_weights: lambda^F of eq. 6, for stages 1 to 4.
        head: settings of :class:`BNNeckHead` other than in_dim and num_classes.
        augmentations: see :class:`BranchedReID`.

    Raises:
        ValueError: stages that do not exist or have no region, values outside their range, or choices that do not fit.
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
        whole_image: Sequence[int] = (4,),
        maps: str = "own",
        boxes: str = "located",
        sample: bool = True,
        location_input: str = "raw",
        blocks: int = -1,
        location: dict[str, float] | None = None,
        location_weight: float = 1000.0,
        loss_weight: float = 1.0,
        test_weights: Sequence[float] = (0.35, 0.5, 0.7, 0.8),
        head: dict[str, Any] | None = None,
        augmentations: Sequence[BatchAugmentation] = (),
    ):
        check_trunk(backbone)
        stages, whole_image = sorted(stages), sorted(whole_image)
        _check_choices({"LOCATION_INPUT": location_input, "MAPS": maps, "BOXES": boxes})
        _check_stages(stages, whole_image, regions)
        _check_weights({"LAMBDA": loss_weight, "LOCATION.WEIGHT": location_weight}, test_weights)
        if not stages and (maps, boxes, sample) != ("own", "located", True):
            raise ValueError("MODEL.MGRE.MAPS, BOXES and SAMPLE are about regions, and MODEL.MGRE.STAGES is empty")
        if not sample and boxes == "labelled":
            raise ValueError("MODEL.MGRE.SAMPLE False uses no boxes: MODEL.MGRE.BOXES labelled would do nothing")
        if maps == "last" and whole_image != [4]:
            raise ValueError(f"MODEL.MGRE.MAPS last leaves one map: WHOLE_IMAGE must be [4], not {whole_image}")

        head = {"embedding_dim": 512} | (head or {})
        located = {i: [region for region in regions if region.stage == i] for i in stages}
        source = {i: 4 if maps == "last" and i in stages else i for i in STAGES}
        channels = stage_channels(backbone)
        channels = {i: channels[source[i]] for i in STAGES}
        sampled = located if sample else {}
        counts = {i: len(members) for i, members in sampled.items()} | {i: 1 for i in whole_image}
        heads = {f"stage{i}": BNNeckHead(channels[i] * n, num_classes, **head) for i, n in sorted(counts.items())}
        criterion = Criterion(loss_terms, {name: h.dim for name, h in heads.items()}, num_classes)
        super().__init__(criterion, list(pixel_mean), list(pixel_std), augmentations=augmentations)

        norm = head.get("norm", "BN")
        self.labels = ("joints",) if stages else ()
        if boxes == "labelled":
            self.test_labels = ("joints",)
        elif not sample:
            self.training_only = (*self.training_only, "locate")
        self.regions, self.sampled, self.whole_image, self.source = located, sampled, whole_image, source
        self.backbone = backbone
        guided = [i for i in GUIDED if source[i] == i and (i in counts or (i in stages and location_input == "fused"))]
        self.guidance = nn.ModuleDict({str(i): SemanticGuidance(channels[4], channels[i]) for i in guided})
        self.locate = nn.ModuleDict(
            {str(i): LocationModule(channels[i], located[i]) for i in stages if boxes == "located"}
        )
        extracted = {region.name: i for i, members in sampled.items() for region in members}
        extracted |= {f"image{i}": i for i in whole_image}
        self.extract = nn.ModuleDict(
            {
                name: feature_extraction(getattr(backbone, f"layer{source[i]}"), blocks, norm)
                for name, i in extracted.items()
            }
        )
        self.heads = nn.ModuleDict(heads)
        self.location_input = location_input
        self.location = location or {}
        self.location_weight = location_weight
        self.loss_weight = loss_weight
        self.test_weights = {f"stage{i}": test_weights[i - 1] for i in sorted(counts)}

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
            "whole_image": node.WHOLE_IMAGE,
            "maps": node.MAPS,
            "boxes": node.BOXES,
            "sample": node.SAMPLE,
            "regions": regions_from_rows(node.REGIONS),
            "blocks": node.FE.BLOCKS,
            "head": {
                "embedding_dim": heads.EMBEDDING_DIM,
                "norm": heads.NORM,
                "cls_layer": heads.CLS_LAYER,
                "scale": heads.SCALE,
                "margin": heads.MARGIN,
            },
            "augmentations": augmentations_from_config(cfg),
        }
        # Read only where they are used, so that a key without effect is found at start-up.
        if node.STAGES or len(node.WHOLE_IMAGE) > 1:
            settings["loss_weight"] = node.LAMBDA
        if len(node.WHOLE_IMAGE) > 1 or (node.STAGES and node.SAMPLE):
            settings["test_weights"] = node.TEST_WEIGHTS
        if node.STAGES:
            place = node.LOCATION
            settings["location"] = {
                "margin": place.MARGIN,
                "threshold": place.CONFIDENCE,
                "min_joints": place.MIN_JOINTS,
            }
            if node.BOXES == "located":
                settings["location_weight"] = place.WEIGHT
                if node.MAPS == "own":
                    settings["location_input"] = node.LOCATION_INPUT
        return settings

    def maps(self, images: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Return the stages' maps, and those that are described: with semantic guidance where there is one."""
        raw, y = {}, run_stem(self.backbone, images)
        for stage in STAGES:
            raw[stage] = y = run_stage(self.backbone, stage, y)
        raw = {i: raw[self.source[i]] for i in STAGES}
        fused = {i: self.guidance[str(i)](y, raw[4]) if str(i) in self.guidance else y for i, y in raw.items()}
        return raw, fused

    def boxes(self, raw: Mapping[int, Tensor], fused: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return stage -> predicted boxes (B, R, 4) of its regions (eq. 1, 2)."""
        read = raw if self.location_input == "raw" else fused
        return {int(i): locate(read[int(i)]) for i, locate in self.locate.items()}

    def located(self, images: Tensor, joints: Tensor | None = None) -> dict[str, RegionBoxes]:
        """Return region -> its boxes in normalised images, and those that joints (B, J, 3) give."""
        if self.locate or not self.regions:
            boxes = self.boxes(*self.maps(images))
        elif joints is None:
            raise ValueError("this model has the boxes of joints (MODEL.MGRE.BOXES labelled): give it joints")
        else:
            boxes = self._labelled(joints)
        return region_boxes(self.regions, boxes, joints, self.location)

    def granularities(self) -> dict[str, Granularity]:
        """Return stage -> the maps that its feature is pooled from, for figure 4."""
        return granularities(self.sampled, self.test_weights)

    def branches(
        self, images: Tensor, targets: Tensor | None, joints: Tensor | None = None
    ) -> dict[str, dict[str, Tensor]]:
        """Locate, sample and describe the regions of every stage (figure 2)."""
        raw, fused = self.maps(images)
        located = self.boxes(raw, fused) if self.sampled or self.training else {}
        boxes = located or self._labelled(joints)
        outputs = {}
        for i, regions in self.sampled.items():
            parts = [sample_regions(fused[i], boxes[i][:, n], region.sampled) for n, region in enumerate(regions)]
            pooled = [pool(self.extract[region.name](part)) for region, part in zip(regions, parts, strict=True)]
            outputs[f"stage{i}"] = self._describe(f"stage{i}", pooled, targets)
        for i in self.whole_image:
            outputs[f"stage{i}"] = self._describe(f"stage{i}", [pool(self.extract[f"image{i}"](fused[i]))], targets)
        if targets is not None and joints is not None:
            for i, found in located.items():
                joint_sets = [region.joints for region in self.regions[i]]
                loss = location_loss(found, joints, joint_sets, **self.location)
                outputs.setdefault(f"stage{i}", {})["location"] = loss
        return outputs

    def _labelled(self, joints: Tensor | None) -> dict[int, Tensor]:
        return {i: labelled_boxes(joints, regions, **self.location) for i, regions in self.sampled.items()}

    def _describe(self, name: str, pooled: list[Tensor], targets: Tensor | None) -> dict[str, Tensor]:
        head = self.heads[name]
        return head(torch.cat(pooled, dim=1).to(head.weight.dtype), targets)

    def losses(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """lambda times the losses of stages 1 to 3, location among them, and those of stage 4 (eq. 9)."""
        losses = self.criterion({name: branches[name] for name in self.heads}, targets)
        for name, outputs in branches.items():
            if "location" in outputs:
                losses[f"loss_location_{name}"] = self.location_weight * outputs["location"]
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


def _check_choices(chosen: Mapping[str, str]) -> None:
    for key, value in chosen.items():
        if value not in CHOICES[key]:
            raise ValueError(f"MODEL.MGRE.{key} must be one of {CHOICES[key]}, got {value!r}")


def _check_stages(stages: Sequence[int], whole_image: Sequence[int], regions: Sequence[Region]) -> None:
    if len(set(stages)) != len(stages) or not set(stages) <= set(LOCATED):
        raise ValueError(f"MODEL.MGRE.STAGES must name each stage once, out of {LOCATED}; got {list(stages)}")
    if len(set(whole_image)) != len(whole_image) or not {4} <= set(whole_image) <= set(STAGES) - set(stages):
        raise ValueError(
            "MODEL.MGRE.WHOLE_IMAGE must name stage 4, and may name each stage that MODEL.MGRE.STAGES leaves; got"
            f" {list(whole_image)} beside STAGES {list(stages)}"
        )
    empty = [i for i in stages if not any(region.stage == i for region in regions)]
    if empty:
        raise ValueError(f"MODEL.MGRE.STAGES has {empty}, for which MODEL.MGRE.REGIONS has no region")


def _check_weights(weights: Mapping[str, float], test_weights: Sequence[float]) -> None:
    for key, weight in weights.items():
        if not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"MODEL.MGRE.{key} must be positive, got {weight}")
    if len(test_weights) != len(STAGES) or not all(weight > 0 for weight in test_weights):
        raise ValueError(f"MODEL.MGRE.TEST_WEIGHTS must be four positive numbers, got {list(test_weights)}")
