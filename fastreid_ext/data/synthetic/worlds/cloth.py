"""The textures of one person, painted once per identity and wrapped around the body in every image."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fastreid_ext.data.synthetic.canvas import Colour, blend, shade
from fastreid_ext.data.synthetic.seeds import random_state
from fastreid_ext.data.synthetic.worlds.faces import paint_hair, paint_hat, paint_head
from fastreid_ext.data.synthetic.worlds.noise import grain, scaled, smooth_noise
from fastreid_ext.data.synthetic.worlds.surface import COLUMNS, FRONT, ROWS_PER_HEIGHT, Strip
from fastreid_ext.data.synthetic.worlds.walker import Walker
from fastreid_ext.data.synthetic.worlds.wardrobe import LOWER_REACH

COLLAR_UP = 0.875  # of the first row of the upper garment
WAIST_UP = 0.57
SHIRT_ROWS = 108  # of a shirt below an open coat, where trousers begin
ARM_ROWS, LEG_ROWS = 80, 120  # from the root to the wrist or the ankle

# Rows of each part, and how strongly its surface folds.
PARTS = {"head": (64, 0.0), "hair": (64, 0.25), "hat": (64, 0.3), "upper": (224, 1.0), "sleeve": (88, 1.0),
         "pelvis": (40, 0.8), "leg": (LEG_ROWS + 8, 1.0), "skirt": (136, 1.0), "shoe": (24, 0.2), "sole": (8, 0.0),
         "skin": (8, 0.0), "bag": (64, 0.3), "strap": (8, 0.0), "held": (16, 0.0), "scarf": (24, 1.0)}  # fmt: skip


def layout() -> dict[str, Strip]:
    """Return the rows of each part."""
    strips, first = {}, 0
    for name, (count, _) in PARTS.items():
        strips[name] = Strip(first, count)
        first += count
    return strips


STRIPS = layout()
ROWS = sum(count for count, _ in PARTS.values())
FOLDS = np.repeat([fold for _, fold in PARTS.values()], [count for count, _ in PARTS.values()]).astype(np.float32)


@dataclass(frozen=True)
class Texture:
    """Colours (texels,) uint32, each four bytes BGRA, and whether something is there (texels,) bool."""

    colours: np.ndarray
    solid: np.ndarray


def paint(walker: Walker) -> Texture:
    """Return the texture of a person."""
    rng = random_state("cloth", walker.details)
    picture = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    solid = np.ones((ROWS, COLUMNS), bool)
    part = {name: picture[s.first : s.first + s.count] for name, s in STRIPS.items()}
    paint_upper(part["upper"], walker, rng)
    paint_sleeve(part["sleeve"], walker, rng)
    paint_lower(part, walker, rng)
    for name, colour in (("shoe", walker.shoe), ("sole", walker.sole), ("skin", walker.skin),
                         ("strap", shade(walker.bag_colour, 0.85)), ("bag", walker.bag_colour)):  # fmt: skip
        part[name][:] = colour
    part["shoe"][:, FRONT - 14 : FRONT + 15] = blend(walker.shoe, walker.sole, 0.35)
    paint_bag(part["bag"], walker, rng)
    held = {"phone": (36, 34, 32), "paper": (236, 238, 236), "cup": (150, 190, 214)}
    part["held"][:] = held.get(walker.held, (90, 90, 90))
    if walker.scarf:
        part["scarf"][:] = walker.scarf
        part["scarf"][3::6] = shade(walker.scarf, 0.75)
    paint_head(part["head"], walker)
    paint_hair(part["hair"], solid_of(solid, "hair"), walker)
    if walker.headgear:
        paint_hat(part["hat"], solid_of(solid, "hat"), walker)
    elif walker.hood_up:
        part["hat"][:] = walker.upper
        part["hat"][:, FRONT - 30 : FRONT + 31] = shade(walker.upper, 0.5)
        solid_of(solid, "hat")[14:, FRONT - 26 : FRONT + 27] = False
    weave(picture, walker, rng)
    texels = cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA)
    return Texture(texels.view(np.uint32).reshape(-1), solid.reshape(-1))


def solid_of(solid: np.ndarray, name: str) -> np.ndarray:
    """Return the rows of one part."""
    return solid[STRIPS[name].first : STRIPS[name].first + STRIPS[name].count]


def weave(picture: np.ndarray, walker: Walker, rng: np.random.RandomState) -> None:
    """Roughen a texture by a weave of single texels and wide uneven fading, strongest where cloth folds."""
    height, width = picture.shape[:2]
    fine, wide = grain(rng, height, width), smooth_noise(rng, height, width, 10, 2)
    unused = {"hat": not (walker.headgear or walker.hood_up), "skirt": walker.lower_name != "skirt",
              "bag": not walker.bag, "scarf": not walker.scarf, "held": True}  # fmt: skip
    for name, strip in STRIPS.items():
        if unused.get(name):
            continue
        rows = slice(strip.first, strip.first + strip.count)
        rough = np.int16(PARTS[name][1] * walker.grain + 2)
        level = fine[rows] * rough >> 8
        level += (wide[rows].astype(np.int16) - 128) * rough >> 7
        level += 128
        picture[rows] = scaled(picture[rows], level.astype(np.uint16))


def paint_upper(part: np.ndarray, walker: Walker, rng: np.random.RandomState) -> None:
    """Paint the upper garment: pattern, seams, closing, pockets, collar, trim and what an open front shows."""
    cut = walker.cut
    hem = min(part.shape[0] - 1, round((COLLAR_UP - walker.hem) * ROWS_PER_HEIGHT))
    part[:] = walker.upper
    if walker.pattern:
        paint_pattern(part, walker, rng)
    seam = shade(walker.upper, 0.75 if sum(walker.upper) > 150 else 1.28)
    if cut.quilted:
        pitch = rng.randint(9, 20)
        for row in range(10, hem, pitch):
            part[row : row + 2] = shade(walker.upper, 0.62)
            part[row + 2 : row + 4] = shade(walker.upper, 1.3)
    if rng.randint(3) == 0:  # a drawn-in waist or a belt
        row = round((COLLAR_UP - rng.uniform(0.57, 0.62)) * ROWS_PER_HEIGHT)
        if hem > row + 18:
            part[row : row + 4] = shade(walker.upper, 0.6)
    for level in range(cut.pockets):
        row = min(hem - 12, (78, 34)[level] + rng.randint(-4, 5))
        for middle in (FRONT - 27, FRONT + 27):
            cv2.rectangle(part, (middle - 10, row), (middle + 10, row + 14), seam, 1)
            part[row : row + 3, middle - 10 : middle + 11] = seam
    zip_colour = walker.trim if rng.randint(2) else seam
    if cut.closing == "zip":
        part[4:hem, FRONT - 2 : FRONT + 2] = zip_colour
    elif cut.closing == "buttons":
        part[4:hem, FRONT + 5 : FRONT + 7] = seam
        for row in range(16, hem - 4, rng.randint(9, 16)):
            part[row : row + 3, FRONT - 2 : FRONT + 2] = walker.trim
    if walker.open_half:
        for row in range(hem):  # wider at the hem
            half = walker.open_half * (60 + row) // 120
            part[row, FRONT - half : FRONT + half + 1] = walker.inner if row < SHIRT_ROWS else walker.lower
            part[row, FRONT - half - 2 : FRONT - half] = part[row, FRONT + half + 1 : FRONT + half + 3] = seam
    if cut.collar == "lapel":
        for row in range(4, 52):
            edge = max(0, 24 - row // 2)
            part[row, FRONT - edge : FRONT + edge + 1] = walker.inner
            for side in (FRONT - edge - 9, FRONT + edge + 1):
                part[row, side : side + 9] = shade(walker.upper, 0.84 if row % 44 > 3 else 0.6)
    elif cut.collar in ("fold", "stand"):
        part[: rng.randint(9, 15)] = walker.trim if rng.randint(3) == 0 else shade(walker.upper, 0.85)
        part[:14, FRONT - 5 : FRONT + 6] = walker.inner
    elif cut.collar == "round":
        deep = rng.randint(8, 22)
        cv2.ellipse(part, (FRONT, 4), (22, deep + 3), 0, 0, 360, walker.trim, -1)
        cv2.ellipse(part, (FRONT, 4), (20, deep), 0, 0, 360, walker.skin, -1)
    if cut.ribbed:
        part[hem - 7 : hem] = walker.trim if rng.randint(2) else shade(walker.upper, 0.8)
    if cut.hood:
        part[:16] = shade(walker.upper, 0.8)
    part[hem - 2 :] = shade(walker.upper, 0.7)


def paint_pattern(part: np.ndarray, walker: Walker, rng: np.random.RandomState) -> None:
    """Paint what is woven or printed into the cloth."""
    accent, soft = walker.accent, blend(walker.upper, walker.accent, 0.45)
    pitch = rng.randint(8, 26)
    if walker.pattern in ("stripes", "thin_stripes"):
        thick = pitch // 2 if walker.pattern == "stripes" else 3
        for row in range(14, part.shape[0], pitch):
            part[row : row + thick] = accent
    elif walker.pattern == "columns":
        for column in range(0, COLUMNS, pitch):
            part[:, column : column + 3] = soft
    elif walker.pattern == "plaid":
        for row in range(6, part.shape[0], pitch):
            part[row : row + pitch // 2] = soft
        for column in range(0, COLUMNS, pitch):
            part[:, column : column + pitch // 3] = blend(walker.upper, accent, 0.7)
    elif walker.pattern == "dots":
        for row in range(6, part.shape[0], 10):
            part[row : row + 4, (row % 20) // 2 :: 12] = accent
            part[row : row + 4, (row % 20) // 2 + 1 :: 12] = accent
    elif walker.pattern == "panel":
        part[:, 50:206] = accent
    elif walker.pattern == "yoke":
        part[: rng.randint(30, 70)] = accent
    else:
        paint_print(part, accent, FRONT if rng.randint(3) else 0, rng)


def paint_print(part: np.ndarray, colour: Colour, middle: int, rng: np.random.RandomState) -> None:
    """Paint an emblem or lettering on the chest, or with ``middle`` 0 on the back."""
    patch = np.roll(part, FRONT - middle, axis=1).copy()
    row, kind = rng.randint(36, 60), rng.randint(4)
    if kind == 0:
        for line in range(rng.randint(1, 4)):
            half = rng.randint(10, 30)
            for column in range(FRONT - half, FRONT + half, 6):
                patch[row + 12 * line : row + 12 * line + 8, column : column + rng.randint(2, 6)] = colour
    elif kind == 1:
        cv2.circle(patch, (FRONT, row), rng.randint(8, 22), colour, -1)
    elif kind == 2:
        high, half = rng.randint(6, 24), rng.randint(10, 30)
        cv2.rectangle(patch, (FRONT - half, row - high), (FRONT + half, row + high), colour, -1)
        cv2.rectangle(patch, (FRONT - half // 2, row - high // 2), (FRONT + half // 3, row), shade(colour, 0.6), -1)
    else:  # a small badge on one side
        cv2.circle(patch, (FRONT + 26, 42), 5, colour, -1)
    part[:] = np.roll(patch, middle - FRONT, axis=1)


def paint_sleeve(part: np.ndarray, walker: Walker, rng: np.random.RandomState) -> None:
    """Paint an arm: sleeve, cuff and the bare rest."""
    cut = walker.cut
    part[:] = walker.skin
    end = round(cut.sleeve * ARM_ROWS / 2)
    colour = walker.accent if walker.pattern == "panel" and rng.randint(2) else walker.upper
    if walker.cut_name == "vest":  # the sleeves are those of what is worn below
        colour = walker.inner
    part[:end] = colour
    if walker.pattern in ("stripes", "thin_stripes", "plaid"):
        for row in range(6, end, 12):
            part[row : row + 4] = blend(walker.upper, walker.accent, 0.8)
    if cut.quilted and walker.cut_name != "vest":
        for row in range(8, end, 13):
            part[row : row + 2] = shade(colour, 0.62)
    if rng.randint(5) == 0 and cut.sleeve > 1.5:  # a stripe along the sleeve, or a badge on it
        part[: end - 4, 60:70] = part[: end - 4, 186:196] = walker.trim
    if cut.ribbed or rng.randint(3) == 0:
        part[max(0, end - 6) : end] = walker.trim if rng.randint(2) else shade(colour, 0.75)
    if rng.randint(6) == 0 and cut.sleeve > 1.5:  # rolled up
        part[end - 22 : end - 16], part[end - 16 : end] = shade(colour, 0.8), walker.skin


def paint_lower(part: dict[str, np.ndarray], walker: Walker, rng: np.random.RandomState) -> None:
    """Paint hips, legs and skirt: seams, fading, pockets, cuffs, socks and high shafts of boots."""
    leg, pelvis, skirt = part["leg"], part["pelvis"], part["skirt"]
    colour, seam = walker.lower, shade(walker.lower, 0.7 if sum(walker.lower) > 120 else 1.5)
    pelvis[:] = skirt[:] = colour
    dress = walker.cut_name.endswith("dress")
    reach = 0.0 if dress else LOWER_REACH[walker.lower_name]
    end = round(reach * LEG_ROWS / 2)
    leg[:] = shade(walker.lower, 0.6) if not reach and walker.lower_detail < 3 else walker.skin  # tights
    leg[:end] = colour
    if walker.lower_name == "jeans" and reach:
        fade = shade(colour, 1.35)
        for row in range(10, 58):
            share = (24 - abs(row - 34)) / 40
            leg[row, FRONT - 26 : FRONT + 27] = blend(colour, fade, max(0.0, share))
        leg[:end, 62:65] = leg[:end, 191:194] = seam
        pelvis[14:26, :40] = pelvis[14:26, 216:] = shade(colour, 0.85)
    elif walker.lower_name == "sport" and walker.lower_detail < 4:
        wide = 4 + 3 * (walker.lower_detail % 3)
        leg[:end, 64 - wide : 64 + wide] = leg[:end, 192 - wide : 192 + wide] = walker.trim
    elif walker.lower_name == "cargo":
        for column in (48, 176):
            cv2.rectangle(leg, (column, 36), (column + 30, 56), seam, 1)
            leg[36:41, column : column + 31] = seam
    elif walker.lower_name == "trousers":
        leg[:end, FRONT - 1 : FRONT + 2] = leg[:end, :2] = shade(colour, 1.25)
    if walker.lower_detail == 5 and reach > 1:  # rolled cuffs
        leg[end - 6 : end] = shade(colour, 1.4)
    if walker.lower_detail == 4:  # a belt
        pelvis[:5] = shade(walker.shoe, 0.8)
    skirt_end = round((WAIST_UP - walker.skirt_hem) * ROWS_PER_HEIGHT)
    if walker.lower_detail == 1:
        skirt[skirt_end - 8 : skirt_end] = walker.trim
    elif walker.lower_detail == 2:
        skirt[:, ::10] = seam
    leg[max(end, 108) if reach < 1.5 else LEG_ROWS - 1 :] = walker.sock
    shaft = {"boot": 104, "high_boot": 72}.get(walker.shoe_name)
    if shaft:
        leg[shaft:] = walker.shoe
        leg[shaft : shaft + 2] = shade(walker.shoe, 0.7)


def paint_bag(part: np.ndarray, walker: Walker, rng: np.random.RandomState) -> None:
    """Paint flap, pocket and zips of a bag."""
    tones: Sequence[float] = (0.75, 1.2, 0.6)
    part[: rng.randint(8, 26)] = shade(walker.bag_colour, tones[rng.randint(3)])
    top = rng.randint(28, 42)
    for middle in (0, FRONT):
        patch = np.roll(part, FRONT - middle, axis=1).copy()
        cv2.rectangle(patch, (FRONT - 34, top), (FRONT + 34, 56), shade(walker.bag_colour, 0.7), -1)
        cv2.rectangle(patch, (FRONT - 32, top + 3), (FRONT + 32, 54), shade(walker.bag_colour, 1.15), -1)
        if rng.randint(2):
            cv2.circle(patch, (FRONT, top + 8), 5, walker.accent, -1)
        part[:] = np.roll(patch, middle - FRONT, axis=1)
