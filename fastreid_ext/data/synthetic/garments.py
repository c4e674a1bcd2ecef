"""Upper garments: the outline of the torso, and the cloth that is wrapped around it."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from fastreid_ext.data.synthetic.canvas import Canvas, Colour, Point, Row, blend, shade
from fastreid_ext.data.synthetic.person import Person
from fastreid_ext.data.synthetic.skeleton import SHOULDER_UP, View

Section = tuple[float, float, float]  # up, half width, half depth of a cross section of the body, in body heights

# From the neck down.
TORSO = (
    (0.852, 0.034, 0.034),
    (0.832, 0.070, 0.044),
    (0.812, 0.106, 0.054),
    (0.780, 0.117, 0.062),
    (0.715, 0.112, 0.070),
    (0.610, 0.096, 0.064),
    (0.520, 0.100, 0.068),
)
HEMS = {"tee": 0.475, "shirt": 0.455, "jacket": 0.47, "hoodie": 0.46, "coat": 0.30}
SLEEVES = {"tee": 0.55, "shirt": 1.9, "jacket": 2.0, "hoodie": 2.0, "coat": 2.0}  # 1 elbow, 2 wrist
BULK = {"tee": 1.0, "shirt": 1.0, "jacket": 1.1, "hoodie": 1.08, "coat": 1.12}


def cross_sections(person: Person, drop: float) -> list[Section]:
    """Return the cross sections of the torso with its garment, down to the hem."""
    bulk = BULK[person.upper_type] * (0.35 + 0.65 * person.build)
    sections = []
    for up, lateral, sagittal in TORSO:
        shape = person.shoulders if up > 0.7 else person.hips
        sections.append((up - drop, lateral * shape * bulk, sagittal * bulk))
    hem = HEMS[person.upper_type]
    flare = 1.0 + 0.5 * max(0.0, 0.47 - hem)
    sections.append((hem - drop, sections[-1][1] * flare, sections[-1][2] * flare))
    return sections


def outline(view: View, sections: Sequence[Section]) -> list[Row]:
    """Return the outline, in pixels, of a stack of cross sections on the body's axis."""
    rows = []
    for up, lateral, sagittal in sections:
        half = view.half_width(lateral, sagittal)
        rows.append((view.row(up), view.x - half, view.x + half))
    return rows


def around(view: View, section: Section, azimuth: float) -> tuple[Point, bool]:
    """Return a point on the edge of a cross section, and whether it is in sight.

    Args:
        view: where the body appears.
        section: of the body.
        azimuth: in radians; 0 is the front, pi/2 the body's left.
    """
    up, lateral, sagittal = section
    across, along = math.sin(azimuth), math.cos(azimuth)
    x = view.x + view.scale * (lateral * across * view.cos + sagittal * along * view.sin)
    # The outward normal decides, not the position: an ellipse is not a circle.
    return (x, view.row(up)), view.depth(across / lateral, along / sagittal) > 0


def column(
    canvas: Canvas, view: View, sections: Sequence[Section], azimuth: float, half_angle: float, colour: Colour
) -> None:
    """Paint a vertical band of the cloth around ``azimuth``, where it is in sight."""
    if view.depth(math.sin(azimuth), math.cos(azimuth)) < -0.6:
        return
    edges = [(around(view, section, azimuth - half_angle), around(view, section, azimuth + half_angle))
             for section in sections]  # fmt: skip
    for (a, b), (d, c) in zip(edges, edges[1:], strict=False):
        if a[1] + b[1] + c[1] + d[1] >= 3:
            canvas.convex((a[0], b[0], c[0], d[0]), colour)


def rings(canvas: Canvas, view: View, top: float, bottom: float, period: float, share: float, colour: Colour) -> None:
    """Paint horizontal stripes from ``top`` down to ``bottom``, which are heights in body heights."""
    up = top
    while up > bottom:
        upper, lower = view.row(up), view.row(up - period * share)
        canvas.box(0, upper, canvas.width, lower - 1, colour)
        up -= period


def paint_print(canvas: Canvas, view: View, person: Person, drop: float) -> None:
    """Paint the emblem on the chest or the back, foreshortened, if that side is in sight."""
    direction = -1.0 if person.print_on_back else 1.0
    facing = direction * math.cos(view.heading)
    if facing < 0.2:
        return
    x, y = view.project(0.0, 0.70 - drop, direction * 0.06)
    high = 0.052 * view.scale * person.pattern_scale
    wide, colour = high * facing, person.accent
    if person.print_shape == "disc":
        canvas.oval(x, y, wide, high, colour)
    elif person.print_shape == "square":
        canvas.box(x - wide, y - high, x + wide, y + high, colour)
        canvas.box(x - wide / 2, y - high / 2, x + wide / 2, y + high / 2, person.upper)
    elif person.print_shape == "cross":
        canvas.box(x - wide / 3, y - high, x + wide / 3, y + high, colour)
        canvas.box(x - wide, y - high / 3, x + wide, y + high / 3, colour)
    elif person.print_shape == "bars":
        for step in (-1, 0, 1):
            canvas.box(x - wide * 1.2, y + step * high * 0.7, x + wide * 1.2, y + step * high * 0.7 + high / 4, colour)
    else:
        canvas.convex(((x, y - high), (x + wide, y), (x, y + high), (x - wide, y)), colour)


def paint_pattern(canvas: Canvas, view: View, person: Person, sections: Sequence[Section], drop: float) -> None:
    """Paint the pattern of the cloth over its plain colour."""
    top, bottom = sections[0][0], sections[-1][0]
    period = 0.058 * person.pattern_scale
    if person.pattern == "thin_stripes":
        rings(canvas, view, top - 0.03, bottom, period * 0.8, 0.4, person.accent)
    elif person.pattern == "wide_stripes":
        rings(canvas, view, top - 0.05, bottom, period * 2.0, 0.5, person.accent)
    elif person.pattern == "columns":
        count = max(8, round(13 / person.pattern_scale))
        for index in range(count):
            column(canvas, view, sections[1:], 2 * math.pi * index / count, 0.85 / count, person.accent)
    elif person.pattern == "checks":
        soft = blend(person.upper, person.accent, 0.45)
        rings(canvas, view, top - 0.03, bottom, period * 1.25, 0.45, soft)
        for index in range(10):
            column(canvas, view, sections[1:], 2 * math.pi * index / 10, 0.13, person.accent)
    elif person.pattern == "print":
        paint_print(canvas, view, person, drop)
    elif person.pattern == "block":
        edge = view.row(0.67 - drop)
        canvas.box(0, edge, canvas.width, canvas.height, person.accent)


def paint_cut(canvas: Canvas, view: View, person: Person, sections: Sequence[Section], drop: float) -> None:
    """Paint what tells the types of garment apart: buttons, a zip, an open front, pockets, a belt."""
    dark = shade(person.upper, 0.6)
    if person.upper_type == "shirt":
        column(canvas, view, sections[1:], 0.0, 0.07, shade(person.upper, 0.8))
    elif person.upper_type == "jacket":
        column(canvas, view, sections, 0.0, 0.42, shade(person.accent, 0.9))
        for azimuth in (-0.46, 0.46):
            column(canvas, view, sections, azimuth, 0.07, dark)
    elif person.upper_type == "hoodie":
        pocket = [(up - drop, 0.1 * person.build, 0.068 * person.build) for up in (0.575, 0.5)]
        column(canvas, view, pocket, 0.0, 0.6, shade(person.upper, 0.78))
    elif person.upper_type == "coat":
        column(canvas, view, sections[1:], 0.1, 0.06, dark)
        belt, below = (view.row(up - drop) for up in (0.585, 0.565))
        canvas.box(0, belt, canvas.width, below, dark)


def draw_torso(canvas: Canvas, view: View, person: Person, drop: float) -> list[Section]:
    """Draw the upper garment (colour, pattern, cut, the shadow of one side) and return its cross sections."""
    sections = cross_sections(person, drop)
    rows = outline(view, sections)
    left, top = (math.floor(min(values)) for values in ([r[1] for r in rows], [r[0] for r in rows]))
    right, bottom = (math.ceil(max(values)) + 1 for values in ([r[2] for r in rows], [r[0] for r in rows]))
    height, width = max(2, bottom - top), max(2, right - left)

    # The cloth is painted on a patch of its own, and cut out along the outline.
    patch = Canvas(height, width, canvas.label)
    patch.pixels[:] = (*person.upper, canvas.label)
    local = view.moved(left, top)
    paint_pattern(patch, local, person, sections, drop)
    paint_cut(patch, local, person, sections, drop)

    mask = np.zeros((height, width), np.uint8)
    lit = np.zeros((height, width), np.uint8)
    rows = outline(local, sections)
    for (y0, l0, r0), (y1, l1, r1) in zip(rows, rows[1:], strict=False):
        shape = np.rint([(l0, y0), (r0, y0), (r1, y1), (l1, y1)]).astype(np.int32)
        cv2.fillConvexPoly(mask, shape, 255)
        shape[:, 0] = np.rint([l0, r0 - 0.24 * (r0 - l0), r1 - 0.24 * (r1 - l1), l1])
        cv2.fillConvexPoly(lit, shape, 255)
    shaded = patch.pixels.copy()
    # A quarter darker on the side away from the light; the label stays.
    shaded -= (shaded >> 2) & np.array((255, 255, 255, 0), np.uint8)
    cv2.copyTo(patch.pixels, lit, shaded)
    canvas.paste(shaded, mask, left, top)
    if person.upper_type == "shirt" or person.upper_type == "coat":
        draw_collar(canvas, view, person, drop)
    return sections


def draw_collar(canvas: Canvas, view: View, person: Person, drop: float) -> None:
    """Draw a collar around the neck."""
    x, y = view.project(0.0, 0.842 - drop, 0.0)
    half = view.half_width(0.044, 0.04)
    canvas.convex(((x - half, y - 0.5 * half), (x + half, y - 0.5 * half), (x + 0.7 * half, y + 0.4 * half),
                   (x - 0.7 * half, y + 0.4 * half)), shade(person.upper, 1.18))  # fmt: skip


def draw_sleeve(canvas: Canvas, person: Person, points: Sequence[Point], radii: Sequence[float]) -> None:
    """Draw the sleeve over an arm.

    Args:
        canvas: what is drawn on.
        person: whose sleeve it is.
        points: shoulder, elbow and wrist in pixels.
        radii: of the arm at these points, in pixels.
    """
    reach = SLEEVES[person.upper_type]
    colour = person.accent if person.pattern == "block" and person.upper_type != "tee" else person.upper
    bulk = BULK[person.upper_type] * 1.12
    for part in (0, 1):
        share = min(1.0, max(0.0, reach - part))
        if share == 0.0:
            continue
        (x0, y0), (x1, y1) = points[part], points[part + 1]
        end = (x0 + (x1 - x0) * share, y0 + (y1 - y0) * share)
        end_radius = radii[part] + (radii[part + 1] - radii[part]) * share
        canvas.capsule(points[part], end, radii[part] * bulk, end_radius * bulk, shade(colour, 0.82))
        inner = 0.78 * bulk
        offset = -0.2 * radii[part]
        canvas.capsule((x0 + offset, y0), (end[0] + offset, end[1]), radii[part] * inner, end_radius * inner, colour)
        if person.pattern in ("thin_stripes", "wide_stripes", "checks"):
            draw_sleeve_rings(canvas, person, points[part], end, radii[part] * inner)


def draw_sleeve_rings(canvas: Canvas, person: Person, start: Point, end: Point, radius: float) -> None:
    """Draw the stripes of a sleeve across the arm."""
    count = 2 if person.pattern == "wide_stripes" else 4
    half = 0.25 / count
    for index in range(count):
        middle = (index + 0.5) / count
        ends = [(start[0] + (end[0] - start[0]) * p, start[1] + (end[1] - start[1]) * p)
                for p in (middle - half, middle + half)]  # fmt: skip
        canvas.bar(ends[0], ends[1], radius, person.accent)


def draw_hood(canvas: Canvas, view: View, person: Person, drop: float) -> None:
    """Draw the hood that lies on the shoulders, at the back of the neck."""
    x, y = view.project(0.0, SHOULDER_UP + 0.048 - drop, -0.045)
    canvas.oval(x, y, view.half_width(0.066, 0.045), 0.034 * view.scale, shade(person.upper, 0.75))
    canvas.oval(x, y - 0.006 * view.scale, view.half_width(0.052, 0.034), 0.024 * view.scale, shade(person.upper, 0.92))
