"""A world: everything but the body, as data."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastreid_ext.data.synthetic.cameras import Camera
from fastreid_ext.data.synthetic.canvas import Colour

Span = tuple[float, float]  # lowest and highest value


@dataclass(frozen=True)
class Palette:
    """The colours between which those of clothes lie; BGR, 0..255."""

    dark: tuple[Colour, ...]
    middle: tuple[Colour, ...]
    bright: tuple[Colour, ...]
    light: tuple[Colour, ...]

    @property
    def groups(self) -> tuple[tuple[Colour, ...], ...]:
        """The groups in a fixed order."""
        return self.dark, self.middle, self.bright, self.light


@dataclass(frozen=True)
class Light:
    """How surfaces are lit.

    Attributes:
        elevation: of the lamp above the horizon, in radians.
        key: strength of the lamp, where 1 is the full albedo.
        fill: strength of the light from everywhere.
        key_colour, fill_colour: factors of blue, green and red.
        wrap: 0 for a hard terminator; towards 1 the light reaches around the body.
        ground: share of the fill that comes from below.
        folds: how deep the folds of cloth are.
        contact: how dark surfaces become that others are near to.
        dapple: how much of the lamp soft shadows take away.
        back: share of the images in which the lamp is behind the person.
        gloss: of cloth.
    """

    elevation: Span
    key: Span
    fill: Span
    key_colour: tuple[float, float, float]
    fill_colour: tuple[float, float, float]
    wrap: float
    ground: float
    folds: float
    contact: float
    dapple: Span
    back: float
    gloss: float


@dataclass(frozen=True)
class Scene:
    """What is behind people.

    Attributes:
        wall, floor: keys of :data:`walls.WALLS` and :data:`floors.FLOORS`.
        wall_colours, floor_colours: between which theirs lie.
        depth: how far behind the person the wall is, in body heights.
        defocus: blur of the wall in pixels of a picture 128 pixels high.
    """

    wall: str
    floor: str
    wall_colours: tuple[Colour, ...]
    floor_colours: tuple[Colour, ...]
    depth: Span
    defocus: Span


@dataclass(frozen=True)
class Optics:
    """What differs from image to image of one camera.

    Attributes:
        haze: share of a pale veil.
        haze_colour: of the veil.
        motion: length of the motion blur, in shares of the picture height.
        motion_share: of the images that have it.
        level: mean grey level towards which the exposure is corrected.
        exposure: factor on the camera's own.
        contrast: factor around the middle grey.
        coarse: factor on the camera's resolution.
        quality: of JPEG, added to the camera's own.
        vignette: how much darker the one side is than the other.
        distance: of the camera in body heights.
        occupancy: how often somebody else is beside or behind.
    """

    haze: Span
    haze_colour: Colour
    motion: Span
    motion_share: float
    level: int
    exposure: Span
    contrast: Span
    coarse: Span
    quality: Span
    vignette: Span
    distance: Span
    occupancy: float


@dataclass(frozen=True)
class World:
    """One style: nothing in it is in another world.

    Attributes:
        name: lower case, a part of names of data sets.
        cuts: upper garments with how common they are.
        headgear: weights of :data:`wardrobe.HEADGEAR`.
        headgear_share, hood_share, scarf_share: how often these are worn.
        cameras: six; ``background`` is a key of ``scenes``.
        tints: factors of blue, green and red on what stands before people.
    """

    name: str
    palette: Palette
    cuts: Mapping[str, float]
    headgear: tuple[float, ...]
    headgear_share: float
    hood_share: float
    scarf_share: float
    light: Light
    scenes: Mapping[str, Scene]
    cameras: tuple[Camera, ...]
    optics: Optics
    tints: tuple[float, float, float]
