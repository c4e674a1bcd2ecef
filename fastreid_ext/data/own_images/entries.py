"""What is known of someone's own images: who is on them, by which camera, and what was left out and why."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from fastreid_ext.data.labels import UNKNOWN
from fastreid_ext.errors import ConfigError
from fastreid_ext.foreign_files import shown

SPLITS = ("train", "query", "gallery")


@dataclass(frozen=True)
class Entry:
    """An image with its labels, all in words.

    Attributes:
        path: of the file.
        name: how reports call it: its path below the folder or as the listing has it.
        person: never empty.
        camera: "" where unknown.
        split: out of ``SPLITS``, if the images are split already; else "".
        distractor: whether it shows someone whom no query asks for.
    """

    path: Path
    name: str
    person: str
    camera: str = UNKNOWN
    split: str = UNKNOWN
    distractor: bool = False


@dataclass
class Listing:
    """Images as a layout lists them.

    Attributes:
        layout: its name.
        entries: sorted by name.
        said: what was assumed, in sentences.
        left_out: reason -> names.
    """

    layout: str
    entries: list[Entry] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def check_text(text: str, what: str) -> None:
    """Check that a CSV file can hold a name and give it back.

    Raises:
        ConfigError: it is not UTF-8, or has a line break or another control character, or blanks around it.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ConfigError(f"the name of the {what} {shown(text)} is not in UTF-8: rename it")
    if any(letter < " " or letter == "\x7f" for letter in text):
        raise ConfigError(
            f"the name of the {what} {shown(text)} has a line break or another control character: rename it"
        )
    if text != text.strip():
        raise ConfigError(f"the name of the {what} {shown(text)} begins or ends with a blank: rename it")
