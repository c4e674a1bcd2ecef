"""Who a person is: everything that stays the same in all images of one identity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid_ext.data.synthetic.canvas import Colour
from fastreid_ext.data.synthetic.seeds import pick

# All colours are BGR, 0..255.
UPPER_COLOURS = ((150, 84, 44), (48, 42, 40), (212, 216, 218), (78, 118, 62), (58, 52, 162))
LOWER_COLOURS = ((104, 68, 48), (44, 40, 40), (122, 158, 184), (124, 124, 122))
ACCENT_COLOURS = ((226, 228, 228), (42, 38, 36), (60, 190, 226), (64, 58, 190), (196, 150, 82))
SKIN_COLOURS = ((188, 208, 238), (156, 184, 222), (118, 152, 200), (82, 112, 164), (52, 72, 108))
HAIR_COLOURS = ((30, 26, 26), (36, 52, 80), (92, 158, 200), (150, 150, 150))
SHOE_COLOURS = ((36, 34, 34), (218, 220, 222), (50, 74, 112), (66, 60, 176))
BAG_COLOURS = ((44, 40, 38), (52, 46, 168), (62, 92, 128), (122, 112, 70), (150, 86, 52))

# Two of eight pattern slots are plain.
PATTERNS = ("plain", "plain", "thin_stripes", "wide_stripes", "columns", "checks", "print", "block")
UPPER_TYPES = ("tee", "shirt", "jacket", "hoodie", "coat")
LOWER_TYPES = ("trousers", "shorts", "skirt")
LOWER_DETAILS = ("plain", "plain", "side_stripe", "cuffs")
HAIR_STYLES = ("short", "crop", "long", "bun", "ponytail")
PRINTS = ("disc", "square", "cross", "bars", "diamond")
BAGS = (None, None, "backpack", "handbag", "shoulder_bag")

COLOUR_JITTER = 6


@dataclass(frozen=True)
class Body:
    """What the skeleton needs to know; colours are BGR 0..255, shape factors are around 1."""

    build: float
    shoulders: float
    hips: float
    skin: Colour


@dataclass(frozen=True)
class Person(Body):
    """Body and clothes of one identity; colours are BGR 0..255, shape factors are around 1."""

    hair_style: str
    hair: Colour
    upper_type: str
    upper: Colour
    accent: Colour
    pattern: str
    print_shape: str
    print_on_back: bool
    pattern_scale: float
    lower_type: str
    lower: Colour
    lower_detail: str
    lower_accent: Colour
    leg_cut: float
    shoes: Colour
    hat: Colour | None  # its colour
    bag: str | None
    bag_colour: Colour
    bag_on_left: bool


def jittered(rng: np.random.RandomState, colour: Colour) -> Colour:
    """Return ``colour`` with every channel moved by up to ``COLOUR_JITTER`` levels."""
    return tuple(int(min(255, max(0, c + rng.randint(-COLOUR_JITTER, COLOUR_JITTER + 1)))) for c in colour)


def contrasting(rng: np.random.RandomState, colours: Sequence[Colour], base: Colour, distance: int = 150) -> Colour:
    """Return one of ``colours`` that differs from ``base`` by ``distance`` levels or more, summed over channels."""
    far = [c for c in colours if sum(abs(a - b) for a, b in zip(c, base, strict=True)) >= distance]
    return jittered(rng, pick(rng, far))


def sample_person(rng: np.random.RandomState, upper_colours: int = 5, lower_colours: int = 4) -> Person:
    """Return a random person.

    Args:
        rng: draws everything.
        upper_colours, lower_colours: how many colours of the palette the garments are chosen from.
    """
    upper = jittered(rng, UPPER_COLOURS[rng.randint(upper_colours)])
    lower = jittered(rng, LOWER_COLOURS[rng.randint(lower_colours)])
    return Person(
        build=rng.uniform(0.82, 1.25),
        shoulders=rng.uniform(0.92, 1.08),
        hips=rng.uniform(0.92, 1.1),
        skin=jittered(rng, pick(rng, SKIN_COLOURS)),
        hair_style=pick(rng, HAIR_STYLES),
        hair=jittered(rng, pick(rng, HAIR_COLOURS, (4, 3, 2, 1))),
        upper_type=pick(rng, UPPER_TYPES),
        upper=upper,
        accent=contrasting(rng, ACCENT_COLOURS, upper),
        pattern=pick(rng, PATTERNS),
        print_shape=pick(rng, PRINTS),
        print_on_back=bool(rng.randint(2)),
        pattern_scale=rng.uniform(0.8, 1.3),
        lower_type=pick(rng, LOWER_TYPES, (5, 2, 2)),
        lower=lower,
        lower_detail=pick(rng, LOWER_DETAILS),
        lower_accent=contrasting(rng, ACCENT_COLOURS, lower),
        leg_cut=rng.uniform(0.95, 1.3),
        shoes=jittered(rng, pick(rng, SHOE_COLOURS)),
        hat=jittered(rng, pick(rng, BAG_COLOURS)) if rng.randint(4) == 0 else None,
        bag=pick(rng, BAGS),
        bag_colour=jittered(rng, pick(rng, BAG_COLOURS)),
        bag_on_left=bool(rng.randint(2)),
    )
