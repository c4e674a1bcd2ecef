"""Image files that can't be used: unreadable ones, and byte for byte the same ones."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from fastreid_ext.data.own_images.entries import Entry
from fastreid_ext.data.pixels.decoding import read_rgb
from fastreid_ext.data.same_images import listed_again
from fastreid_ext.image_files import kind_of_no_file
from fastreid_ext.progress import ProgressBar

NOT_THERE, UNREADABLE = "not there, or no file", "unreadable as an image"
COPY, SEVERAL_PERSONS = "a copy of another image of the person", "the same image under several persons"
# Of the copies of a query one is the query.
FIRST = {"query": 0, "gallery": 1, "train": 2, "": 3}
AT_ONCE, THREADS = 256, 4


def fault_of_image(entry: Entry) -> str:
    """Return why a file is no image, out of this module's reasons; "" for one that can be decoded."""
    if kind_of_no_file(entry.path) or not entry.path.is_file():
        return NOT_THERE
    try:
        read_rgb(str(entry.path))
    except (OSError, ValueError):
        return UNREADABLE
    return ""


def readable(
    entries: Sequence[Entry], left_out: dict[str, list[str]], check: Callable[[Entry], str] = fault_of_image
) -> list[Entry]:
    """Return the entries whose images can be decoded, behind a progress bar; note the others by reason."""
    kept: list[Entry] = []
    with ThreadPoolExecutor(THREADS) as pool, ProgressBar("reading the images", len(entries)) as bar:
        for start in range(0, len(entries), AT_ONCE):
            some = entries[start : start + AT_ONCE]
            for entry, fault in zip(some, pool.map(check, some), strict=True):
                if fault:
                    left_out[fault].append(entry.name)
                else:
                    kept.append(entry)
                bar.advance(1)
    return kept


def without_copies(entries: Iterable[Entry], left_out: dict[str, list[str]]) -> tuple[list[Entry], list[list[Entry]]]:
    """Return one entry of those with the same bytes, and the groups that have several persons, which are errors.

    Of a group with one person the first is kept: a query, else a gallery image, else a training image, else by name.
    Of a group with several persons none is kept, since nobody knows whose it is.
    """
    entries = list(entries)
    dropped: set[int] = set()
    errors = []
    for places in listed_again([str(entry.path) for entry in entries], contents=True):
        group = [entries[place] for place in places]
        group.sort(key=lambda entry: (FIRST[entry.split], entry.name))
        several = len({entry.person for entry in group}) > 1
        if several:
            errors.append(group)
        for entry in group if several else group[1:]:
            dropped.add(id(entry))
            left_out[SEVERAL_PERSONS if several else COPY].append(entry.name)
    errors.sort(key=lambda group: group[0].name)
    return [entry for entry in entries if id(entry) not in dropped], errors
