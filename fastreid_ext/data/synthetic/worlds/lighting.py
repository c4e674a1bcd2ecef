"""Lights a surface: a lamp, the light of sky and ground, folds of cloth, contact and soft shadows."""

import functools
import math

import cv2
import numpy as np

from fastreid_ext.data.synthetic.seeds import random_state
from fastreid_ext.data.synthetic.worlds.cloth import FOLDS, Texture
from fastreid_ext.data.synthetic.worlds.noise import smooth_noise
from fastreid_ext.data.synthetic.worlds.surface import COLUMN_BITS, Surface, limited
from fastreid_ext.data.synthetic.worlds.world import Light

FOLD_FIELDS = 16  # crumpled cloths, of which each image takes a piece
FOLD_STEP = 64  # pixels: their sizes are multiples of it
NEARNESS_LEVELS, NEARNESS_RANGE = 400, 0.32  # grey levels per body height around the body's middle


def sample_lamp(light: Light, rng: np.random.RandomState) -> tuple[float, float, float]:
    """Return the direction to the lamp: to the right, down and to the camera; its length is the lamp's strength."""
    side = rng.uniform(-1.9, 1.9) + (math.pi if rng.random_sample() < light.back else 0.0)
    elevation, key = rng.uniform(*light.elevation), rng.uniform(*light.key)
    flat = math.cos(elevation) * key
    return flat * math.sin(side), -math.sin(elevation) * key, flat * math.cos(side)


def box_of(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the slices of the smallest box around what is set in ``mask``."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(y, y + height), slice(x, x + width)


def lit(
    surface: Surface, texture: Texture, light: Light, lamp: tuple[float, float, float], rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    """Return (height, width, 3) uint8 colours and (height, width) uint8 coverage, 0 or 255.

    Args:
        surface: what is seen.
        texture: its colours.
        light: the world's.
        lamp: of :func:`sample_lamp`.
        rng: draws folds and shadows.
    """
    colours = np.zeros((surface.height, surface.width, 3), np.uint8)
    coverage = np.zeros((surface.height, surface.width), np.uint8)
    mask = surface.mask
    box = box_of(mask)
    inner = mask[box]
    if not inner.size:
        return colours, coverage
    coverage[box] = inner.view(np.uint8) * np.uint8(255)
    texel = surface.texel[box]
    cloth = np.take(FOLDS, texel >> COLUMN_BITS)
    tilt = folds(inner.shape, light, rng)
    tilt *= cloth
    tilt += surface.shape[1:, box[0], box[1]]
    nx, ny = tilt
    nz = np.sqrt(np.maximum(np.float32(1) - nx * nx - ny * ny, np.float32(0.02)))
    x, y, z = (np.float32(part / (1 + light.wrap)) for part in lamp)
    key = nx * x
    key += ny * y
    key += nz * z
    key += np.float32(math.sqrt(sum(part * part for part in lamp)) * light.wrap / (1 + light.wrap))
    np.maximum(key, 0, out=key)
    if light.gloss:
        key += np.float32(light.gloss) * cloth * key * key
    level = np.float32(rng.uniform(*light.fill) * 0.5)
    fill = level * np.float32(1 + light.ground) - ny * (level * np.float32(1 - light.ground))
    shadow = soft_shadow(inner.shape, light, rng)
    if shadow is not None:
        key *= shadow
    contact = contact_of(surface.nearness[box], light, surface.height)
    contact *= inner
    key *= contact
    fill *= contact
    albedo = np.take(texture.colours, texel).view(np.uint8).reshape(*inner.shape, 4)
    for channel in range(3):
        total = key * np.float32(light.key_colour[channel]) + fill * np.float32(light.fill_colour[channel])
        total *= albedo[..., channel]
        colours[box][..., channel] = np.minimum(total, 255)
    return colours, coverage


def contact_of(nearness: np.ndarray, light: Light, height: int) -> np.ndarray:
    """Return the share of light, float32, that reaches places which are lower than what is around them."""
    near = limited((nearness + np.float32(NEARNESS_RANGE)) * np.float32(NEARNESS_LEVELS), 0, 255).astype(np.uint8)
    width = 2 * (height // 60) + 3
    hidden = cv2.subtract(cv2.blur(cv2.blur(near, (width, width)), (width, width)), near)
    return np.float32(1) - np.minimum(hidden * np.float32(light.contact / 40), np.float32(0.6))


@functools.lru_cache(maxsize=2 * FOLD_FIELDS)
def fold_field(number: int, height: int, width: int) -> np.ndarray:
    """Return (2, height, width) float32: the slopes of a crumpled cloth to the right and down, limited to 1."""
    rng = random_state("folds", number)
    waves = smooth_noise(rng, height + 4, width + 4, rng.randint(7, 16), 2).astype(np.int16)
    slopes = np.stack((waves[2:-2, 4:] - waves[2:-2, :-4], waves[4:, 2:-2] - waves[:-4, 2:-2]))
    return limited(slopes.astype(np.float32) * np.float32(1 / 64), -1, 1)


def folds(shape: tuple[int, int], light: Light, rng: np.random.RandomState) -> np.ndarray:
    """Return the tilt (2, height, width) of the normals to the right and down that folds of cloth make, as float32."""
    height, width = shape
    field = fold_field(rng.randint(FOLD_FIELDS), *(FOLD_STEP * (side // FOLD_STEP + 2) for side in shape))
    top, left = rng.randint(FOLD_STEP), rng.randint(FOLD_STEP)
    return field[:, top : top + height, left : left + width] * np.float32(light.folds * rng.uniform(0.55, 1.45))


def soft_shadow(shape: tuple[int, int], light: Light, rng: np.random.RandomState) -> np.ndarray | None:
    """Return what share of the lamp's light arrives at each pixel; None for all of it."""
    depth = rng.uniform(*light.dapple)
    if depth < 0.08 or rng.randint(3):
        return None
    field = smooth_noise(rng, *shape, rng.randint(2, 5), 2).astype(np.float32)
    share = limited((field - np.float32(rng.uniform(80, 150))) * np.float32(1 / 40), 0, 1)
    return np.float32(1 - depth) + share * np.float32(depth)
