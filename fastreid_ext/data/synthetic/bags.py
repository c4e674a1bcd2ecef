"""What people carry: backpack, handbag and shoulder bag."""

import math
from collections.abc import Sequence

from fastreid_ext.data.synthetic.canvas import Canvas, Point, shade
from fastreid_ext.data.synthetic.garments import Section, around
from fastreid_ext.data.synthetic.person import Person
from fastreid_ext.data.synthetic.skeleton import View

PACK_UP, PACK_BACKWARD = 0.67, -0.085


def draw_backpack(canvas: Canvas, view: View, person: Person, drop: float) -> None:
    """Draw the pack itself, on the back."""
    colour, scale = person.bag_colour, view.scale
    x, y = view.project(0.0, PACK_UP - drop, PACK_BACKWARD)
    half = view.half_width(0.088, 0.05)
    high = 0.125 * scale
    rows = [(y - high, x - 0.7 * half, x + 0.7 * half), (y - 0.75 * high, x - half, x + half),
            (y + 0.8 * high, x - half, x + half), (y + high, x - 0.8 * half, x + 0.8 * half)]  # fmt: skip
    canvas.stack(rows, shade(colour, 0.75))
    rows = [(r[0], r[1], r[2] - 0.3 * half) for r in rows]
    canvas.stack(rows, colour)
    if math.cos(view.heading) < 0.3:
        canvas.box(x - 0.66 * half, y + 0.12 * high, x + 0.66 * half, y + 0.74 * high, shade(colour, 0.6))
        canvas.box(x - 0.58 * half, y + 0.2 * high, x + 0.58 * half, y + 0.68 * high, shade(colour, 1.2))
        canvas.box(x - 0.5 * half, y - 0.5 * high, x + 0.5 * half, y - 0.42 * high, shade(colour, 1.3))


def draw_straps(canvas: Canvas, view: View, person: Person, sections: Sequence[Section]) -> None:
    """Draw the straps of a backpack over the chest."""
    for azimuth in (-0.62, 0.62):
        points = [around(view, section, azimuth) for section in sections[1:6]]
        for (start, seen), (end, _) in zip(points, points[1:], strict=False):
            if seen:
                canvas.bar(start, end, 0.011 * view.scale, shade(person.bag_colour, 0.85))


def draw_shoulder_bag(canvas: Canvas, view: View, person: Person, sections: Sequence[Section]) -> None:
    """Draw a strap across the body and its bag at the hip."""
    side = 1 if person.bag_on_left else -1
    front = [(0, -1.2), (1, -0.95), (2, -0.7), (3, -0.45), (4, 0.0), (5, 0.55), (6, 1.1)]
    for mirror in (1, -1):  # over the chest, and over the back
        points = []
        for index, azimuth in front:
            angle = side * azimuth if mirror == 1 else math.pi - side * azimuth
            points.append(around(view, sections[index], angle))
        for (start, seen), (end, _) in zip(points, points[1:], strict=False):
            if seen:
                canvas.bar(start, end, 0.011 * view.scale, shade(person.bag_colour, 0.9))
    up, lateral, _ = sections[6]
    left = side * (lateral + 0.012)
    if view.depth(left, 0.0) > -0.08:
        draw_bag_body(canvas, view, person, view.project(left, up - 0.005, 0.0), 0.052, 0.042)


def draw_handbag(canvas: Canvas, view: View, person: Person, wrist: Point) -> None:
    """Draw a bag that hangs from the hand at the pixel ``wrist``."""
    x, y = wrist
    scale = view.scale
    for offset in (-0.02, 0.02):
        canvas.bar((x, y + 0.015 * scale), (x + offset * scale, y + 0.06 * scale), 0.006 * scale,
                   shade(person.bag_colour, 0.7))  # fmt: skip
    draw_bag_body(canvas, view, person, (x, y + 0.1 * scale), 0.062, 0.048)


def draw_bag_body(canvas: Canvas, view: View, person: Person, centre: Point, lateral: float, high: float) -> None:
    """Draw a box-shaped bag with its flap around ``centre`` (pixels); it is widest when seen from the side."""
    (x, y), scale = centre, view.scale
    half = view.half_width(0.028, lateral)
    canvas.box(x - half, y - high * scale, x + half, y + high * scale, person.bag_colour)
    canvas.box(x - half, y - high * scale, x + half, y - 0.2 * high * scale, shade(person.bag_colour, 0.72))
    canvas.disc(x, y - 0.1 * high * scale, 0.007 * scale, (120, 190, 210))
