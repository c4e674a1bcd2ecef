"""What stands behind people. A painter fills a picture (height, width, 3) down to its last row."""

import cv2
import numpy as np

from fastreid_ext.data.synthetic.canvas import Colour, blend, shade
from fastreid_ext.data.synthetic.seeds import pick
from fastreid_ext.data.synthetic.worlds.noise import scaled, smooth_noise

Colours = tuple[Colour, ...]


def between(rng: np.random.RandomState, colours: Colours) -> Colour:
    """Return a colour between two of some."""
    return shade(blend(pick(rng, colours), pick(rng, colours), rng.random_sample()), rng.uniform(0.8, 1.2))


def box(picture: np.ndarray, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
    """Fill a box of a picture."""
    picture[max(0, int(top)) : max(0, int(bottom)), max(0, int(left)) : max(0, int(right))] = colour


def lattice(picture: np.ndarray, colours: Colours, rng: np.random.RandomState, size: tuple[float, float],
            gap: float, lit_share: float = 0.0, lamp: Colour = (150, 210, 240)) -> None:  # fmt: skip
    """Paint a regular grid of panes; ``size`` and ``gap`` are shares of the width, some panes are lit."""
    width = picture.shape[1]
    step_x, step_y = size[0] * width * rng.uniform(0.7, 1.4), size[1] * width * rng.uniform(0.7, 1.4)
    base, pane = between(rng, colours), between(rng, colours)
    picture[:] = base
    for row in range(int(picture.shape[0] / step_y) + 2):
        for column in range(int(width / step_x) + 2):
            x, y = (column - rng.random_sample() * 0.02) * step_x, row * step_y
            colour = lamp if rng.random_sample() < lit_share else shade(pane, rng.uniform(0.75, 1.2))
            box(picture, x, y, x + step_x * (1 - gap), y + step_y * (1 - gap), shade(base, 0.7))
            box(picture, x + 1, y + 2, x + step_x * (1 - gap) - 1, y + step_y * (1 - gap), colour)


def clouds(picture: np.ndarray, colours: Colours, rng: np.random.RandomState, cells: int, octaves: int = 4) -> None:
    """Paint noise between two colours: foliage, rock, sky."""
    height, width = picture.shape[:2]
    share = smooth_noise(rng, height, width, cells, octaves)
    first, second = between(rng, colours), between(rng, colours)
    levels = [min(255, max(0, 2 * level - 128)) for level in range(256)]  # more contrast than the mean of octaves has
    table = np.array([blend(first, second, level / 255) for level in levels], np.uint8)
    picture[:] = cv2.LUT(cv2.merge((share, share, share)), table[None])


def posts(picture: np.ndarray, colours: Colours, rng: np.random.RandomState, count: int, thick: float) -> None:
    """Paint upright trunks, pillars or bars with a lit side."""
    width = picture.shape[1]
    for _ in range(rng.randint(1, count + 1)):
        x, half = rng.uniform(0, width), max(1.0, rng.uniform(0.4, 1.2) * thick * width)
        colour = between(rng, colours)
        box(picture, x - half, 0, x + half, picture.shape[0], shade(colour, 0.7))
        box(picture, x - 0.6 * half, 0, x + 0.2 * half, picture.shape[0], colour)


def fittings(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint what most walls have: a door or opening, a ledge, a pipe, a board."""
    rows, width = picture.shape[:2]
    if rng.randint(2):
        left, wide, top = rng.uniform(-0.2, 0.9) * width, rng.uniform(0.2, 0.5) * width, rng.uniform(0.1, 0.6) * rows
        frame, inside = between(rng, colours), shade(between(rng, colours), rng.uniform(0.25, 0.7))
        box(picture, left, top, left + wide, rows, frame)
        box(picture, left + 0.06 * wide + 1, top + 0.06 * wide + 1, left + 0.94 * wide, rows, inside)
    if rng.randint(2):
        y = rng.uniform(0.1, 0.9) * rows
        box(picture, 0, y, width, y + 0.03 * width + 1, shade(between(rng, colours), rng.uniform(0.5, 1.3)))
        box(picture, 0, y + 0.03 * width + 1, width, y + 0.06 * width + 1, shade(between(rng, colours), 0.6))
    if rng.randint(3) == 0:
        x = rng.uniform(0, width)
        box(picture, x, 0, x + 0.03 * width + 1, rows, shade(between(rng, colours), rng.uniform(0.5, 1.2)))
    if rng.randint(3) == 0:
        x, y, half = rng.uniform(0, width), rng.uniform(0.1, 0.8) * rows, rng.uniform(0.05, 0.15) * width
        board = blend(between(rng, colours), tuple(int(c) for c in rng.randint(30, 225, 3)), 0.6)
        box(picture, x - half, y - half, x + half, y + half, board)
        box(picture, x - 0.7 * half, y - 0.2 * half, x + 0.5 * half, y + 0.1 * half, shade(board, 0.5))


def facade(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint a house by day, with a shop below."""
    lattice(picture, colours, rng, (0.3, 0.42), 0.42)
    rows, width = picture.shape[:2]
    if rng.randint(2) and rows > 20:
        top = rng.uniform(0.55, 0.8) * rows
        box(picture, 0, top, width, rows, between(rng, colours))
        box(picture, 0, top - 0.05 * rows, width, top, between(rng, ((60, 60, 170), (150, 120, 60), (70, 120, 80))))
        for x in np.arange(-rng.random_sample(), 1.5, rng.uniform(0.35, 0.6)):
            box(picture, x * width, top + 2, (x + 0.3) * width, rows, shade(between(rng, colours), 0.45))


def foliage(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint sunlit trees."""
    clouds(picture, colours, rng, 14)
    posts(picture, ((40, 56, 74), (60, 76, 96)), rng, 2, 0.03)


def parked_cars(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint cars along a wall."""
    rows, width = picture.shape[:2]
    clouds(picture, colours, rng, 4)
    high = min(0.5 * width, 0.5 * rows)
    for x in (rng.uniform(-0.6, 0.0), rng.uniform(0.3, 0.9)):
        body = between(rng, ((60, 58, 56), (190, 192, 196), (120, 60, 40), (50, 50, 130), (140, 140, 140)))
        left, middle = int(x * width), int(rows - 0.3 * high)
        cabin, axes = (left + width // 2, int(rows - 0.55 * high)), (int(0.3 * width), int(0.42 * high))
        cv2.ellipse(picture, cabin, axes, 0, 0, 360, shade(body, 0.4), -1)
        cv2.rectangle(picture, (left, int(rows - 0.6 * high)), (left + int(0.95 * width), middle), body, -1)
        cv2.rectangle(
            picture, (left, middle), (left + int(0.95 * width), int(rows - 0.12 * high)), shade(body, 0.6), -1
        )


def bare_trees(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint trunks and twigs before a pale sky."""
    rows, width = picture.shape[:2]
    clouds(picture, colours, rng, 3, 2)
    posts(picture, ((70, 74, 80), (96, 98, 104)), rng, 3, 0.025)
    for _ in range(40):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0, max(rows, 1)))
        end = x + int(rng.uniform(-0.25, 0.25) * width), y - int(rng.uniform(0.05, 0.3) * width)
        cv2.line(picture, (x, y), end, shade((92, 94, 98), rng.uniform(0.7, 1.4)), 1)


def concrete(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint a wall of large slabs with stains that run down."""
    lattice(picture, colours, rng, (0.9, 0.7), 0.03)
    runs = np.repeat(smooth_noise(rng, 4, picture.shape[1], 20, 2)[:1], picture.shape[0], axis=0).astype(np.uint16)
    picture[:] = scaled(picture, runs // 4 + 96)


def fence(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint bushes behind a fence."""
    clouds(picture, colours, rng, 24, 3)
    width, rows = picture.shape[1], picture.shape[0]
    wire, step = between(rng, ((150, 154, 156), (60, 64, 64))), max(3, int(rng.uniform(0.05, 0.12) * width))
    picture[:, ::step] = wire
    picture[int(rows * 0.3) : int(rows * 0.3) + 2] = wire


def panels(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint an indoor wall with posters and a strip of light."""
    lattice(picture, colours, rng, (0.5, 0.9), 0.02)
    rows, width = picture.shape[:2]
    for _ in range(rng.randint(0, 3)):
        x, y, half = rng.uniform(0, width), rng.uniform(0.1, 0.8) * rows, rng.uniform(0.12, 0.3) * width
        poster = picture[
            max(0, int(y - half)) : max(0, int(y + 1.4 * half)), max(0, int(x - half)) : max(0, int(x + half))
        ]
        if min(poster.shape[:2]) > 4:
            clouds(poster, ((40, 60, 200), (220, 160, 40), (60, 190, 90), (230, 230, 230), (40, 40, 44)), rng, 4, 3)
    if rng.randint(2):
        y = rng.uniform(0, 0.3) * rows
        box(picture, 0, y, width, y + 0.05 * width, (244, 248, 244))


def glass(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint a glass front with what shines behind it."""
    clouds(picture, colours, rng, 7, 3)
    lamps(picture, ((240, 246, 240), (220, 236, 250)), rng, 5, 0.05)
    width = picture.shape[1]
    for x in np.arange(rng.random_sample() * 0.3, 1.0, rng.uniform(0.3, 0.5)):
        box(picture, x * width, 0, x * width + 0.025 * width + 1, picture.shape[0], (90, 92, 92))


def pillars(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint a hall with pillars."""
    clouds(picture, colours, rng, 3, 3)
    posts(picture, colours, rng, 3, 0.1)


def lamps(picture: np.ndarray, colours: Colours, rng: np.random.RandomState, count: int, size: float) -> None:
    """Paint round lights out of focus."""
    rows, width = picture.shape[:2]
    for _ in range(count):
        centre = int(rng.uniform(0, width)), int(rng.uniform(0, max(rows, 1)))
        cv2.circle(picture, centre, max(1, int(size * width * rng.uniform(0.3, 1.3))), between(rng, colours), -1)


def lit_windows(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint a house by night."""
    lattice(picture, colours, rng, (0.22, 0.3), 0.4, 0.18, (90, 170, 214))
    lamps(picture, ((120, 190, 240), (200, 220, 240)), rng, 3, 0.03)


def traffic(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint a street by night with its lights."""
    clouds(picture, colours, rng, 5, 3)
    lamps(picture, ((110, 200, 250), (230, 240, 250), (60, 60, 220), (90, 210, 120)), rng, 9, 0.045)


def shutters(picture: np.ndarray, colours: Colours, rng: np.random.RandomState) -> None:
    """Paint the shutter of a closed shop with graffiti."""
    picture[:] = between(rng, colours)
    step = max(3, picture.shape[0] // rng.randint(16, 40))
    for offset, tone in ((0, 0.6), (1, 1.3)):
        picture[offset::step] = shade(tuple(int(c) for c in picture[0, 0]), tone)
    lamps(picture, ((140, 60, 90), (60, 120, 140), (70, 70, 70)), rng, 4, 0.1)


WALLS = {
    "facade": facade, "foliage": foliage, "parked_cars": parked_cars,
    "bare_trees": bare_trees, "concrete": concrete, "fence": fence,
    "panels": panels, "glass": glass, "pillars": pillars,
    "lit_windows": lit_windows, "traffic": traffic, "shutters": shutters,
}  # fmt: skip
