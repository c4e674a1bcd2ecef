"""Textures of the head: face, beard, glasses, mask, hair and headgear.

The rows run from the crown to the chin, the columns once around with the face in the middle.
"""

import cv2
import numpy as np

from fastreid_ext.data.synthetic.canvas import blend, shade
from fastreid_ext.data.synthetic.worlds.surface import COLUMNS, FRONT
from fastreid_ext.data.synthetic.worlds.walker import Walker

EYES, NOSE, MOUTH, CHIN = 31, 37, 44, 56  # rows
# Rows down to which hair reaches in the face, at the sides and at the back.
HAIRLINES = {"bald": (0, 0, 0), "cropped": (15, 28, 46), "short": (18, 33, 48), "side": (20, 34, 48),
             "bob": (19, 50, 62), "long": (18, 54, 64), "bun": (15, 32, 48), "ponytail": (15, 32, 48),
             "afro": (18, 36, 52)}  # fmt: skip
HAT_LINES = {"cap": (19, 24, 30), "beanie": (20, 30, 36), "headscarf": (17, 64, 64), "bucket_hat": (24, 27, 32)}


def edge_rows(front: int, sides: int, back: int) -> np.ndarray:
    """Return for every column the row where hair or a hat ends, between the three given ones."""
    away = np.abs(np.arange(COLUMNS) - FRONT)
    face, ear = 40, 66
    rows = np.where(
        away < face, front, np.where(away < ear, front + (sides - front) * (away - face) // (ear - face), 0)
    )
    return np.where(away >= ear, sides + (back - sides) * (away - ear) // (FRONT - ear), rows)


def paint_head(part: np.ndarray, walker: Walker) -> None:
    """Paint skin, face, beard, glasses, mask and the hair that lies close."""
    skin = walker.skin
    part[:] = skin
    part[CHIN:] = shade(skin, 0.7)
    part[26:40, 40:52] = part[26:40, 204:216] = shade(skin, 0.85)  # ears
    dark = blend(skin, (30, 34, 52), 0.55)
    for side in (-15, 15):
        cv2.ellipse(part, (FRONT + side, EYES), (8, 3), 0, 0, 360, dark, -1)
        part[EYES - 6 : EYES - 4, FRONT + side - 8 : FRONT + side + 9] = blend(skin, walker.hair, 0.7)
    part[EYES + 2 : NOSE + 2, FRONT - 3 : FRONT + 4] = shade(skin, 1.1)
    part[NOSE + 1 : NOSE + 3, FRONT - 6 : FRONT + 7] = shade(skin, 0.75)
    part[MOUTH : MOUTH + 3, FRONT - 11 : FRONT + 12] = blend(skin, (70, 60, 130), 0.4)
    if walker.beard:
        rows = slice(NOSE + 4 if walker.beard == 2 else MOUTH + 2, CHIN + 2)
        part[rows, FRONT - 46 : FRONT + 47] = blend(skin, walker.hair, 0.75)
        part[MOUTH : MOUTH + 2, FRONT - 9 : FRONT + 10] = blend(skin, (70, 60, 130), 0.5)
    if walker.glasses:
        for side in (-15, 15):
            cv2.rectangle(part, (FRONT + side - 11, EYES - 4), (FRONT + side + 11, EYES + 5), (34, 32, 32),
                          -1 if walker.details % 2 else 1)  # fmt: skip
        part[EYES - 2, 60:196] = (34, 32, 32)
    if walker.mask:
        part[NOSE - 1 : CHIN, FRONT - 40 : FRONT + 41] = walker.mask
        part[NOSE + 6, FRONT - 66 : FRONT + 67] = walker.mask
    if walker.hair_name != "bald":
        fill_above(part, None, HAIRLINES[walker.hair_name], walker.hair)
    elif walker.details % 2:
        part[20:44, :50] = part[20:44, 206:] = blend(skin, walker.hair, 0.5)  # a fringe of hair


def fill_above(part: np.ndarray, solid: np.ndarray | None, lines: tuple[int, int, int], colour: tuple) -> None:
    """Paint all above a line around the head; what is below is marked as not there."""
    above = np.arange(part.shape[0])[:, None] < edge_rows(*lines)[None]
    part[above] = colour
    if solid is not None:
        solid[:] = above


def paint_hair(part: np.ndarray, solid: np.ndarray, walker: Walker) -> None:
    """Paint the hair that stands off the head."""
    fill_above(part, solid, HAIRLINES[walker.hair_name], walker.hair)
    part[:, ::7] = shade(walker.hair, 0.8)  # strands
    part[:, 3::11] = shade(walker.hair, 1.3)
    if walker.hair_name == "side":
        part[:16, FRONT + 18 : FRONT + 21] = blend(walker.hair, walker.skin, 0.5)


def paint_hat(part: np.ndarray, solid: np.ndarray, walker: Walker) -> None:
    """Paint a cap, a beanie, a headscarf or a bucket hat."""
    colour, lines = walker.headgear_colour, HAT_LINES[walker.headgear]
    fill_above(part, solid, lines, colour)
    edge = edge_rows(*lines)[None] - np.arange(part.shape[0])[:, None]
    if walker.headgear == "beanie":
        part[(edge > 0) & (edge < 8)] = shade(colour, 0.75)
    elif walker.headgear == "cap":
        part[12:20, FRONT - 9 : FRONT + 10] = walker.accent
        part[:, ::64] = shade(colour, 0.7)
    elif walker.headgear == "bucket_hat":
        part[(edge > 0) & (edge < 5)] = shade(colour, 0.85)
    else:
        solid[24:58, FRONT - 34 : FRONT + 35] = False  # the face
        solid[22:60, FRONT - 24 : FRONT + 25] = False
