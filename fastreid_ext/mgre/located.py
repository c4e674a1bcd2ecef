"""What MGRe shows of its regions: boxes, and where the maps of its granularities lie."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fastreid_ext.mgre.location import pseudo_boxes
from fastreid_ext.mgre.regions import Region
from fastreid_ext.modeling.located import Granularity, RegionBoxes


def region_boxes(
    regions: Mapping[int, Sequence[Region]],
    predicted: Mapping[int, Tensor],
    joints: Tensor | None,
    location: Mapping[str, float],
) -> dict[str, RegionBoxes]:
    """Return region -> its boxes, in the order of the stages.

    Args:
        regions: stage -> its regions.
        predicted: located stage -> boxes (B, R, 4) of its regions.
        joints: (B, J, 3) as shares of the image and confidence, or None.
        location: settings of :func:`pseudo_boxes`: margin, threshold, min_joints.

    Raises:
        ValueError: no region at all.
    """
    if not predicted:
        raise ValueError(
            "this model locates no region, so it has no boxes: MODEL.MGRE.STAGES is empty or MODEL.MGRE.BOXES labelled"
        )
    found = {}
    for stage in predicted:
        members = regions[stage]
        pseudo = known = None
        if joints is not None:
            pseudo, known = pseudo_boxes(joints, [region.joints for region in members], **location)
        for n, region in enumerate(members):
            found[region.name] = RegionBoxes(
                predicted[stage][:, n],
                predicted[stage].new_tensor(_prior_box(region)),
                None if pseudo is None else pseudo[:, n],
                None if known is None else known[:, n],
            )
    return found


def granularities(
    regions: Mapping[int, Sequence[Region]], test_weights: Mapping[str, float], extract: torch.nn.ModuleDict
) -> dict[str, Granularity]:
    """Return "stage 1" ... -> where the maps lie that its feature is pooled from.

    Args:
        regions: stage -> its regions.
        test_weights: branch -> lambda^F of eq. 6.
        extract: the feature extraction modules, by region; "image4" is that of the whole image at stage 4.
    """
    found = {}
    for branch, weight in test_weights.items():
        stage = branch.removeprefix("stage")
        names = {region.name: region.name for region in regions.get(int(stage), ())} | {f"image{stage}": None}
        layers = {f"extract.{name}": region for name, region in names.items() if name in extract}
        found[f"stage {stage}"] = Granularity(branch, weight, layers)
    return found


def _prior_box(region: Region) -> tuple[float, float, float, float]:
    (x, y), (height, width) = region.center, region.prior
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2
