"""A picture with a label beside every pixel, drawn with primitives that are the same in every OpenCV.

``fillPoly``, thick ``line`` and sectors of ``ellipse`` differ between OpenCV 4.10, 4.12 and 5.0; ``fillConvexPoly``,
``circle``, whole ``ellipse``, ``rectangle`` and 1-pixel ``line`` do not. So everything here is made of the latter.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

BACKGROUND, PERSON, OCCLUDER = 0, 1, 2

Colour = tuple[int, int, int]  # blue, green, red, 0..255
Point = tuple[float, float]  # x, y in pixels
Row = tuple[float, float, float]  # y, left, right in pixels


def shade(colour: Colour, factor: float) -> Colour:
    """Return ``colour`` times ``factor``, clipped to 0..255."""
    return tuple(min(255, int(c * factor + 0.5)) for c in colour)


def blend(colour: Colour, other: Colour, share: float) -> Colour:
    """Return ``colour`` moved by ``share`` (0..1) towards ``other``."""
    return tuple(int(a + (b - a) * share + 0.5) for a, b in zip(colour, other, strict=True))


def pixel(value: float) -> int:
    """Return the integer nearest to ``value``, halves upwards."""
    return math.floor(value + 0.5)


class Canvas:
    """BGR pixels and, in a fourth channel, whose pixel it is: ``BACKGROUND``, ``PERSON`` or ``OCCLUDER``.

    All coordinates are pixels, as floats.

    Args:
        height, width: in pixels.
        label: what is drawn gets it; may be changed between two drawings.
        pixels: (height, width, 4) uint8 to draw on; None for black ones.
    """

    def __init__(self, height: int, width: int, label: int = BACKGROUND, pixels: np.ndarray | None = None):
        self.height, self.width, self.label = height, width, label
        self.pixels = np.zeros((height, width, 4), np.uint8) if pixels is None else pixels

    @property
    def labels(self) -> np.ndarray:
        """(height, width) view of the label channel."""
        return self.pixels[..., 3]

    def copy(self) -> "Canvas":
        """Return an independent canvas with the same content and current label."""
        return Canvas(self.height, self.width, self.label, self.pixels.copy())

    def convex(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill the convex polygon of ``points``."""
        corners = np.array([(pixel(x), pixel(y)) for x, y in points], np.int32)
        cv2.fillConvexPoly(self.pixels, corners, (*colour, self.label))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        cv2.circle(self.pixels, (pixel(x), pixel(y)), max(0, pixel(radius)), (*colour, self.label), -1)

    def oval(self, x: float, y: float, half_width: float, half_height: float, colour: Colour, angle: float = 0) -> None:
        """Fill an ellipse that is turned by ``angle`` (degrees, clockwise)."""
        axes = (max(1, pixel(half_width)), max(1, pixel(half_height)))
        cv2.ellipse(self.pixels, (pixel(x), pixel(y)), axes, angle, 0, 360, (*colour, self.label), -1)

    def fan(
        self, x: float, y: float, half_width: float, half_height: float, colour: Colour, start: float, end: float
    ) -> None:
        """Fill the sector of an upright ellipse between two angles (degrees, clockwise from the right).

        The sector may have up to 180 degrees: it is a convex polygon, since OpenCV's own sectors differ.
        """
        angles = [math.radians(start + (end - start) * step / 12) for step in range(13)]
        arc = [(x + half_width * math.cos(a), y + half_height * math.sin(a)) for a in angles]
        self.convex([(x, y), *arc], colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Fill an upright rectangle."""
        corner, other = (pixel(left), pixel(top)), (pixel(right), pixel(bottom))
        cv2.rectangle(self.pixels, corner, other, (*colour, self.label), -1)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Draw a line of one pixel."""
        cv2.line(self.pixels, (pixel(x0), pixel(y0)), (pixel(x1), pixel(y1)), (*colour, self.label), 1)

    def bar(self, start: Point, end: Point, half_width: float, colour: Colour) -> None:
        """Fill a straight bar between two points with flat ends."""
        self.capsule(start, end, half_width, half_width, colour, round_ends=False)

    def capsule(
        self, start: Point, end: Point, start_radius: float, end_radius: float, colour: Colour, round_ends: bool = True
    ) -> None:
        """Fill a limb that tapers from ``start_radius`` to ``end_radius``."""
        (x0, y0), (x1, y1) = start, end
        length = math.hypot(x1 - x0, y1 - y0)
        if length > 0.5:
            nx, ny = (y0 - y1) / length, (x1 - x0) / length
            self.convex(
                (
                    (x0 + nx * start_radius, y0 + ny * start_radius),
                    (x1 + nx * end_radius, y1 + ny * end_radius),
                    (x1 - nx * end_radius, y1 - ny * end_radius),
                    (x0 - nx * start_radius, y0 - ny * start_radius),
                ),
                colour,
            )
        if round_ends:
            self.disc(x0, y0, start_radius, colour)
            self.disc(x1, y1, end_radius, colour)

    def stack(self, rows: Sequence[Row], colour: Colour) -> None:
        """Fill the shape between ``rows``, top to bottom, one trapezoid per pair of neighbours."""
        for (y0, left0, right0), (y1, left1, right1) in zip(rows, rows[1:], strict=False):
            self.convex(((left0, y0), (right0, y0), (right1, y1), (left1, y1)), colour)

    def paste(self, patch: np.ndarray, mask: np.ndarray, left: int, top: int) -> None:
        """Copy ``patch`` (h, w, 4) where ``mask`` (h, w) is set, with its corner at (left, top)."""
        height, width = mask.shape
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(self.width, left + width), min(self.height, top + height)
        if x0 >= x1 or y0 >= y1:
            return
        inner = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
        cv2.copyTo(patch[inner], mask[inner], self.pixels[y0:y1, x0:x1])
