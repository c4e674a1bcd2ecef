"""Who is trained on and who is tested, and what are queries and gallery."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from fastreid_ext.data.labels import UNKNOWN
from fastreid_ext.data.own_images.entries import SPLITS, Entry
from fastreid_ext.data.validation import ask_per_camera
from fastreid_ext.errors import ConfigError

QUERY_CAMERA, GALLERY_CAMERA = "0", "1"  # where no camera is known, so that nothing is left out of a ranking
HALF = 0.5


@dataclass
class Split:
    """The three subsets.

    Attributes:
        train, query, gallery: entries by name, each with a camera.
        said: the rules that were followed, in sentences.
    """

    train: list[Entry] = field(default_factory=list)
    query: list[Entry] = field(default_factory=list)
    gallery: list[Entry] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def of(self, name: str) -> list[Entry]:
        """Return a subset by its name."""
        return getattr(self, name)


def split_entries(entries: Sequence[Entry], test_share: float | None = None, seed: int = 0) -> Split:
    """Split images by their persons into training and test, and those of the test into queries and gallery.

    The persons whose names have the smallest SHA-256, behind the seed, are tested: neither the order of the images nor
    the machine plays a role. Of the tested persons that two cameras saw, :func:`ask_per_camera` takes the queries. If
    not every image has a camera, or all have the same, the first image by name of each person is the query, if there
    are more, and cameras are 0 for queries and 1 for the gallery.

    Args:
        entries: the images.
        test_share: share of the persons that are tested, from 0 to 1; None keeps the split that the entries have, else
            takes half.
        seed: of the draw.

    Raises:
        ConfigError: no entry, nothing to split, or a test without a query.
    """
    if not entries:
        raise ConfigError("no image is left to make a data set of")
    entries = sorted(entries, key=lambda entry: entry.name)
    split = Split()
    cameras = _cameras(entries, split.said)
    if test_share is None and all(entry.split for entry in entries):
        split.said.append("the split into train, query and gallery is the one that the images have")
        for entry in entries:
            split.of(entry.split).append(entry)
    else:
        tested = _tested(entries, HALF if test_share is None else test_share, seed, split.said)
        split.train = [e for e in entries if e.person not in tested and not e.distractor]
        _ask([e for e in entries if e.person in tested or e.distractor], cameras, bool(tested), split)
    if not cameras:
        for name in SPLITS:
            camera = GALLERY_CAMERA if name == "gallery" else QUERY_CAMERA
            split.of(name)[:] = [replace(entry, camera=camera) for entry in split.of(name)]
    return split


def digest(text: str, seed: int) -> str:
    """Return the SHA-256 by which texts are drawn."""
    return hashlib.sha256(f"{seed} {text}".encode(errors="surrogateescape")).hexdigest()


def _cameras(entries: Sequence[Entry], said: list[str]) -> bool:
    """Whether cameras are used; says why not."""
    unknown = [entry for entry in entries if entry.camera == UNKNOWN]
    if unknown and len(unknown) < len(entries):
        reason = f"{len(unknown)} of {len(entries)} images tell no camera, the first is {unknown[0].name}"
    elif unknown:
        reason = "no camera is known"
    elif len({entry.camera for entry in entries}) == 1:
        reason = "all images are by one camera"
    else:
        return True
    said.append(
        f"{reason}: cameras are written as {QUERY_CAMERA} for queries and training and {GALLERY_CAMERA} for the"
        " gallery, so that nothing is left out of a ranking"
    )
    return False


def _tested(entries: Sequence[Entry], share: float, seed: int, said: list[str]) -> set[str]:
    persons = sorted({entry.person for entry in entries if not entry.distractor})
    count = round(share * len(persons))
    if 0 < share < 1:
        if len(persons) < 2:
            raise ConfigError(
                f"{len(persons)} person can't be split into training and test: use --test-share 0 or --test-share 1"
            )
        count = min(max(count, 1), len(persons) - 1)
    said.append(
        f"{count} of {len(persons)} persons are tested, the others trained on: drawn by their names, seed {seed}"
    )
    return set(sorted(persons, key=lambda person: digest(person, seed))[:count])


def _ask(entries: Sequence[Entry], cameras: bool, is_tested: bool, split: Split) -> None:
    if not is_tested:
        return
    by_person: dict[str, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        if entry.distractor:
            split.gallery.append(entry)
        else:
            by_person[entry.person][entry.camera if cameras else UNKNOWN].append(entry)
    for person in sorted(by_person):
        images = by_person[person]
        if cameras:
            query, gallery = ask_per_camera(images)
        else:
            found = images[UNKNOWN]
            query, gallery = (found[:1], found[1:]) if len(found) > 1 else ([], found)
        split.query += query
        split.gallery += gallery
    lacking = "seen by two cameras" if cameras else "on two images"
    if not split.query:
        raise ConfigError(
            f"none of the {len(by_person)} test persons is {lacking}, so there is no query: raise --test-share, or use"
            " --test-share 0 for a training set" + (", or use --cameras none" if cameras else "")
        )
    without = len(by_person) - len({entry.person for entry in split.query})
    rule = (
        "one query for each person and camera, the first image by name, as long as the person stays in the gallery"
        " under another camera"
        if cameras
        else "one query for each person, the first image by name"
    )
    split.said.append(f"{rule}; the rest is gallery")
    if without:
        split.said.append(
            f"{without} of {len(by_person)} test persons are not {lacking}: they are in the gallery alone"
        )
    for name in ("query", "gallery"):
        split.of(name).sort(key=lambda entry: entry.name)
