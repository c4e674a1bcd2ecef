"""Who walks through a world: the body, the clothes and what is owned, the same in all images of one identity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid_ext.data.synthetic.canvas import Colour, blend, shade
from fastreid_ext.data.synthetic.person import SKIN_COLOURS, Body
from fastreid_ext.data.synthetic.seeds import pick
from fastreid_ext.data.synthetic.worlds.wardrobe import (
    BAGS,
    CUTS,
    HAIR,
    HEADGEAR,
    HELD,
    LEG_CUTS,
    LOWERS,
    PATTERNS,
    SHOES,
    Cut,
)
from fastreid_ext.data.synthetic.worlds.world import Palette, World

HAIR_COLOURS = ((22, 20, 22), (30, 34, 44), (44, 58, 84), (84, 128, 168), (148, 150, 154), (40, 56, 104))
HAIR_WEIGHTS = (6, 5, 4, 1.5, 1.5, 0.7)


@dataclass(frozen=True)
class Walker(Body):
    """One identity; colours are BGR 0..255, lengths are body heights, ``skin_tone`` is 0 (light) to 1 (dark)."""

    skin_tone: float
    cut_name: str
    hem: float
    bulk: float
    upper: Colour
    accent: Colour
    trim: Colour
    inner: Colour
    open_half: int  # texture columns from the middle to the edge of an open front; 0 for a closed one
    pattern: str | None
    grain: int  # strength of the weave
    lower_name: str
    lower: Colour
    lower_detail: int
    skirt_hem: float
    leg_radii: tuple[float, float, float]
    shoe_name: str
    shoe: Colour
    sole: Colour
    sock: Colour
    hair_name: str
    hair: Colour
    hair_volume: float
    headgear: str | None
    headgear_colour: Colour
    glasses: bool
    mask: Colour | None
    beard: int
    hood_up: bool
    scarf: Colour | None
    bag: str | None
    bag_colour: Colour
    held: str | None
    side: int  # +1 if bags are on the left, else -1
    details: int  # seed of what is painted on the clothes

    @property
    def cut(self) -> Cut:
        """The cut of the upper garment."""
        return CUTS[self.cut_name]


def skin_of(tone: float) -> Colour:
    """Return the colour of a skin tone from 0 (light) to 1 (dark)."""
    place = tone * (len(SKIN_COLOURS) - 1)
    index = min(int(place), len(SKIN_COLOURS) - 2)
    return blend(SKIN_COLOURS[index], SKIN_COLOURS[index + 1], place - index)


def cloth_colour(rng: np.random.RandomState, palette: Palette, weights: Sequence[float]) -> Colour:
    """Return a colour between two of one group of a palette, lighter or darker than both at random."""
    group = pick(rng, palette.groups, weights)
    mixed = blend(pick(rng, group), pick(rng, group), rng.random_sample())
    varied = shade(mixed, rng.uniform(0.8, 1.2))
    return tuple(int(min(250, max(8, c + rng.randint(-5, 6)))) for c in varied)


def sample_walker(rng: np.random.RandomState, world: World) -> Walker:
    """Return a random person of a world: most wear dark clothes, which differ in cut more than in colour.

    Args:
        rng: draws everything.
        world: gives the colours, and how common each cut is.
    """
    build = rng.uniform(0.78, 1.3)
    tone = rng.random_sample()
    skin = skin_of(tone)
    cut_name = pick(rng, tuple(world.cuts), tuple(world.cuts.values()))
    cut = CUTS[cut_name]
    colours = world.palette
    upper = cloth_colour(rng, colours, (5.5, 2, 1.2, 1.3))
    lower = cloth_colour(rng, colours, (7, 2, 0.3, 0.7))
    if rng.randint(12) == 0:  # a suit
        lower = upper
    accent = cloth_colour(rng, colours, (2, 2, 2, 3))
    near = shade(upper, rng.uniform(0.55, 0.8) if sum(upper) > 200 else rng.uniform(1.3, 1.9))
    headgear = pick(rng, HEADGEAR, world.headgear) if rng.random_sample() < world.headgear_share else None
    hair = shade(pick(rng, HAIR_COLOURS, HAIR_WEIGHTS), rng.uniform(0.8, 1.25))
    lower_name = pick(rng, LOWERS, (5, 4, 2, 1, 4 if cut.sleeve < 1 else 0.3, 1.2, 1.2))
    shoe_name = pick(rng, SHOES)
    return Walker(
        build=build,
        shoulders=rng.uniform(0.9, 1.1),
        hips=rng.uniform(0.9, 1.12),
        skin=skin,
        skin_tone=round(tone, 3),
        cut_name=cut_name,
        hem=rng.uniform(*cut.hem),
        bulk=cut.bulk * rng.uniform(0.95, 1.08),
        upper=upper,
        accent=accent,
        trim=near if rng.randint(3) else accent,
        inner=cloth_colour(rng, colours, (3, 1, 1, 4)),
        open_half=rng.randint(12, 34) if rng.random_sample() < cut.open_share else 0,
        pattern=pick(rng, PATTERNS) if rng.random_sample() < cut.patterned else None,
        grain=rng.randint(2, 9),
        lower_name=lower_name,
        lower=lower,
        lower_detail=rng.randint(6),
        skirt_hem=rng.uniform(0.16, 0.36),
        leg_radii=tuple(f * rng.uniform(0.95, 1.08) for f in
                        LEG_CUTS["skinny" if lower_name == "leggings" else pick(rng, tuple(LEG_CUTS), (3, 4, 1.2, 2))]),
        shoe_name=shoe_name,
        shoe=cloth_colour(rng, colours, (4, 1, 0.6, 2.5) if shoe_name == "sneaker" else (8, 2, 0.2, 0.4)),
        sole=pick(rng, ((226, 228, 228), (196, 202, 206), (40, 38, 38), (70, 84, 110)), (4, 2, 2, 1)),
        sock=cloth_colour(rng, colours, (2, 1, 0.4, 3)),
        hair_name=pick(rng, HAIR),
        hair=hair,
        hair_volume=rng.uniform(1.04, 1.16),
        headgear=headgear,
        headgear_colour=cloth_colour(rng, colours, (4, 2, 1.5, 1.5)),
        glasses=rng.randint(5) == 0,
        mask=pick(rng, ((226, 220, 206), (40, 38, 38), (214, 190, 160))) if rng.random_sample() < 0.08 else None,
        beard=int(pick(rng, (0, 1, 2), (7, 1.5, 1))),
        hood_up=cut.hood and headgear is None and rng.random_sample() < world.hood_share,
        scarf=cloth_colour(rng, colours, (3, 2, 2, 2)) if rng.random_sample() < world.scarf_share else None,
        bag=pick(rng, BAGS) if rng.random_sample() < 0.62 else None,
        bag_colour=cloth_colour(rng, colours, (5, 2.5, 1.2, 1)),
        held=pick(rng, HELD) if rng.random_sample() < 0.25 else None,
        side=1 if rng.randint(2) else -1,
        details=rng.randint(1 << 30),
    )  # fmt: skip
