"""The body regions of table 1 and the joints that define them, as data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fastreid_ext.data.body import COCO_JOINTS, REGION_JOINTS
from fastreid_ext.errors import ConfigError


@dataclass(frozen=True)
class Region:
    """One row of table 1.

    Attributes:
        name: of the region; left and right are the person's own.
        stage: residual block behind which it is located, 1 to 3.
        center: predefined (C_x, C_y), as shares of the image's width and height.
        sampled: (N, M), height and width of the sampled map.
        prior: (height, width) of the box that training starts from, as shares of the image. Table 1 gives it as N x M
            pixels of the stage's map at 256x128; as a share it holds for every input size.
        joints: numbers of the joints whose extent is the region's pseudo box.
    """

    name: str
    stage: int
    center: tuple[float, float]
    sampled: tuple[int, int]
    prior: tuple[float, float]
    joints: tuple[int, ...]

    @property
    def prior_box(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max of the prior, as shares of the image."""
        (x, y), (height, width) = self.center, self.prior
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2


# name, stage, C_x, C_y, N, M, prior height, prior width, joints. On the maps of a 256x128 image (64x32, 32x16, 16x8)
# the priors are N x M pixels. The joint sets are our reading of the names: the paper does not list them.
TABLE_1 = (
    ("head", 1, 1 / 2, 1 / 12, 8, 8, 8 / 64, 8 / 32, (0, 1, 2, 3, 4)),
    ("left_torso", 1, 1 / 2, 1 / 3, 32, 16, 32 / 64, 16 / 32, (5, 7, 9, 11)),
    ("right_torso", 1, 1 / 2, 1 / 3, 32, 16, 32 / 64, 16 / 32, (6, 8, 10, 12)),
    ("legs", 1, 1 / 2, 3 / 4, 24, 32, 24 / 64, 32 / 32, (11, 12, 13, 14, 15, 16)),
    ("upper_body", 2, 1 / 2, 1 / 3, 16, 16, 16 / 32, 16 / 16, tuple(range(13))),
    ("lower_body", 2, 1 / 2, 3 / 4, 16, 16, 16 / 32, 16 / 16, (11, 12, 13, 14, 15, 16)),
    ("whole_body", 3, 1 / 2, 1 / 2, 16, 8, 16 / 16, 8 / 8, tuple(range(17))),
)
REGION_JOINTS["MGRe"] = {row[0]: row[-1] for row in TABLE_1}  # for the report on a pose file


def regions_from_rows(rows: Sequence[Sequence], num_joints: int = len(COCO_JOINTS)) -> list[Region]:
    """Read the rows of a region table, such as ``TABLE_1`` or a config's.

    Args:
        rows: (name, stage, C_x, C_y, N, M, prior height, prior width, joints) each.
        num_joints: joints of the body model.

    Raises:
        ConfigError: a row of another form, a name twice, or a value outside its range.
    """
    regions = []
    for row in rows:
        _check_form(row)
        name, stage, cx, cy, rows_out, columns_out, height, width, joints = row
        region = Region(name, stage, (cx, cy), (rows_out, columns_out), (height, width), tuple(joints))
        _check(region, num_joints)
        regions.append(region)
    names = [region.name for region in regions]
    if len(set(names)) != len(names):
        raise ConfigError(f"region names must differ, got {names}")
    return regions


def _check_form(row: Sequence) -> None:
    if not isinstance(row, list | tuple) or len(row) != 9:
        raise ConfigError(
            "a region is (name, stage, C_x, C_y, N, M, prior height, prior width, joints), nine entries; got"
            f" {len(row) if isinstance(row, list | tuple) else 'one value'}: {row!r}"
        )
    name, *numbers, joints = row
    whole = joints if isinstance(joints, list | tuple) else [None]
    if not (
        isinstance(name, str)
        and all(isinstance(x, int | float) and not isinstance(x, bool) for x in numbers)
        and all(type(joint) is int for joint in whole)
    ):
        raise ConfigError(f"a region is a name, seven numbers and a list of joints' numbers; got {row!r}")


def _check(region: Region, num_joints: int) -> None:
    problems = []
    if region.stage not in (1, 2, 3):
        problems.append(f"stage {region.stage} is not 1, 2 or 3")
    if not all(0 <= c <= 1 for c in region.center):
        problems.append(f"center {region.center} lies outside the image")
    if not all(isinstance(n, int) and n >= 1 for n in region.sampled):
        problems.append(f"sampled size {region.sampled} must be whole numbers of 1 or more")
    if not all(0 < share <= 1 and math.isfinite(share) for share in region.prior):
        problems.append(f"prior {region.prior} must be shares of the image, above 0 and not above 1")
    if len(set(region.joints)) < 2 or not all(0 <= j < num_joints for j in region.joints):
        problems.append(f"joints {region.joints} must be two or more of 0 to {num_joints - 1}")
    if problems:
        raise ConfigError(f"region {region.name!r}: {'; '.join(problems)}")
