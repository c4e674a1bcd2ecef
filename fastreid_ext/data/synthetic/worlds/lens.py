"""A camera at a finite distance: near parts of a body are larger than far ones."""

import math

from fastreid_ext.data.synthetic.canvas import Point
from fastreid_ext.data.synthetic.skeleton import View

MIDDLE_UP = 0.5  # the camera looks at the middle of the body

Placed = tuple[float, float, float, float]  # x, y in pixels, nearness in body heights, pixels per body height there


class Lens(View):
    """A :class:`View` in perspective.

    Args:
        x, ground_y, scale, heading, pitch: see :class:`View`; ``scale`` is that of the body's middle.
        distance: of the camera from the body's middle, in body heights.
    """

    def __init__(self, x: float, ground_y: float, scale: float, heading: float, pitch: float, distance: float):
        super().__init__(x, ground_y, scale, heading, pitch)
        self.distance = distance
        self.cos_pitch, self.sin_pitch = math.cos(pitch), math.sin(pitch)
        feet = distance / (distance + MIDDLE_UP * self.sin_pitch)
        self.middle_y = ground_y - scale * feet * MIDDLE_UP * self.cos_pitch

    def turned(self, angle: float) -> "Lens":
        """Return the lens before something that is turned by ``angle`` (radians) more than the body."""
        return Lens(self.x, self.ground_y, self.scale, self.heading + angle, self.pitch, self.distance)

    def moved(self, x: float, y: float) -> "Lens":
        """Return the same lens for a canvas whose corner is at the pixel (x, y) of this one."""
        return Lens(self.x - x, self.ground_y - y, self.scale, self.heading, self.pitch, self.distance)

    def place(self, left: float, up: float, forward: float) -> Placed:
        """Return where a body point appears, how near it is, and the scale there."""
        high, depth = up - MIDDLE_UP, self.depth(left, forward)
        near = high * self.sin_pitch + depth * self.cos_pitch
        size = self.scale * self.distance / (self.distance - near)
        across = left * self.cos + forward * self.sin
        return (
            self.x + size * across,
            self.middle_y - size * (high * self.cos_pitch - depth * self.sin_pitch),
            near,
            size,
        )

    def project(self, left: float, up: float, forward: float) -> Point:
        """Return the pixel of a body point."""
        return self.place(left, up, forward)[:2]

    def row(self, up: float) -> float:
        """Return the pixel y of the body's axis at the height ``up``."""
        return self.place(0.0, up, 0.0)[1]
