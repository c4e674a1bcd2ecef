"""The head of MGRe: location, sampling, feature extraction and embedding (section 3.1, figures 2 and 3)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.mgre.extraction import SemanticGuidance, feature_extraction, pool
from fastreid_ext.mgre.layout import RegionLayout
from fastreid_ext.mgre.location import LocationModule, labelled_boxes, location_loss
from fastreid_ext.mgre.region_boxes import granularities, region_boxes
from fastreid_ext.mgre.sampling import sample_regions
from fastreid_ext.modeling.branch_modules import BranchModules
from fastreid_ext.modeling.head_plugins import BranchHead, Outputs, check_meta_architecture
from fastreid_ext.modeling.heads import BNNeckHead
from fastreid_ext.modeling.regions import Granularity, RegionBoxes
from fastreid_ext.modeling.trunk import STAGES, stage_channels, trunk_of

UNITS = ("pixels", "shares")


@register(REID_HEADS_REGISTRY)
class MGReLocationHead(BranchHead):
    """Regions are located on a stage's map, sampled from it, extracted, pooled and embedded to one feature a stage.

    Takes one map per stage: a dict of stage -> (B, C, h, w). Its branches are "stage1" ... "stage4".

    Args:
        trunk: a network of the kind that gives the maps; it is only looked at, for the channels of its stages and for
            the blocks that feature extraction repeats.
        layout: which regions and maps.
        neck: settings of :class:`BNNeckHead` other than in_dim, num_classes among them; the paper's embedding_dim is
            512, which is the default here.
        blocks: residual blocks of a feature extraction module; -1 = as many as the trunk's stage has, 0 = none.
        location: settings of :func:`location_loss`: margin, threshold, min_joints.
        location_units: of the errors in the location losses, "pixels" of the map or "shares" of the image; see the key
            MODEL.MGRE.LOCATION.UNITS.
        location_weight: of the location losses beside the others.

    Raises:
        ConfigError: unknown units, a location_weight that is not positive, or fewer blocks than -1.
    """

    takes = "stage_maps"

    @configurable
    def __init__(
        self,
        *,
        trunk: nn.Module,
        layout: RegionLayout,
        neck: dict[str, Any],
        blocks: int = -1,
        location: dict[str, float] | None = None,
        location_units: str = "pixels",
        location_weight: float = 1.0,
    ):
        super().__init__()
        if location_units not in UNITS:
            raise ConfigError(f"MODEL.MGRE.LOCATION.UNITS must be one of {UNITS}, got {location_units!r}")
        if not (location_weight > 0 and math.isfinite(location_weight)):
            raise ConfigError(f"MODEL.MGRE.LOCATION.WEIGHT must be positive, got {location_weight}")
        neck = {"embedding_dim": 512} | neck
        of_trunk = stage_channels(trunk)
        channels = {i: of_trunk[layout.source[i]] for i in STAGES}
        necks = {f"stage{i}": BNNeckHead(channels[i] * n, **neck) for i, n in layout.counts.items()}
        self.guidance = nn.ModuleDict({str(i): SemanticGuidance(channels[4], channels[i]) for i in layout.guided})
        self.locate = nn.ModuleDict(
            {
                str(i): LocationModule(channels[i], r)
                for i, r in layout.regions_of_stage.items()
                if layout.boxes == "located"
            }
        )
        self.extract = BranchModules(
            {
                name: feature_extraction(trunk, layout.source[i], channels[i], blocks, neck.get("norm", "BN"))
                for name, i in layout.extracted.items()
            }
        )
        self.necks = nn.ModuleDict(necks)
        self.layout = layout
        self.location = location or {}
        self.location_units = location_units
        self.location_weight = location_weight
        self.labels = ("joints",) if layout.stages else ()
        self.test_labels = ("joints",) if layout.boxes == "labelled" else ()
        self.training_only = () if layout.sample else ("locate",)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        check_meta_architecture(cfg, cls)
        node = cfg.MODEL.MGRE
        settings = {
            "trunk": trunk_of(cfg),
            "layout": RegionLayout.from_config(cfg),
            "neck": BNNeckHead.settings_of(cfg),
            "blocks": node.FE.BLOCKS,
        }
        if node.STAGES:
            place = node.LOCATION
            settings["location"] = {
                "margin": place.MARGIN,
                "threshold": place.CONFIDENCE,
                "min_joints": place.MIN_JOINTS,
            }
            if node.BOXES == "located":
                settings["location_units"] = place.UNITS
                settings["location_weight"] = place.WEIGHT
        return settings

    @property
    def dims(self) -> dict[str, int]:
        """Branch -> length of its feature."""
        return {name: neck.dim for name, neck in self.necks.items()}

    def guide(self, maps: Mapping[int, Tensor]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        """Return the maps that the stages read, and those that are described: with semantic guidance where there is."""
        raw = {i: maps[self.layout.source[i]] for i in STAGES}
        fused = {i: self.guidance[str(i)](y, raw[4]) if str(i) in self.guidance else y for i, y in raw.items()}
        return raw, fused

    def boxes(self, raw: Mapping[int, Tensor], fused: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return stage -> predicted boxes (B, R, 4) of its regions (eq. 1, 2)."""
        read = raw if self.layout.location_input == "raw" else fused
        return {int(i): locate(read[int(i)]) for i, locate in self.locate.items()}

    def branches(
        self, maps: Mapping[int, Tensor], targets: Tensor | None = None, joints: Tensor | None = None
    ) -> Outputs:
        """Locate, sample and describe the regions of every stage (figure 2).

        With targets and joints (B, J, 3), shares of the image and confidence, a located stage has its loss of eq. 3
        under "location".
        """
        raw, fused = self.guide(maps)
        predicted = self.boxes(raw, fused) if self.layout.sample or self.training else {}
        boxes = predicted or self._labelled(joints)
        outputs = {}
        for i, regions in self.layout.sampled.items():
            samples = [sample_regions(fused[i], boxes[i][:, n], region.sampled) for n, region in enumerate(regions)]
            pooled = [pool(self.extract[region.name](sample)) for region, sample in zip(regions, samples, strict=True)]
            outputs[f"stage{i}"] = self._embed(f"stage{i}", pooled, targets)
        for i in self.layout.whole_image:
            outputs[f"stage{i}"] = self._embed(f"stage{i}", [pool(self.extract[f"image{i}"](fused[i]))], targets)
        if targets is not None and joints is not None:
            for i, found in predicted.items():
                joint_sets = [region.joints for region in self.layout.regions_of_stage[i]]
                size = tuple(raw[i].shape[2:]) if self.location_units == "pixels" else (1, 1)
                loss = location_loss(found, joints, joint_sets, **self.location, size=size)
                outputs.setdefault(f"stage{i}", {})["location"] = loss
        return outputs

    def _labelled(self, joints: Tensor | None) -> dict[int, Tensor]:
        return {i: labelled_boxes(joints, members, **self.location) for i, members in self.layout.sampled.items()}

    def _embed(self, name: str, pooled: list[Tensor], targets: Tensor | None) -> dict[str, Tensor]:
        neck = self.necks[name]
        return neck(torch.cat(pooled, dim=1).to(neck.weight.dtype), targets)

    def extra_losses(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """Return the location losses, weighted."""
        found = {name: outputs["location"] for name, outputs in branches.items() if "location" in outputs}
        return {f"loss_location_{name}": self.location_weight * loss for name, loss in found.items()}

    def locate_regions(self, maps: Mapping[int, Tensor], joints: Tensor | None = None) -> dict[str, RegionBoxes]:
        """Return region -> its boxes on the stages' maps, and those that joints (B, J, 3) give.

        Raises:
            ValueError: no regions, or boxes of joints and no joints.
        """
        if self.locate or not self.layout.stages:
            boxes = self.boxes(*self.guide(maps))
        elif joints is None:
            raise ValueError("this model has the boxes of joints (MODEL.MGRE.BOXES labelled): give it joints")
        else:
            boxes = self._labelled(joints)
        return region_boxes(self.layout.regions_of_stage, boxes, joints, self.location)

    def granularities(self, test_weights: Mapping[str, float]) -> dict[str, Granularity]:
        """Return stage -> the maps that its feature is pooled from, for weights of the branches' test features."""
        return granularities(self.layout.sampled, test_weights)
