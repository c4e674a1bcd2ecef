"""The picture behind a person: wall, floor and what stands about."""

import math

import cv2
import numpy as np

from fastreid_ext.data.synthetic.canvas import blend, shade
from fastreid_ext.data.synthetic.worlds.floors import FLOORS, paint_floor
from fastreid_ext.data.synthetic.worlds.lens import Lens
from fastreid_ext.data.synthetic.worlds.noise import scaled, smooth_noise
from fastreid_ext.data.synthetic.worlds.walls import WALLS, between, fittings
from fastreid_ext.data.synthetic.worlds.world import Scene

REFERENCE_HEIGHT = 128  # the picture height in pixels for which ``Scene.defocus`` is meant


def paint_scenery(height: int, width: int, lens: Lens, scene: Scene, rng: np.random.RandomState) -> np.ndarray:
    """Return (height, width, 3) uint8 of a place without people."""
    picture = np.zeros((height, width, 3), np.uint8)
    away = rng.uniform(*scene.depth)
    sink = lens.scale * lens.distance / (lens.distance + away) * away * lens.sin_pitch
    edge = int(min(height, max(0.05 * height, lens.ground_y - sink - 0.02 * height)))
    wall = picture[:edge]
    if edge > 4:
        WALLS[scene.wall](wall, scene.wall_colours, rng)
        fittings(wall, scene.wall_colours, rng)
        slant = rng.uniform(-0.5, 0.5)
        if rng.randint(2):  # seen at an angle
            matrix = np.array([[1, 0, 0], [slant, 1, -slant * width / 2]], np.float64)
            wall[:] = cv2.warpAffine(
                wall, matrix, (width, edge), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT
            )
    paint_floor(picture, lens, edge, FLOORS[scene.floor], scene.floor_colours, rng)
    clutter(picture, lens, edge, scene, rng)
    sigma = rng.uniform(*scene.defocus) * height / REFERENCE_HEIGHT
    if edge > 4 and sigma > 0.3:
        # Two boxes of this width blur nearly like a Gaussian, at a cost that does not grow with it.
        wide = 2 * int(sigma * 1.2 + 0.5) + 1
        picture[:edge] = cv2.blur(cv2.blur(picture[:edge], (wide, wide)), (wide, wide))
    light = smooth_noise(rng, height, width, rng.randint(2, 9), 3).astype(np.uint16)
    depth = rng.randint(1, 5)
    return scaled(picture, (122 - 16 * depth + light * depth // 8))


def clutter(picture: np.ndarray, lens: Lens, edge: int, scene: Scene, rng: np.random.RandomState) -> None:
    """Paint bins, boxes, posts and signs of the world's own colours, each with its shade on the ground."""
    height, width = picture.shape[:2]
    for _ in range(rng.randint(0, 6)):
        x, y = rng.uniform(0, width), rng.uniform(max(edge, 1), max(edge, 0.85 * lens.ground_y) + 1)
        size = lens.scale * rng.uniform(0.08, 0.3)
        half = size * rng.uniform(0.15, 0.6)
        colour = shade(blend(between(rng, scene.wall_colours), (92, 92, 92), 0.6), rng.uniform(0.3, 1.2))
        if 0 <= y < height:
            ground = tuple(int(c) for c in picture[int(y), min(width - 1, int(x))])
            axes = int(1.25 * half) + 1, int((0.1 + 0.5 * lens.sin_pitch) * half) + 1
            cv2.ellipse(picture, (int(x), int(y)), axes, 0, 0, 360, shade(ground, 0.6), -1)
        if rng.randint(3) == 0:  # a post up to beyond the picture
            half, size = max(1.0, 0.12 * half), height
        left, right = int(x - half), int(x + half) + 1
        cv2.rectangle(picture, (left, int(y - size)), (right, int(y)), colour, -1)
        cv2.rectangle(picture, (left + (right - left) * 2 // 3, int(y - size)), (right, int(y)), shade(colour, 0.7), -1)


def cast_shadow(
    picture: np.ndarray, lens: Lens, lamp: tuple[float, float, float], lamp_share: float, sharp: bool
) -> None:
    """Darken the ground below a person, and where the lamp does not reach it."""
    height, width = picture.shape[:2]
    scale = lens.scale
    flat = math.hypot(lamp[0], lamp[2])
    reach = min(1.6, flat / max(0.2, -lamp[1]))
    for radius, length, depth, soft in (
        (0.13, 0.0, 0.42, 0.03),
        (0.085, reach, 0.6 * lamp_share, 0.012 if sharp else 0.05),
    ):
        mask = np.zeros((height, width), np.uint8)
        steps = 5 if length else 1
        for step in range(steps):
            share = length * step / max(1, steps - 1)
            x = lens.x - scale * share * lamp[0] / max(flat, 1e-3)
            y = lens.ground_y - scale * max(lens.sin_pitch, 0.1) * share * lamp[2] / max(flat, 1e-3)
            axes = max(1, int(scale * radius)), max(1, int(scale * radius * max(0.25, lens.sin_pitch) * (1 + share)))
            cv2.ellipse(mask, (int(x), int(y)), axes, 0, 0, 360, int(255 * depth), -1)
        wide = 2 * int(scale * soft) + 3
        mask = cv2.blur(cv2.blur(mask, (wide, wide)), (wide, wide))
        x, y, w, h = cv2.boundingRect(mask)
        if w:
            ground = picture[y : y + h, x : x + w]
            picture[y : y + h, x : x + w] = scaled(ground, 128 - (mask[y : y + h, x : x + w] >> 1).astype(np.uint16))
