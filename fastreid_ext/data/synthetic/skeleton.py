"""The articulated figure: poses, the 17 COCO joints in space, and their projection.

A point of the body is (left, up, forward) in units of the body height: ``left`` points to the body's own
left, ``up`` is measured from the ground and ``forward`` is where the person looks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid_ext.data.synthetic.canvas import Point
from fastreid_ext.data.synthetic.person import Body
from fastreid_ext.data.synthetic.seeds import pick

BodyPoint = tuple[float, float, float]  # left, up, forward in body heights

SHOULDER_UP, HIP_UP, HEAD_UP = 0.782, 0.505, 0.922
SHOULDER_HALF, HIP_HALF = 0.106, 0.054
UPPER_ARM, FOREARM, THIGH, SHIN = 0.165, 0.145, 0.232, 0.233
ANKLE_UP = 0.04
HEAD_HALF_WIDTH, HEAD_HALF_HEIGHT = 0.052, 0.068

HEADINGS = {"front": 0.0, "right": math.pi / 2, "back": math.pi, "left": -math.pi / 2}


@dataclass(frozen=True)
class Pose:
    """How a person stands; angles in radians.

    Attributes:
        heading: 0 for facing the camera, pi/2 for walking to the right of the picture.
        phase: how far the walk cycle is, 0..2 pi.
        stride: largest angle of the thigh; 0 for standing.
        elbows: bends of the left and the right elbow.
        spread: angle of the arms away from the body.
        head_turn: of the head against the body.
    """

    heading: float
    phase: float
    stride: float
    elbows: tuple[float, float]
    spread: float
    head_turn: float


def sample_pose(rng: np.random.RandomState) -> Pose:
    """Return a random pose: mostly walking, seen from the front, the back or a side."""
    heading = HEADINGS[pick(rng, tuple(HEADINGS), (3, 2, 3, 2))] + rng.uniform(-0.45, 0.45)
    walking = rng.random_sample() < 0.75
    elbows = [rng.uniform(0.15, 0.7), rng.uniform(0.15, 0.7)]
    raised = rng.randint(12)
    if raised < 2:
        elbows[raised] = rng.uniform(1.6, 2.1)  # looks at a phone
    return Pose(
        heading=heading,
        phase=rng.uniform(0, 2 * math.pi),
        stride=rng.uniform(0.3, 0.52) if walking else rng.uniform(0.0, 0.1),
        elbows=tuple(elbows),
        spread=rng.uniform(0.06, 0.2),
        head_turn=rng.uniform(-0.5, 0.5),
    )


class View:
    """Where a body appears in the picture.

    Args:
        x, ground_y: pixel of the ground below the body's axis.
        scale: pixels per body height.
        heading: of the body in radians, see :class:`Pose`.
        pitch: how steeply the camera looks down, in radians.
    """

    def __init__(self, x: float, ground_y: float, scale: float, heading: float, pitch: float):
        self.x, self.ground_y, self.scale, self.heading, self.pitch = x, ground_y, scale, heading, pitch
        self.cos, self.sin = math.cos(heading), math.sin(heading)
        self.rise, self.sink = scale * math.cos(pitch), scale * math.sin(pitch)

    def turned(self, angle: float) -> "View":
        """Return the view of something that is turned by ``angle`` (radians) more than the body."""
        return View(self.x, self.ground_y, self.scale, self.heading + angle, self.pitch)

    def moved(self, x: float, y: float) -> "View":
        """Return the same view on a canvas whose corner is at the pixel (x, y) of this one."""
        return View(self.x - x, self.ground_y - y, self.scale, self.heading, self.pitch)

    def depth(self, left: float, forward: float) -> float:
        """Return how much nearer to the camera than the body's axis (left, forward) is, in body heights."""
        return forward * self.cos - left * self.sin

    def project(self, left: float, up: float, forward: float) -> Point:
        """Return the pixel of a body point."""
        x = left * self.cos + forward * self.sin
        return self.x + self.scale * x, self.row(up) + self.sink * self.depth(left, forward)

    def row(self, up: float) -> float:
        """Return the pixel y of the body's axis at the height ``up``."""
        return self.ground_y - self.rise * up

    def half_width(self, lateral: float, sagittal: float) -> float:
        """Return the pixels from the axis to the outline of an ellipse with these half axes (body heights)."""
        return self.scale * math.hypot(lateral * self.cos, sagittal * self.sin)


@dataclass(frozen=True)
class Limb:
    """An arm or a leg in body space.

    Attributes:
        side: +1 for the left one, -1 for the right one.
        points: shoulder, elbow, wrist or hip, knee, ankle.
    """

    side: int
    points: tuple[BodyPoint, BodyPoint, BodyPoint]

    def depth(self, view: View) -> float:
        """Return the mean depth of the limb; far limbs are drawn first."""
        return sum(view.depth(left, forward) for left, _, forward in self.points) / 3


def solve_legs(person: Body, pose: Pose) -> tuple[list[Limb], float]:
    """Return the left and right leg, and by how much the body is lowered so that one foot is on the ground."""
    legs = []
    for side in (1, -1):
        swing = side * pose.stride * math.sin(pose.phase)
        # The knee bends while its leg comes forward from behind.
        bend = pose.stride * (0.25 + 1.1 * max(0.0, side * math.cos(pose.phase)))
        left = side * HIP_HALF * person.hips * (0.6 + 0.4 * person.build)
        knee = (left, HIP_UP - THIGH * math.cos(swing), THIGH * math.sin(swing))
        shin = swing - bend
        ankle = (left, knee[1] - SHIN * math.cos(shin), knee[2] + SHIN * math.sin(shin))
        legs.append(((left, HIP_UP, 0.0), knee, ankle))
    drop = min(leg[2][1] for leg in legs) - ANKLE_UP
    lowered = [tuple((left, up - drop, forward) for left, up, forward in leg) for leg in legs]
    return [Limb(side, points) for side, points in zip((1, -1), lowered, strict=True)], drop


def solve_arms(person: Body, pose: Pose, drop: float) -> list[Limb]:
    """Return the left and right arm, which swing against the legs."""
    arms = []
    for side, elbow_bend in zip((1, -1), pose.elbows, strict=True):
        swing = -side * 0.8 * pose.stride * math.sin(pose.phase) + 0.02
        left = side * SHOULDER_HALF * person.shoulders * (0.35 + 0.65 * person.build)
        shoulder = (left, SHOULDER_UP - drop, 0.0)
        outwards = side * math.sin(pose.spread)
        elbow = (
            left + UPPER_ARM * outwards,
            shoulder[1] - UPPER_ARM * math.cos(swing) * math.cos(pose.spread),
            UPPER_ARM * math.sin(swing),
        )
        forearm = swing + elbow_bend
        wrist = (
            elbow[0] + FOREARM * outwards * 0.2,
            elbow[1] - FOREARM * math.cos(forearm),
            elbow[2] + FOREARM * math.sin(forearm),
        )
        arms.append(Limb(side, (shoulder, elbow, wrist)))
    return arms


def head_joints(drop: float) -> tuple[BodyPoint, ...]:
    """Return nose, eyes and ears (left before right) around the head's own axis."""
    up = HEAD_UP - drop
    return (
        (0.0, up - 0.008, 0.056),
        (0.021, up + 0.012, 0.046),
        (-0.021, up + 0.012, 0.046),
        (0.052, up, 0.0),
        (-0.052, up, 0.0),
    )


def joint_pixels(view: View, pose: Pose, arms: Sequence[Limb], legs: Sequence[Limb], drop: float) -> list[Point]:
    """Return the 17 joints in pixels, in the order of ``COCO_JOINTS``."""
    head_view = view.turned(pose.head_turn)
    joints = [head_view.project(*joint) for joint in head_joints(drop)]
    for limbs in (arms, legs):
        for joint in range(3):
            joints.extend(view.project(*limb.points[joint]) for limb in limbs)
    return joints
