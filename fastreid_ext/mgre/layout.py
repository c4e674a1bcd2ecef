"""Which maps MGRe locates regions on and describes: the rows of tables 4, 5 and 7."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastreid.config import CfgNode

from fastreid_ext.errors import ConfigError
from fastreid_ext.mgre.regions import Region, regions_from_rows
from fastreid_ext.modeling.trunk import STAGES

LOCATED = (1, 2, 3)
GUIDED = (1, 2)  # stages whose maps lack semantic information (section 3.1)
CHOICES = {"LOCATION_INPUT": ("raw", "fused"), "MAPS": ("own", "last"), "BOXES": ("located", "labelled")}


@dataclass(frozen=True)
class RegionLayout:
    """Regions by stage, and where their maps come from.

    Args:
        regions: rows of table 1; those of stages that are not used are left out.
        stages: with regions, any of 1, 2, 3.
        whole_image: stages whose whole map is described: 4, and any that ``stages`` leaves.
        maps: "own" (regions lie on their stage's map) or "last" (all lie on stage 4's).
        boxes: "located", or "labelled": those of the joints, at the test too; a region with too few visible joints has
            its prior box then.
        sample: False locates regions without describing them.
        location_input: "raw" or "fused", what the location modules read.

    Raises:
        ConfigError: stages that do not exist or have no region, or choices that do not fit each other.
    """

    regions: Sequence[Region]
    stages: Sequence[int] = LOCATED
    whole_image: Sequence[int] = (4,)
    maps: str = "own"
    boxes: str = "located"
    sample: bool = True
    location_input: str = "raw"

    def __post_init__(self):
        object.__setattr__(self, "stages", tuple(sorted(self.stages)))
        object.__setattr__(self, "whole_image", tuple(sorted(self.whole_image)))
        _check_choices({"LOCATION_INPUT": self.location_input, "MAPS": self.maps, "BOXES": self.boxes})
        _check_stages(self.stages, self.whole_image, self.regions)
        if not self.stages and (self.maps, self.boxes, self.sample) != ("own", "located", True):
            raise ConfigError("MODEL.MGRE.MAPS, BOXES and SAMPLE are about regions, and MODEL.MGRE.STAGES is empty")
        if not self.sample and self.boxes == "labelled":
            raise ConfigError("MODEL.MGRE.SAMPLE False uses no boxes: MODEL.MGRE.BOXES labelled would do nothing")
        if self.maps == "last" and self.whole_image != (4,):
            raise ConfigError(
                f"MODEL.MGRE.MAPS last leaves one map: WHOLE_IMAGE must be [4], not {list(self.whole_image)}"
            )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "RegionLayout":
        """Read MODEL.MGRE."""
        node = cfg.MODEL.MGRE
        choice = node.STAGES and node.BOXES == "located" and node.MAPS == "own"
        return cls(
            regions_from_rows(node.REGIONS),
            stages=node.STAGES,
            whole_image=node.WHOLE_IMAGE,
            maps=node.MAPS,
            boxes=node.BOXES,
            sample=node.SAMPLE,
            **({"location_input": node.LOCATION_INPUT} if choice else {}),
        )

    @property
    def regions_of_stage(self) -> dict[int, list[Region]]:
        """Stage -> its regions."""
        return {i: [region for region in self.regions if region.stage == i] for i in self.stages}

    @property
    def sampled(self) -> dict[int, list[Region]]:
        """Stage -> its regions that are sampled and described."""
        return self.regions_of_stage if self.sample else {}

    @property
    def source(self) -> dict[int, int]:
        """Stage -> stage of the trunk whose map it reads."""
        return {i: 4 if self.maps == "last" and i in self.stages else i for i in STAGES}

    @property
    def extracted(self) -> dict[str, int]:
        """Region, or "image<stage>" of a whole map -> its stage: one feature extraction module each."""
        regions = {region.name: i for i, members in self.sampled.items() for region in members}
        return regions | {f"image{i}": i for i in self.whole_image}

    @property
    def counts(self) -> dict[int, int]:
        """Stage that is described -> how many pooled vectors its feature is made of."""
        stages = list(self.extracted.values())
        return {i: stages.count(i) for i in sorted(set(stages))}

    @property
    def guided(self) -> list[int]:
        """Stages whose maps get semantic guidance: fine ones that are described or, fused, located on."""
        read = set(self.counts) | (set(self.stages) if self.location_input == "fused" else set())
        return [i for i in GUIDED if self.source[i] == i and i in read]


def _check_choices(chosen: Mapping[str, str]) -> None:
    for key, value in chosen.items():
        if value not in CHOICES[key]:
            raise ConfigError(f"MODEL.MGRE.{key} must be one of {CHOICES[key]}, got {value!r}")


def _check_stages(stages: Sequence[int], whole_image: Sequence[int], regions: Sequence[Region]) -> None:
    if len(set(stages)) != len(stages) or not set(stages) <= set(LOCATED):
        raise ConfigError(f"MODEL.MGRE.STAGES must name each stage once, out of {LOCATED}; got {list(stages)}")
    if len(set(whole_image)) != len(whole_image) or not {4} <= set(whole_image) <= set(STAGES) - set(stages):
        raise ConfigError(
            "MODEL.MGRE.WHOLE_IMAGE must name stage 4, and may name each stage that MODEL.MGRE.STAGES leaves; got"
            f" {list(whole_image)} beside STAGES {list(stages)}"
        )
    empty = [i for i in stages if not any(region.stage == i for region in regions)]
    if empty:
        raise ConfigError(f"MODEL.MGRE.STAGES has {empty}, for which MODEL.MGRE.REGIONS has no region")
