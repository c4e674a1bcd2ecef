"""The three sizes of SynthReID as data."""

from dataclasses import dataclass

from fastreid_ext.errors import ConfigError


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


SIZES = {
    size.name: size
    for size in (
        Size("tiny", 64, 32, 12, 6, 16, 3, 8, ("",), 5, 4, 1.0),
        Size("demo", 128, 64, 100, 12, 60, 4, 100, ("",), 5, 4, 1.0),
        Size("bench", 256, 128, 400, 20, 160, 8, 300, ("", "_b"), 4, 4, 1.2),
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
