"""The sizes of SynthReID as data."""

from dataclasses import dataclass

from fastreid_ext.data.synthetic.worlds.catalogue import WORLDS
from fastreid_ext.errors import ConfigError

# To be raised with every change that changes a picture or a plan: older data is then made anew. The second is that of
# the sizes with worlds, which another renderer draws.
RENDERER_VERSION = 1
WORLDS_VERSION = 1


@dataclass(frozen=True)
class Size:
    """Counts, picture size in pixels and difficulty of one SynthReID."""

    name: str
    height: int
    width: int
    train_identities: int
    train_images: int  # mean of an identity; the long tail keeps the total
    train_head: int  # images of the largest identity of the long tail
    train_floor: int  # no identity has fewer
    test_identities: int  # of each test set
    test_sets: tuple[str, ...]  # suffix of the directories of each test set
    upper_colours: int  # how many colours of the palette are in use: fewer is harder
    lower_colours: int
    strength: float  # of what cameras do to a picture: 0 nothing, 1 as in ``cameras.CAMERAS``
    worlds: tuple[str, ...] = ()  # keys of ``catalogue.WORLDS``: identities are dealt out to them, each has a test set

    @property
    def renderer(self) -> int:
        """The version of what draws this size."""
        return WORLDS_VERSION if self.worlds else RENDERER_VERSION

    def world_of(self, identity: int) -> int:
        """Return the place in ``worlds`` of a training identity (from 1); 0 if there are no worlds."""
        return (identity - 1) % len(self.worlds) if self.worlds else 0


EACH_WORLD = tuple(f"_{name}" for name in WORLDS)

SIZES = {
    size.name: size
    for size in (
        Size("tiny", 64, 32, 12, 6, 16, 3, 8, ("",), 5, 4, 1.0),
        Size("demo", 128, 64, 100, 12, 60, 4, 100, ("",), 5, 4, 1.0),
        Size("bench", 256, 128, 400, 20, 160, 8, 300, ("", "_b"), 4, 4, 1.2),
        Size("wide_tiny", 64, 32, 8, 6, 16, 3, 4, EACH_WORLD, 5, 4, 1.0, tuple(WORLDS)),
        Size("wide", 256, 128, 3200, 8, 40, 4, 150, EACH_WORLD, 5, 4, 1.0, tuple(WORLDS)),
    )
}

# Images of each test identity.
HOLISTIC_QUERIES = 2
OCCLUDED_QUERIES = 2
CLEAN_GALLERY = 8
OCCLUDED_GALLERY = 3

OCCLUDED_TRAIN_SHARE = 0.15


def size_named(name: str) -> Size:
    """Return the size of that name.

    Raises:
        ConfigError: there is none; the message lists the names.
    """
    if name not in SIZES:
        raise ConfigError(f"SynthReID has no size {name!r}: choose one of {', '.join(SIZES)}.")
    return SIZES[name]
