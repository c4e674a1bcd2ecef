"""Floors in perspective: one texture of joints, stains and grain per style."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from fastreid_ext.data.synthetic.canvas import Colour, blend
from fastreid_ext.data.synthetic.seeds import pick
from fastreid_ext.data.synthetic.worlds.lens import Lens
from fastreid_ext.data.synthetic.worlds.noise import grain, scaled, smooth_noise

TEXTURE = 128  # texels on either side
TEXELS_PER_HEIGHT = 40  # of the ground, per body height


@dataclass(frozen=True)
class Floor:
    """Joints every ``pitch`` texels (0 for none) that are ``joint`` darker, stains and grain in grey levels.

    ``stripe`` is the width in texels of painted stripes of the colour ``paint``; 0 for none.
    """

    pitch: tuple[int, int]
    joint: int
    stains: int
    grain: int
    stripe: int = 0
    paint: Colour = (210, 214, 214)
    shine: int = 0  # grey levels of reflections


FLOORS = {
    "paving": Floor((14, 14), 26, 24, 10),
    "crossing": Floor((0, 0), 0, 26, 16, stripe=22),
    "lawn": Floor((0, 0), 0, 46, 30),
    "snow": Floor((0, 0), 0, 34, 12),
    "cobbles": Floor((6, 5), 34, 26, 18),
    "slush": Floor((0, 0), 0, 60, 22),
    "marble": Floor((32, 32), 10, 30, 4, shine=34),
    "rubber": Floor((4, 128), 14, 10, 6, stripe=5, paint=(64, 176, 208)),
    "checker": Floor((16, 16), 16, 12, 5, shine=24),
    "wet_asphalt": Floor((0, 0), 0, 40, 22, shine=70),
    "setts": Floor((9, 20), 30, 20, 16),
    "deck": Floor((7, 128), 40, 30, 12),
}


def texture_of(style: Floor, colours: tuple[Colour, ...], rng: np.random.RandomState) -> np.ndarray:
    """Return (``TEXTURE``, ``TEXTURE``, 3) uint8 of the ground as seen from above."""
    base = blend(pick(rng, colours), pick(rng, colours), rng.random_sample())
    level = np.full((TEXTURE, TEXTURE), 128, np.int16)
    level += (smooth_noise(rng, TEXTURE, TEXTURE, 6, 3).astype(np.int16) - 128) * style.stains >> 6
    level += grain(rng, TEXTURE, TEXTURE) * style.grain >> 7
    across, along = style.pitch
    if across:
        level[::across] -= style.joint
    if along:
        for row in range(0, TEXTURE, max(1, across)):
            level[row : row + across, (row // max(1, across) % 2) * along // 2 :: along] -= style.joint
    picture = np.empty((TEXTURE, TEXTURE, 3), np.uint8)
    picture[:] = base
    if style.stripe:
        for row in range(0, TEXTURE, 2 * style.stripe if style.stripe > 10 else TEXTURE):
            picture[:, row : row + style.stripe] = style.paint
    return scaled(picture, np.clip(level, 20, 240).astype(np.uint16))


def paint_floor(
    picture: np.ndarray, lens: Lens, edge: int, style: Floor, colours: tuple[Colour, ...], rng: np.random.RandomState
) -> None:
    """Paint the ground below the row ``edge`` of a picture (height, width, 3), as ``lens`` sees it."""
    height, width = picture.shape[:2]
    if edge >= height:
        return
    texture = texture_of(style, colours, rng)
    horizon = lens.middle_y - lens.scale * lens.distance * math.tan(lens.pitch) - 0.06 * lens.scale
    ys = np.arange(max(edge, 0), height, dtype=np.float32)[:, None]
    # 1 where the person stands
    depth = np.float32(lens.ground_y - horizon) / np.maximum(ys - np.float32(horizon), np.float32(3))
    turn = rng.uniform(-0.8, 0.8)
    x = (np.arange(width, dtype=np.float32)[None] - np.float32(lens.x)) * np.float32(TEXELS_PER_HEIGHT / lens.scale)
    x = x * depth
    z = depth * np.float32(TEXELS_PER_HEIGHT * lens.distance)
    cos, sin, start = np.float32(math.cos(turn)), np.float32(math.sin(turn)), rng.randint(TEXTURE)
    column = (x * cos + (z * sin + np.float32(start))).astype(np.int32) & (TEXTURE - 1)
    row = (z * cos - x * sin).astype(np.int32) & (TEXTURE - 1)
    texels = cv2.cvtColor(texture, cv2.COLOR_BGR2BGRA).view(np.uint32).reshape(-1)
    ground = np.take(texels, row * TEXTURE + column).view(np.uint8).reshape(*row.shape, 4)[..., :3]
    ground = np.ascontiguousarray(ground)
    far = int(np.count_nonzero(depth > 1.4))  # rows whose texels the lens averages
    if far > 2:
        ground[:far] = cv2.blur(ground[:far], (5, 5))
    if style.shine:
        glow = smooth_noise(rng, ground.shape[0], max(width // 3, 2), 5, 2)
        glow = np.repeat(glow, 4, axis=1)[:, :width].astype(np.uint16)
        level = 128 + (np.maximum(glow, 128) - 128) * style.shine // 64
        ground = scaled(ground, level.astype(np.uint16))
    picture[max(edge, 0) :] = ground
