"""Labels as texts: two persons, or two cameras, are the same if their texts are equal to the last character."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from fastreid_ext.foreign_files import whole_number

COLUMNS = ("path", "person", "camera")  # of every list of images
JUNK = "-1"  # the person that is ignored
UNKNOWN = ""  # a person or camera that nothing tells
SHOWN = 3
BEHIND_CAMERA = r"(?=s[0-9]|[\W_])"  # s1, _ or another sign; with a letter, c1a2f is a hash and no camera
# Person and camera of a name in Market1501's form, as texts.
MARKET_NAME = re.compile(rf"(-1|[0-9]+)_c([0-9]+){BEHIND_CAMERA}", re.IGNORECASE)
MINUS = "\N{MINUS SIGN}"


def numbered(words: Iterable[str]) -> dict[str, int]:
    """Give every text a number of its own, of 64 bits.

    Texts that are whole numbers keep them so long as no two of them are the same number, as 0001 and 1 are; else all
    texts get their positions in sorted order.
    """
    words = sorted(set(words))
    numbers = {word: whole_number(word) for word in words}
    if None not in numbers.values() and len(set(numbers.values())) == len(words):
        return numbers
    return {word: number for number, word in enumerate(words)}


def alike(words: Iterable[str]) -> list[list[str]]:
    """Return the groups of texts that differ only by leading zeros, case, blanks, .0 or how Unicode writes a letter."""
    groups: dict[str, list[str]] = defaultdict(list)
    for word in sorted(set(words)):
        groups[bare(word)].append(word)
    return [group for group in groups.values() if len(group) > 1]


def bare(word: str) -> str:
    """Return a text without leading zeros, case, blanks and the .0 of a float: texts that are alike have the same."""
    word = "".join(letter for letter in unicodedata.normalize("NFKC", word) if not _is_blank(letter)).casefold()
    # A table with gaps writes whole numbers as floats.
    word = re.sub(r"(?<![0-9.])([0-9]+)\.0+$", r"\1", word.replace(MINUS, "-"))
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", word)


def _is_blank(letter: str) -> bool:
    return letter.isspace() or unicodedata.category(letter) == "Cf"  # what has no width


def alike_warning(kind: str, plural: str, words: Mapping[str, Sequence[str]], junk: Sequence[str] = ()) -> str:
    """Return a sentence that names the texts that are alike, or "".

    Args:
        kind, plural: "person" and "persons", or those of a camera.
        words: name of a file -> the label of each of its rows.
        junk: labels that are left out where they are written like this.
    """
    groups = alike(chain(junk, *words.values()))
    if not groups:
        return ""
    named = []
    for group in groups[:SHOWN]:
        texts = [f"{word!r} ({_where(word, words)})" for word in group]
        named.append(f"{', '.join(texts[:-1])} and {texts[-1]}")
    more = f"; and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
    return (
        f"{len(groups)} {kind if len(groups) == 1 else plural} may be written in several ways, which count as different"
        f" {plural}, since the text decides: {'; '.join(named)}{more}. If they are one, write one of them throughout"
    )


def _where(word: str, words: Mapping[str, Sequence[str]]) -> str:
    counts = {name: list(found).count(word) for name, found in words.items()}
    named = [f"{count} image{'s' if count > 1 else ''} in {name}" for name, count in counts.items() if count]
    return " and ".join(named) or "junk, which is ignored"
