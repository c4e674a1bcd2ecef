"""The background of each camera, drawn anew for every image and never dependent on who is in it."""

import cv2
import numpy as np

from fastreid_ext.data.synthetic.canvas import Canvas, Colour, blend, shade
from fastreid_ext.data.synthetic.seeds import pick

GREYS = ((168, 170, 172), (140, 142, 146), (116, 118, 122), (186, 184, 178), (150, 140, 132))
WALLS = ((150, 160, 172), (176, 178, 170), (120, 132, 150), (168, 150, 140), (196, 196, 190), (108, 110, 118))
BRICKS = ((84, 98, 150), (96, 112, 158), (78, 88, 128))
LEAVES = ((60, 110, 72), (70, 130, 96), (52, 90, 60), (84, 142, 120), (60, 100, 84))
SIGNS = ((60, 60, 190), (60, 180, 220), (180, 110, 50), (90, 150, 80), (230, 230, 230), (40, 40, 44))


def draw_background(canvas: Canvas, name: str, rng: np.random.RandomState) -> None:
    """Fill a canvas with a background.

    Args:
        canvas: all of it is painted over, with the current label.
        name: a key of ``BACKGROUNDS``.
        rng: draws all that differs from image to image.
    """
    horizon = canvas.height * rng.uniform(0.34, 0.62)
    wall, ground = BACKGROUNDS[name]
    wall(canvas, horizon, rng)
    ground(canvas, horizon, rng)
    clutter(canvas, horizon, rng)
    add_mottle(canvas, rng)


def add_mottle(canvas: Canvas, rng: np.random.RandomState) -> None:
    """Add soft random stains, so that no surface is flat."""
    coarse = rng.randint(0, 30, (canvas.height // 24, canvas.width // 24, 1), dtype=np.uint8)
    coarse = coarse * np.array((1, 1, 1, 0), np.uint8)  # grey stains that leave the label alone
    stains = cv2.resize(coarse, (canvas.width, canvas.height), interpolation=cv2.INTER_LINEAR_EXACT)
    cv2.add(canvas.pixels, stains, dst=canvas.pixels)


def facades(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw buildings with rows of windows."""
    x = -rng.uniform(0, 0.3) * canvas.width
    while x < canvas.width:
        width = rng.uniform(0.35, 0.9) * canvas.width
        colour = shade(pick(rng, WALLS), rng.uniform(0.75, 1.15))
        canvas.box(x, 0, x + width, horizon, colour)
        glass = shade(colour, rng.uniform(0.45, 0.75))
        step_x, step_y = rng.uniform(0.16, 0.3) * canvas.width, rng.uniform(0.1, 0.17) * canvas.height
        for row in range(int(horizon / step_y)):
            for column in range(int(width / step_x)):
                left, top = x + (column + 0.25) * step_x, (row + 0.25) * step_y
                canvas.box(left, top, left + 0.55 * step_x, top + 0.6 * step_y, glass)
        x += width


def trees(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw a hedge or a row of trees under the sky."""
    canvas.box(0, 0, canvas.width, horizon, blend((224, 214, 200), (200, 190, 160), rng.random_sample()))
    for _ in range(rng.randint(1, 4)):
        x = rng.uniform(0, canvas.width)
        half = rng.uniform(0.02, 0.05) * canvas.width
        canvas.box(x - half, 0.2 * horizon, x + half, horizon, (52, 70, 88))
    for _ in range(26):
        colour = shade(pick(rng, LEAVES), rng.uniform(0.7, 1.15))
        radius = rng.uniform(0.07, 0.2) * canvas.width
        canvas.disc(rng.uniform(0, canvas.width), rng.uniform(0.05, 1.0) * horizon, radius, colour)


def panels(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw an indoor wall of panels with doors."""
    base = shade(pick(rng, WALLS), rng.uniform(0.9, 1.2))
    canvas.box(0, 0, canvas.width, horizon, base)
    x = rng.uniform(-0.3, 0.0) * canvas.width
    while x < canvas.width:
        width = rng.uniform(0.2, 0.5) * canvas.width
        canvas.box(x + 2, 0, x + width, horizon, shade(base, rng.uniform(0.72, 1.1)))
        if rng.randint(3) == 0:
            canvas.box(x + 0.2 * width, 0.3 * horizon, x + 0.8 * width, horizon, shade(base, 0.5))
        x += width
    canvas.box(0, horizon - 0.02 * canvas.height, canvas.width, horizon, shade(base, 0.5))


def bricks(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw a brick wall, perhaps with a shutter."""
    base = shade(pick(rng, BRICKS), rng.uniform(0.8, 1.2))
    canvas.box(0, 0, canvas.width, horizon, base)
    step = canvas.height * rng.uniform(0.026, 0.036)
    mortar, y, row = shade(base, 1.3), 0.0, 0
    while y < horizon:
        canvas.line(0, y, canvas.width, y, mortar)
        for column in range(5):
            x = (column + 0.5 * (row % 2)) * canvas.width / 4.5
            canvas.line(x, y, x, min(horizon, y + step), mortar)
        y, row = y + step, row + 1
    if rng.randint(2):
        left, width = rng.uniform(-0.2, 0.8) * canvas.width, rng.uniform(0.3, 0.6) * canvas.width
        canvas.box(left, 0.25 * horizon, left + width, horizon, pick(rng, GREYS))


def tiles(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw pavement slabs in perspective."""
    base = shade(pick(rng, GREYS), rng.uniform(0.9, 1.2))
    canvas.box(0, horizon, canvas.width, canvas.height, base)
    joint = shade(base, 0.82)
    depth, step = 0.04, canvas.height - horizon
    while depth < 1.0:
        y = horizon + depth * step
        canvas.line(0, y, canvas.width, y, joint)
        depth *= 1.45
    vanishing = rng.uniform(0.2, 0.8) * canvas.width
    for index in range(-8, 17):
        end = index * canvas.width / 5
        start = vanishing + (end - vanishing) * 0.25  # the lines meet above the horizon
        canvas.line(start, horizon, end, canvas.height, joint)


def zebra(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw asphalt with the stripes of a crossing."""
    base = shade((96, 94, 92), rng.uniform(0.85, 1.2))
    canvas.box(0, horizon, canvas.width, canvas.height, base)
    slant, pitch = rng.uniform(-0.9, 0.9) * canvas.width, rng.uniform(0.34, 0.5) * canvas.width
    top = horizon + rng.uniform(0.0, 0.25) * canvas.height
    x = -1.5 * canvas.width + rng.uniform(0, pitch)
    while x < 2.5 * canvas.width:
        far = canvas.width / 2 + (x - canvas.width / 2) * 0.6 + slant * 0.3
        canvas.convex(((far, top), (far + 0.27 * pitch, top), (x + 0.48 * pitch, canvas.height), (x, canvas.height)),
                      (206, 208, 208))  # fmt: skip
        x += pitch


def grass(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw a lawn, perhaps with a path through it."""
    base = shade((92, 158, 132), rng.uniform(0.8, 1.15))
    canvas.box(0, horizon, canvas.width, canvas.height, base)
    for _ in range(28):
        x, y = rng.uniform(0, canvas.width), rng.uniform(horizon, canvas.height)
        size = rng.uniform(0.02, 0.07) * canvas.width
        canvas.oval(x, y, 2.2 * size, 0.5 * size, shade(base, rng.uniform(0.82, 1.12)))
    if rng.randint(2):
        x, half = rng.uniform(0.1, 0.9) * canvas.width, rng.uniform(0.2, 0.5) * canvas.width
        canvas.convex(((x - 0.3 * half, horizon), (x + 0.3 * half, horizon), (x + 2 * half, canvas.height),
                       (x - 2 * half, canvas.height)), (150, 176, 190))  # fmt: skip


def polished(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw an indoor floor with reflections of lamps."""
    base = shade(pick(rng, GREYS), rng.uniform(0.8, 1.1))
    canvas.box(0, horizon, canvas.width, canvas.height, base)
    for _ in range(5):
        x, y = rng.uniform(0, canvas.width), rng.uniform(horizon, canvas.height)
        canvas.oval(x, y, rng.uniform(0.05, 0.25) * canvas.width, rng.uniform(0.01, 0.04) * canvas.height,
                    shade(base, rng.uniform(1.05, 1.25)))  # fmt: skip


def platform(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw concrete with the yellow safety line of a platform."""
    base = shade((164, 166, 166), rng.uniform(0.85, 1.1))
    canvas.box(0, horizon, canvas.width, canvas.height, base)
    y, slope = rng.uniform(0.65, 1.0) * canvas.height, rng.uniform(-0.2, 0.2) * canvas.height
    thick = 0.035 * canvas.height
    canvas.convex(((0, y), (canvas.width, y + slope), (canvas.width, y + slope + thick), (0, y + thick)),
                  (70, 190, 220))  # fmt: skip


def clutter(canvas: Canvas, horizon: float, rng: np.random.RandomState) -> None:
    """Draw things that stand about: posters, bins, posts, boxes and people far away."""
    for _ in range(rng.randint(1, 5)):
        x, colour = rng.uniform(0, canvas.width), shade(pick(rng, SIGNS), rng.uniform(0.6, 1.0))
        kind = rng.randint(4)
        if kind == 0:  # poster
            y, half, high = rng.uniform(0.05, 0.7) * horizon, rng.uniform(0.05, 0.16), rng.uniform(0.03, 0.08)
            canvas.box(x - half * canvas.width, y, x + half * canvas.width, y + high * canvas.height, colour)
        elif kind == 1:  # bin or box on the ground
            y, half = rng.uniform(horizon, canvas.height), rng.uniform(0.05, 0.14) * canvas.width
            canvas.box(x - half, y - 3 * half, x + half, y, colour)
            canvas.box(x - half, y - 3 * half, x + half, y - 2.6 * half, shade(colour, 0.6))
        elif kind == 2:  # post
            half = rng.uniform(0.012, 0.03) * canvas.width
            canvas.box(x - half, 0, x + half, horizon + rng.uniform(0, 0.1) * canvas.height, shade(colour, 0.7))
        else:  # a person far away
            y, high = horizon + rng.uniform(0, 0.08) * canvas.height, rng.uniform(0.12, 0.24) * canvas.height
            draw_passer_by(canvas, x, y, high, colour, pick(rng, GREYS))


def draw_passer_by(canvas: Canvas, x: float, y: float, high: float, upper: Colour, lower: Colour) -> None:
    """Draw a person far away as three ovals, ``high`` pixels from the feet at (x, y)."""
    canvas.oval(x, y - 0.25 * high, 0.09 * high, 0.27 * high, shade(lower, 0.5))
    canvas.oval(x, y - 0.64 * high, 0.13 * high, 0.22 * high, upper)
    canvas.disc(x, y - 0.92 * high, 0.07 * high, (110, 140, 180))


BACKGROUNDS = {
    "plaza": (facades, tiles),
    "crossing": (facades, zebra),
    "park": (trees, grass),
    "hall": (panels, polished),
    "station": (panels, platform),
    "alley": (bricks, tiles),
}
