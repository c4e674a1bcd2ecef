"""What pose labels cover, and whether left and right are exchanged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastreid_ext.data.body import COCO_JOINTS, REGION_JOINTS
from fastreid_ext.data.poses import PoseError, Poses

FACE, SHOULDERS = (0, 1, 2), (5, 6)
TRUNK = (5, 6, 11, 12)  # shoulders and hips, which nearly every image of a person shows
FEWEST_TRUNKS = 0.65  # share of them; docs/pose.md: 0.89 and more as it should be, 0.63 and less on a wrong scale
BROADSIDE = 0.05  # of the image's width: with the shoulders nearer than that, a person is seen from the side
FEWEST = 10  # with fewer images that tell left from right, no verdict is given
LOOKS_EXCHANGED, LOOKS_RIGHT = 0.4, 0.6  # between them it's as good as chance
MOST_OUTSIDE = 0.1
JOINTS_OF_REGION = 2  # seen joints that span a box


@dataclass(frozen=True)
class Sides:
    """Left and right of the people whose shoulders are both seen and apart.

    A person who faces the camera has the left shoulder on the right of the image, and one who is seen from behind on
    the left. Someone faces the camera whose nose is seen, and is seen from behind if neither nose nor eye is.

    Attributes:
        facing: images of people who face the camera.
        facing_right: of these, how many have the left shoulder on the right.
        away: images of people seen from behind.
        away_left: of these, how many have the left shoulder on the left.
    """

    facing: int
    facing_right: int
    away: int
    away_left: int

    def verdict(self) -> str:
        """Return what the counts say, as a sentence; a warning starts with "WARNING"."""
        count, holds = self.facing + self.away, self.facing_right + self.away_left
        if count < FEWEST:
            return f"too few images ({count}) to tell whether left and right are exchanged"
        share = holds / count
        if share < LOOKS_EXCHANGED:
            return f"WARNING: left and right joints look exchanged: only {share:.0%} of {count} images agree"
        if share < LOOKS_RIGHT:
            return f"can't be told ({share:.0%} of {count} images agree), as where noses are labelled in back views too"
        return f"as they should be in {share:.0%} of {count} images"


@dataclass
class TrunksSeen:
    """Which share of shoulders and hips a pose model sees: of most people it sees them, unless it is given no people.

    Pixels that are scaled for another model look like a black, white or glaring image.

    Attributes:
        threshold: confidence above which a joint is seen.
        images: counted so far.
        seen: seen shoulders and hips among them.
    """

    threshold: float
    images: int = 0
    seen: int = 0

    def count(self, joints: np.ndarray) -> "TrunksSeen":
        """Count joints (B, J, 3); others than COCO's 17 don't count."""
        if joints.shape[1] == len(COCO_JOINTS):
            self.images += len(joints)
            self.seen += int((joints[:, TRUNK, 2] > self.threshold).sum())
        return self

    @property
    def share(self) -> float:
        """Return the share that is seen, 0 to 1; 1 if there is no image."""
        return self.seen / (len(TRUNK) * self.images) if self.images else 1.0

    def warning(self) -> str:
        """Return a warning if so few are seen that the model was probably misused, else an empty text."""
        if self.share >= FEWEST_TRUNKS:
            return ""
        return (
            f"WARNING: only {self.share:.0%} of shoulders and hips are seen: --mean or --std of pose run were probably"
            " not the model's"
        )


@dataclass(frozen=True)
class Coverage:
    """What pose labels cover, counted in images.

    Attributes:
        images: rows of the pose file.
        threshold: confidence above which a joint is seen.
        joints: in how many images each of the 17 joints is seen.
        regions: project -> region -> in how many images two or more of its joints are seen.
        seen: number of seen joints of all images.
        outside: how many of them lie outside their image.
        sides: the check of left and right.
        trunks: the check of shoulders and hips.
    """

    images: int
    threshold: float
    joints: Sequence[int]
    regions: Mapping[str, Mapping[str, int]]
    seen: int
    outside: int
    sides: Sides
    trunks: TrunksSeen

    @classmethod
    def of(
        cls,
        poses: Poses,
        threshold: float,
        regions: Mapping[str, Mapping[str, Sequence[int]]] = REGION_JOINTS,
    ) -> "Coverage":
        """Count the rows of a pose file.

        Raises:
            PoseError: it holds other joints than COCO's 17.
        """
        if poses.joints.shape[1] != len(COCO_JOINTS):
            raise PoseError(f"the pose labels have {poses.joints.shape[1]} joints an image; the report is of COCO's 17")
        seen = poses.joints[..., 2] > threshold  # (N, 17)
        x, y = poses.joints[..., 0], poses.joints[..., 1]
        width, height = poses.sizes[:, :1], poses.sizes[:, 1:]
        outside = (x < 0) | (y < 0) | (x > width) | (y > height)
        return cls(
            images=len(poses),
            threshold=threshold,
            joints=[int(count) for count in seen.sum(axis=0)],
            regions={
                project: {
                    name: int((seen[:, list(joints)].sum(axis=1) >= JOINTS_OF_REGION).sum())
                    for name, joints in of_project.items()
                }
                for project, of_project in regions.items()
            },
            seen=int(seen.sum()),
            outside=int((outside & seen).sum()),
            sides=_sides(seen, x / width),
            trunks=TrunksSeen(threshold).count(poses.joints),
        )

    def lines(self) -> list[str]:
        """Return the report, line by line."""
        lines = [f"{self.images} images with a pose; a joint is seen if its confidence is above {self.threshold:g}"]
        lines.append("joints seen, share of the images:")
        nose, *pairs = [f"{_share(count, self.images):>6}" for count in self.joints]
        lines.append(f"  {'nose':<10}{nose}")
        for left, right, name in zip(pairs[::2], pairs[1::2], COCO_JOINTS[1::2], strict=True):
            lines.append(f"  {name.removeprefix('left_'):<10}{left} left  {right} right")
        lines.append(self.trunks.warning() or f"shoulders and hips seen: {self.trunks.share:.0%}")
        for project, regions in self.regions.items():
            lines.append(f"regions of {project}, images with {JOINTS_OF_REGION} or more of the joints seen:")
            lines += [f"  {name:<12}{count:>7}{_share(count, self.images):>8}" for name, count in regions.items()]
        outside = f"{self.outside} of {self.seen} seen joints lie outside their image"
        if self.outside > MOST_OUTSIDE * self.seen:
            outside = f"WARNING: {outside}: were the poses made on images of another size?"
        lines.append(outside)
        lines.append(
            f"left shoulder on the image's right: {self.sides.facing_right} of {self.sides.facing} people who face the"
            f" camera, {self.sides.away - self.sides.away_left} of {self.sides.away} seen from behind"
        )
        lines.append(f"left and right: {self.sides.verdict()}")
        return lines


def _sides(seen: np.ndarray, x: np.ndarray) -> Sides:
    """Count, of seen (N, 17) and x (N, 17) as shares of the width."""
    left, right = SHOULDERS
    apart = seen[:, left] & seen[:, right] & (np.abs(x[:, left] - x[:, right]) > BROADSIDE)
    on_the_right = x[:, left] > x[:, right]
    facing, away = apart & seen[:, FACE[0]], apart & ~seen[:, list(FACE)].any(axis=1)
    counts = facing, facing & on_the_right, away, away & ~on_the_right
    return Sides(*(int(mask.sum()) for mask in counts))


def _share(count: int, images: int) -> str:
    return f"{100 * count / max(images, 1):.1f}%"
