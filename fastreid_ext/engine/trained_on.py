"""What a run is trained on, which its checkpoints say: a run that goes on with other persons trains wrong classes."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

logger = logging.getLogger(__name__)


def trained_on(items: Sequence[tuple]) -> dict[str, int | str]:
    """Return numbers and hashes of the persons and images of a training set; {} for one that lists none.

    An image is its name with its labels, without its folder: data sets may move.

    Args:
        items: (path, person, camera) of every image.
    """
    if not items:
        return {}
    persons = sorted({str(person) for _, person, _ in items})
    images = sorted(f"{PurePath(path).name}\n{person}\n{camera}" for path, person, camera in items)
    return {
        "persons": len(persons),
        "persons_hash": _hash(persons),
        "images": len(images),
        "images_hash": _hash(images),
    }


def other_persons(saved: Any, own: dict[str, int | str]) -> list[str]:
    """Return what keeps a run from going on: classes of other persons than those that it was trained on; else nothing.

    Args:
        saved: what its checkpoint says, as far as it does.
        own: of the run.
    """
    if not (isinstance(saved, dict) and own) or saved.get("persons_hash", own["persons_hash"]) == own["persons_hash"]:
        return []
    return [
        f"it was trained on {_number(saved, 'persons')} persons, and the training set has {own['persons']}, who are not"
        " the same: go on with the data that it had, or start a new run (MODEL.WEIGHTS takes over what it learned)"
    ]


def warn_if_other_images(saved: Any, own: dict[str, int | str]) -> None:
    """Warn if a run goes on with other images, or other labels of the same persons."""
    if isinstance(saved, dict) and own and saved.get("images_hash", own["images_hash"]) != own["images_hash"]:
        logger.warning(
            "the run goes on with other training images, or with other labels, than it had: %s before and %s now",
            _number(saved, "images"),
            own["images"],
        )


def _number(saved: dict, key: str) -> str:
    value = saved.get(key)
    return str(value) if type(value) is int else "other"


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()
