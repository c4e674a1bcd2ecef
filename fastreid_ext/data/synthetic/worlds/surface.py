"""Solid shapes with depth, normals and places in a texture: what is nearer hides what is farther.

Only single additions, products, quotients and roots of float32 arrays are used, which IEEE 754 rounds alike everywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid_ext.data.synthetic.worlds.lens import Lens, Placed

COLUMN_BITS = 8
COLUMNS = 1 << COLUMN_BITS  # of a texture: once around the body, the front in the middle
FRONT = COLUMNS // 2
ROWS_PER_HEIGHT = 256  # rows of a texture for a body height
FAR = np.float32(-1e6)

# Angles in texture columns of the sines -1 .. 1.
ARC_SINES = np.array([round(math.asin((i - 256) / 256) * FRONT / math.pi) for i in range(513)], np.int32)


def limited(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return ``values`` limited to a span; faster than ``np.clip`` on small arrays."""
    return np.minimum(np.maximum(values, values.dtype.type(low)), values.dtype.type(high))


def arc(sines: np.ndarray) -> np.ndarray:
    """Return the angles, in texture columns, of what 1 / 256 of ``sines`` is the sine of."""
    return np.take(ARC_SINES, (sines + np.float32(256)).astype(np.int32), mode="clip")


def columns_of(sines: np.ndarray, middle: int) -> np.ndarray:
    """Return the texture columns at the angles of :func:`arc` from the column ``middle``."""
    return np.take((ARC_SINES + middle) & (COLUMNS - 1), (sines + np.float32(256)).astype(np.int32), mode="clip")


@dataclass(frozen=True)
class Strip:
    """The rows of a texture that belong to one shape, from ``first``; ``count`` of them."""

    first: int
    count: int


@dataclass(frozen=True)
class Section:
    """A cross section of the trunk: its height, half axes and offset to the front, all in body heights."""

    up: float
    lateral: float
    sagittal: float
    forward: float = 0.0


class Surface:
    """What is seen at each pixel.

    Attributes:
        nearness: float32, in body heights; ``FAR`` where there is nothing.
        normal_x, normal_y: float32, to the right and down.
        texel: int32, the place in the texture, row * ``COLUMNS`` + column.
    """

    def __init__(self, height: int, width: int):
        self.height, self.width = height, width
        self.shape = np.zeros((3, height, width), np.float32)
        self.nearness, self.normal_x, self.normal_y = self.shape
        self.nearness[:] = FAR
        self.texel = np.zeros((height, width), np.int32)

    @property
    def mask(self) -> np.ndarray:
        """(height, width) bool: where something is seen."""
        return self.nearness > FAR

    def window(self, left: float, top: float, right: float, bottom: float) -> tuple | None:
        """Return the slices of a box inside the canvas with the coordinates of its pixels; None if it is outside."""
        x0, y0 = max(0, math.floor(left)), max(0, math.floor(top))
        x1, y1 = min(self.width, math.ceil(right) + 1), min(self.height, math.ceil(bottom) + 1)
        if x0 >= x1 or y0 >= y1:
            return None
        xs = np.arange(x0, x1, dtype=np.float32)[None]
        ys = np.arange(y0, y1, dtype=np.float32)[:, None]
        return (slice(y0, y1), slice(x0, x1)), xs, ys

    def put(self, window: tuple, mask: np.ndarray, shape: np.ndarray, texel: np.ndarray, over: bool = False) -> None:
        """Show a shape, its nearness and normals (3, h, w), where it is nearer than what is there; or everywhere."""
        seen = mask if over else mask & (shape[0] > self.nearness[window])
        np.copyto(self.shape[:, window[0], window[1]], shape, where=seen)
        np.copyto(self.texel[window], texel, where=seen)

    def limb(
        self, start: Placed, end: Placed, radii: tuple[float, float], strip: Strip, rows: tuple[float, float],
        turn: float = 0.0, cut: bool = False,
    ) -> None:  # fmt: skip
        """Add a limb that tapers.

        Args:
            start, end: of its axis, see :meth:`Lens.place`.
            radii: there, in body heights.
            strip: its texture.
            rows: of the strip at start and end, from 0 to less than its count.
            turn: heading of the limb in radians.
            cut: whether the end is cut flat and not round.
        """
        (x0, y0, z0, s0), (x1, y1, z1, s1) = start, end
        r0, r1 = radii[0] * s0, radii[1] * s1
        most = max(r0, r1) + 1
        found = self.window(min(x0, x1) - most, min(y0, y1) - most, max(x0, x1) + most, max(y0, y1) + most)
        if found is None:
            return
        window, xs, ys = found
        length = max(0.5, math.hypot(x1 - x0, y1 - y0))
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        dx, dy = xs - np.float32(x0), ys - np.float32(y0)
        share = dx * np.float32(ux / length) + dy * np.float32(uy / length)
        inside = limited(share, 0.0, 1.0)
        # What changes evenly from start to end: radius in pixels and in body heights, nearness, row of the texture.
        ends = np.array(
            ((max(r0, 0.5), r1), radii, (z0, z1), (rows[0] + strip.first, rows[1] + strip.first)), np.float32
        )
        radius, thick, near, row = inside * (ends[:, 1] - ends[:, 0])[:, None, None] + ends[:, :1, None]
        # The normal across the axis, and along it where an end is round.
        side = (dx * np.float32(-uy) + dy * np.float32(ux)) / radius
        end = (share - inside) * np.float32(length) / radius
        square = np.float32(1) - side * side
        square -= end * end
        mask = square > 0
        if cut:
            mask &= share <= 1
        np.sqrt(np.maximum(square, 0, out=square), out=square)
        shape = np.empty((3, *mask.shape), np.float32)
        np.add(thick * square, near, out=shape[0])
        axes = np.array(((ux, -uy), (uy, ux)), np.float32)[..., None, None]
        np.add(end * axes[:, 0], side * axes[:, 1], out=shape[1:])
        side *= np.float32(math.copysign(256, -uy))
        texel = row.astype(np.int32) * COLUMNS + columns_of(side, FRONT - round(turn * FRONT / math.pi))
        self.put(window, mask, shape, texel)

    def trunk(
        self, lens: Lens, sections: Sequence[Section], strip: Strip, top_up: float, over: bool = False,
    ) -> None:  # fmt: skip
        """Add the shape around a stack of cross sections, from top to bottom.

        Args:
            lens: before the body.
            sections: at least two, their heights falling.
            strip: its texture, ``ROWS_PER_HEIGHT`` rows per body height.
            top_up: height of the strip's first row.
            over: cloth that hides all that was added before.
        """
        table = []
        for part in sections:
            x, y, near, size = lens.place(0.0, part.up, part.forward)
            half = size * math.hypot(part.lateral * lens.cos, part.sagittal * lens.sin)
            deep = math.hypot(part.lateral * lens.sin, part.sagittal * lens.cos)
            delta = math.atan2(part.sagittal * lens.sin, part.lateral * lens.cos) * FRONT / math.pi
            table.append((y, x, half, deep, near, delta, part.up))
        table = np.array(sorted(table), np.float64)
        hang = lens.sin_pitch * lens.scale * 1.2 * table[-1, 3]
        most = table[:, 2].max() + 2
        middle = table[:, 1]
        found = self.window(middle.min() - most, table[0, 0], middle.max() + most, table[-1, 0] + hang)
        if found is None:
            return
        window, xs, ys = found
        part = np.clip(np.searchsorted(table[:, 0], ys[:, 0]) - 1, 0, len(table) - 2)
        first, second = table[part], table[part + 1]
        share = (ys - first[:, :1]) / np.maximum(second[:, :1] - first[:, :1], 0.5)
        rows = first + (second - first) * np.clip(share, 0, 1)
        up = first[:, 6:] + (second[:, 6:] - first[:, 6:]) * share
        _, x, half, deep, near, delta, _ = (rows[:, i : i + 1].astype(np.float32) for i in range(7))
        u = (xs - x) / np.maximum(half, 0.5)
        square = np.float32(1) - u * u
        mask = square > 0
        nz = np.sqrt(np.maximum(square, 0))
        row = ((top_up - up) * ROWS_PER_HEIGHT).astype(np.float32)
        row = row - nz * deep * np.float32(ROWS_PER_HEIGHT * math.tan(lens.pitch))
        low = np.float32((top_up - sections[-1].up) * ROWS_PER_HEIGHT)
        mask &= (row < min(low, strip.count)) & (row > -3)
        column = arc(u * 256) + (FRONT - delta).astype(np.int32)
        texel = (limited(row.astype(np.int32), 0, strip.count - 1) + strip.first) * COLUMNS + (column & (COLUMNS - 1))
        slope = (second[:, 2:3] - first[:, 2:3]) / np.maximum(second[:, :1] - first[:, :1], 0.5)
        ny = np.clip(slope * -0.75, -0.85, 0.4).astype(np.float32)
        level = np.sqrt(np.float32(1) - ny * ny)
        shape = np.empty((3, *mask.shape), np.float32)
        np.add(nz * (deep * np.float32(lens.cos_pitch)), near, out=shape[0])
        np.multiply(u, level, out=shape[1])
        shape[2] = ny
        self.put(window, mask, shape, texel, over)

    def ellipsoid(
        self, lens: Lens, centre: tuple[float, float, float], axes: tuple[float, float, float], strip: Strip,
        solid: np.ndarray | None = None, boxy: bool = False,
    ) -> None:  # fmt: skip
        """Add an upright ellipsoid, or a box with round edges.

        Args:
            lens: before the body.
            centre: left, up and forward in body heights.
            axes: half axes to the side, up and to the front, in body heights.
            strip: its texture, from the top to the bottom pole.
            solid: of each texel, whether it is there; None for all.
            boxy: a box and no ellipsoid.
        """
        x, y, near, size = lens.place(*centre)
        lateral, high, sagittal = axes
        half = max(1.0, size * math.hypot(lateral * lens.cos, sagittal * lens.sin))
        deep = math.hypot(lateral * lens.sin, sagittal * lens.cos)
        tall = max(1.0, size * math.hypot(high * lens.cos_pitch, deep * lens.sin_pitch))
        found = self.window(x - half, y - tall, x + half, y + tall)
        if found is None:
            return
        window, xs, ys = found
        u, v = (xs - np.float32(x)) * np.float32(1 / half), (ys - np.float32(y)) * np.float32(1 / tall)
        u2, v2 = u * u, v * v
        if boxy:
            u2, v2 = u2 * u2, v2 * v2
            u2, v2 = u2 * u2, v2 * v2
        square = np.float32(1) - u2 - v2
        mask = square > 0
        nz = np.sqrt(np.maximum(square, 0))
        delta = math.atan2(sagittal * lens.sin, lateral * lens.cos) * FRONT / math.pi
        belt = u / np.sqrt(np.maximum(np.float32(1) - v2, 0.01))
        column = columns_of(belt * 256, FRONT - round(delta))
        tilt = np.float32(0 if boxy else strip.count * lens.pitch / math.pi)
        angle = v * np.float32(FRONT / 2) if boxy else arc(v * 256)
        row = (angle * np.float32(strip.count / FRONT) + np.float32(strip.count / 2) - nz * tilt).astype(np.int32)
        texel = (limited(row, 0, strip.count - 1) + strip.first) * COLUMNS + column
        if solid is not None:
            mask &= solid[texel]
        shape = np.empty((3, *mask.shape), np.float32)
        np.add(nz * np.float32(deep), np.float32(near), out=shape[0])
        shape[1], shape[2] = (u2 * u, v2 * v) if boxy else (u, v)
        self.put(window, mask, shape, texel)
