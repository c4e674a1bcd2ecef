"""What stands between the camera and a person."""

import numpy as np

from fastreid_ext.data.synthetic.canvas import OCCLUDER, Canvas, shade
from fastreid_ext.data.synthetic.figure import draw_person
from fastreid_ext.data.synthetic.person import sample_person
from fastreid_ext.data.synthetic.seeds import pick
from fastreid_ext.data.synthetic.skeleton import View, sample_pose

CAR_COLOURS = ((180, 120, 60), (44, 40, 40), (210, 212, 214), (50, 46, 160), (120, 116, 112), (110, 90, 40))
PAINTS = ((150, 150, 148), (70, 74, 70), (90, 120, 90), (60, 62, 150), (60, 180, 214), (178, 178, 186))
LEAF_COLOURS = ((48, 96, 56), (60, 122, 80), (76, 140, 108), (40, 76, 50), (90, 150, 134))
SIGN_COLOURS = ((60, 200, 236), (186, 110, 40), (60, 56, 190), (216, 218, 218), (80, 140, 70), (190, 150, 200))
GOODS = ((70, 170, 210), (80, 80, 180), (200, 200, 196), (90, 140, 90), (170, 120, 70))


def draw_car(canvas: Canvas, middle: float, rng: np.random.RandomState) -> None:
    """Draw a car from the side, its bonnet or boot in the picture."""
    height, width = canvas.height, canvas.width
    colour = shade(pick(rng, CAR_COLOURS), rng.uniform(0.85, 1.1))
    waist = rng.uniform(0.62, 0.78) * height
    roof, bottom = waist - rng.uniform(0.1, 0.14) * height, waist + 0.26 * height
    left = middle - rng.uniform(0.55, 1.25) * width
    right = left + 1.75 * width
    canvas.convex(((left + 0.35 * width, roof), (right - 0.45 * width, roof), (right - 0.12 * width, waist + 2),
                   (left + 0.05 * width, waist + 2)), shade(colour, 0.9))  # fmt: skip
    glass = (92, 84, 74)
    seam = (left + right) / 2
    canvas.convex(((left + 0.39 * width, roof + 0.015 * height), (seam - 0.04 * width, roof + 0.015 * height),
                   (seam - 0.04 * width, waist), (left + 0.14 * width, waist)), glass)  # fmt: skip
    canvas.convex(((seam + 0.02 * width, roof + 0.015 * height), (right - 0.48 * width, roof + 0.015 * height),
                   (right - 0.22 * width, waist), (seam + 0.02 * width, waist)), shade(glass, 1.25))  # fmt: skip
    canvas.convex(((left, waist), (right, waist), (right + 0.04 * width, waist + 0.12 * height),
                   (right, bottom), (left, bottom), (left - 0.04 * width, waist + 0.12 * height)), colour)  # fmt: skip
    canvas.box(left, waist + 0.17 * height, right, bottom, shade(colour, 0.7))
    canvas.box(left, waist + 0.02 * height, right, waist + 0.028 * height, shade(colour, 1.25))
    canvas.line(seam, waist, seam, bottom, shade(colour, 0.5))
    canvas.box(seam + 0.06 * width, waist + 0.05 * height, seam + 0.16 * width, waist + 0.06 * height,
               shade(colour, 0.45))  # fmt: skip
    canvas.oval(left + 0.03 * width, waist + 0.07 * height, 0.06 * width, 0.02 * height, (70, 70, 220))
    canvas.oval(right - 0.03 * width, waist + 0.07 * height, 0.06 * width, 0.02 * height, (200, 240, 250))
    for x in (left + 0.36 * width, right - 0.36 * width):
        canvas.disc(x, bottom, 0.17 * width, (34, 32, 32))
        canvas.disc(x, bottom, 0.085 * width, (150, 150, 152))


def draw_pole(canvas: Canvas, middle: float, rng: np.random.RandomState) -> None:
    """Draw a lamp post or a pillar in front of one half of the person."""
    height, width = canvas.height, canvas.width
    colour = shade(pick(rng, PAINTS), rng.uniform(0.8, 1.1))
    half = rng.uniform(0.06, 0.11) * width
    x = middle + rng.uniform(-0.12, 0.12) * width
    foot = rng.uniform(0.93, 1.1) * height
    for left, right, tone in ((-1.0, 1.0, 0.72), (-0.85, 0.4, 1.0), (-0.6, -0.2, 1.2)):
        canvas.box(x + left * half, 0, x + right * half, foot, shade(colour, tone))
    canvas.box(x - 1.35 * half, foot - 0.06 * height, x + 1.35 * half, foot, shade(colour, 0.6))
    if rng.randint(2):
        y = rng.uniform(0.3, 0.7) * height
        canvas.box(x - 1.05 * half, y, x + 1.05 * half, y + 0.09 * height, shade(pick(rng, SIGN_COLOURS), 0.9))
    else:
        for y in (0.3, 0.36, 0.62):
            canvas.box(x - half, y * height, x + half, (y + 0.008) * height, shade(colour, 0.5))


def draw_plant(canvas: Canvas, middle: float, rng: np.random.RandomState) -> None:
    """Draw a bush, or a plant in its pot."""
    height, width = canvas.height, canvas.width
    top = rng.uniform(0.52, 0.68) * height
    x = middle + rng.uniform(-0.22, 0.22) * width
    half = rng.uniform(0.3, 0.48) * width
    if rng.randint(2):
        canvas.convex(((x - 0.6 * half, 0.86 * height), (x + 0.6 * half, 0.86 * height), (x + 0.45 * half, height),
                       (x - 0.45 * half, height)), (70, 90, 150))  # fmt: skip
        bottom = 0.9 * height
    else:
        bottom = height
    heart, reach = (top + bottom) / 2, (bottom - top) / 2
    base = pick(rng, LEAF_COLOURS)
    canvas.oval(x, heart, 0.82 * half, 0.9 * reach, shade(base, 0.6))
    for _ in range(46):
        across, along = rng.uniform(-1, 1), rng.uniform(-1, 1)
        if across * across + along * along > 1.0:
            continue
        colour = shade(pick(rng, LEAF_COLOURS), rng.uniform(0.8, 1.2))
        size = rng.uniform(0.05, 0.1) * width
        canvas.oval(x + across * half, heart + along * reach, 1.5 * size, 0.6 * size, colour, angle=rng.randint(180))


def draw_cart(canvas: Canvas, middle: float, rng: np.random.RandomState) -> None:
    """Draw a shopping cart full of goods."""
    height, width = canvas.height, canvas.width
    wire = shade(pick(rng, PAINTS), rng.uniform(0.8, 1.1))
    top, bottom = rng.uniform(0.5, 0.6) * height, rng.uniform(0.76, 0.84) * height
    half, x = rng.uniform(0.3, 0.42) * width, middle + rng.uniform(-0.18, 0.18) * width
    canvas.convex(((x - half, top), (x + half, top), (x + 0.85 * half, bottom), (x - 0.85 * half, bottom)),
                  shade(wire, 0.55))  # fmt: skip
    for _ in range(7):
        left = x + rng.uniform(-0.8, 0.45) * half
        high = rng.uniform(0.06, 0.16) * height
        canvas.box(left, bottom - high - rng.uniform(0, 0.1) * height, left + 0.4 * half, bottom,
                   shade(pick(rng, GOODS), rng.uniform(0.7, 1.0)))  # fmt: skip
    thin = 0.011 * width
    for index in range(9):
        across = -1 + index / 4
        canvas.bar((x + across * half, top), (x + 0.85 * across * half, bottom), thin, wire)
    for index in range(5):
        y = top + (bottom - top) * index / 4
        canvas.box(x - half, y - thin, x + half, y + thin, wire)
    canvas.box(x - 1.12 * half, top - 0.018 * height, x + 1.12 * half, top + 0.01 * height, pick(rng, SIGN_COLOURS))
    for side in (-0.7, 0.7):
        canvas.bar((x + side * half, bottom), (x + side * half, 0.93 * height), 0.018 * width, wire)
        canvas.disc(x + side * half, 0.94 * height, 0.045 * width, (40, 38, 38))


def draw_sign(canvas: Canvas, middle: float, rng: np.random.RandomState) -> None:
    """Draw a board on a post."""
    height, width = canvas.height, canvas.width
    colour = shade(pick(rng, SIGN_COLOURS), rng.uniform(0.8, 1.05))
    half, high = rng.uniform(0.24, 0.38) * width, rng.uniform(0.09, 0.15) * height
    x, y = middle + rng.uniform(-0.15, 0.15) * width, rng.uniform(0.35, 0.72) * height
    canvas.box(x - 0.03 * width, y, x + 0.03 * width, height, (96, 98, 98))
    canvas.box(x - half, y - high, x + half, y + high, shade(colour, 0.5))
    edge = 0.03 * width
    canvas.box(x - half + edge, y - high + edge, x + half - edge, y + high - edge, colour)
    ink = shade(colour, 0.35)
    if rng.randint(2):
        for row in (-0.5, 0.0, 0.5):
            end = rng.uniform(0.2, 0.75) * half
            canvas.box(x - 0.7 * half, y + row * high - 0.1 * high, x + end, y + row * high + 0.1 * high, ink)
    else:
        canvas.convex(((x - 0.6 * half, y - 0.25 * high), (x + 0.1 * half, y - 0.25 * high),
                       (x + 0.1 * half, y + 0.25 * high), (x - 0.6 * half, y + 0.25 * high)), ink)  # fmt: skip
        canvas.convex(((x + 0.1 * half, y - 0.6 * high), (x + 0.7 * half, y), (x + 0.1 * half, y + 0.6 * high)), ink)


def draw_passer(canvas: Canvas, middle: float, rng: np.random.RandomState) -> None:
    """Draw another person, nearer to the camera and half beside the one that is meant."""
    stranger, pose = sample_person(rng), sample_pose(rng)
    side = 1 if rng.randint(2) else -1
    scale = rng.uniform(0.9, 1.08) * canvas.height
    x = middle + side * rng.uniform(0.22, 0.42) * canvas.width
    view = View(x, canvas.height * rng.uniform(1.0, 1.12), scale, pose.heading, 0.12)
    draw_person(canvas, view, stranger, pose)


OCCLUDERS = {
    "car": draw_car,
    "pole": draw_pole,
    "plant": draw_plant,
    "cart": draw_cart,
    "sign": draw_sign,
    "person": draw_passer,
}


def draw_occluder(canvas: Canvas, kind: str, middle: float, rng: np.random.RandomState) -> None:
    """Draw an occluder over what is there, labelled as such.

    Args:
        canvas: what is drawn on; its label is ``OCCLUDER`` afterwards.
        kind: a key of ``OCCLUDERS``.
        middle: x in pixels of the person who is to be hidden.
        rng: draws all that differs from image to image.
    """
    canvas.label = OCCLUDER
    OCCLUDERS[kind](canvas, middle, rng)
