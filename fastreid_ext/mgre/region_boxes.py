"""What MGRe shows of its regions: boxes, and where the maps of its granularities lie."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from fastreid_ext.errors import ConfigError
from fastreid_ext.mgre.location import pseudo_boxes
from fastreid_ext.mgre.regions import Region
from fastreid_ext.modeling.branch_modules import module_name
from fastreid_ext.modeling.regions import Granularity, RegionBoxes


def region_boxes(
    regions: Mapping[int, Sequence[Region]],
    predicted: Mapping[int, Tensor],
    joints: Tensor | None,
    location: Mapping[str, float],
) -> dict[str, RegionBoxes]:
    """Return region -> its boxes, in the order of the stages.

    Args:
        regions: stage -> its regions.
        predicted: stage -> boxes (B, R, 4) of its regions.
        joints: (B, J, 3) as shares of the image and confidence, or None.
        location: settings of :func:`pseudo_boxes`: margin, threshold, min_joints.

    Raises:
        ConfigError: no region at all.
    """
    if not any(regions.values()):
        raise ConfigError("this model locates no region, so it has no boxes: MODEL.MGRE.STAGES is empty")
    found = {}
    for stage, members in regions.items():
        pseudo = known = None
        if joints is not None:
            pseudo, known = pseudo_boxes(joints, [region.joints for region in members], **location)
        for n, region in enumerate(members):
            found[region.name] = RegionBoxes(
                predicted[stage][:, n],
                predicted[stage].new_tensor(region.prior_box),
                None if pseudo is None else pseudo[:, n],
                None if known is None else known[:, n],
            )
    return found


def granularities(sampled: Mapping[int, Sequence[Region]], test_weights: Mapping[str, float]) -> dict[str, Granularity]:
    """Return "stage 1" ... -> where the maps lie that its feature is pooled from.

    Args:
        sampled: stage -> its regions; other stages describe the whole image.
        test_weights: branch -> lambda^F of eq. 6, in the order of the stages.
    """
    found = {}
    for branch, weight in test_weights.items():
        stage = int(branch.removeprefix("stage"))
        maps = {f"heads.extract.{module_name(region.name)}": region.name for region in sampled.get(stage, ())}
        found[f"stage {stage}"] = Granularity(branch, weight, maps or {f"heads.extract.image{stage}": None})
    return found
