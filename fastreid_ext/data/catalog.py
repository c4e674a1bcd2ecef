"""Registered data sets, found or explained."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.names import PREFIX, plain_names
from fastreid_ext.data.capabilities import NamesLabels
from fastreid_ext.data.datasets.files import LabelError, log_once
from fastreid_ext.data.datasets.folders import accepted_folders
from fastreid_ext.data.published import DESCRIBED_AT, EXPECTED_TREES, PUBLISHED_COUNTS
from fastreid_ext.errors import FileError, UserError, is_ours
from fastreid_ext.files import no_room, reason


class DataSetError(UserError):
    """A data set that is missing, half-unpacked or not registered."""


def dataset_root() -> Path:
    """Return the folder of all data sets: the environment's FASTREID_DATASETS, else ``datasets``."""
    return Path(os.environ.get("FASTREID_DATASETS", "datasets"))


def is_there(name: str) -> bool:
    """Whether a folder of a registered data set lies below the root, whole or not.

    A set that is made on first use, and a class of the user's own that doesn't say where it lies, are taken to be
    there: loading them tells.
    """
    root, kind = dataset_root(), _registered(name)
    if folders := getattr(kind, "folders", ()):
        in_root = any((root / part).is_dir() for part in getattr(kind, "subfolders", ()) if "." in folders)
        return in_root or bool(accepted_folders(root, [folder for folder in folders if folder != "."]))
    folder = getattr(kind, "folder", "") or getattr(kind, "dataset_dir", "")
    if folder:
        return (root / folder).is_dir()
    tree = EXPECTED_TREES.get(name.removeprefix(PREFIX), ())  # for a class of FastReID's projects/PartialReID
    return not tree or bool(accepted_folders(root, [path.partition("/")[0] for path in tree]))


def load_dataset(name: str, splits: Sequence[str], combineall: bool = False) -> ImageDataset:
    """Build a registered data set and make sure that the named splits hold images.

    Numbers of identities and images that differ from the published ones, and queries that nothing in the gallery
    can answer, are logged as warnings, once a process.

    Args:
        name: registered name.
        splits: out of "train", "query", "gallery".
        combineall: train on the test identities too, as DATASETS.COMBINEALL says.

    Raises:
        DataSetError: one sentence with the expected tree, whatever the data set itself raised.
        FileError: a set that is made or extracted at first use finds no room on the disk.
    """
    root = dataset_root()
    kind = _registered(name)
    if "train" in splits and not combineall and getattr(kind, "test_only", False):
        raise DataSetError(
            f"{name} has no training images, it is for testing only: train on another set, as papers do on Market1501 "
            f"(DATASETS.NAMES), and name {name} in DATASETS.TESTS"
        )
    try:
        # Some data sets, such as those of FastReID's projects/PartialReID, take nothing but the root.
        dataset = kind(root=str(root), **({"combineall": True} if combineall else {}))
        items = {split: getattr(dataset, split) for split in splits}
    except LabelError as error:
        raise DataSetError(f"data set {name} in {root.resolve()} is there, but {error}") from error
    except (AssertionError, AttributeError, KeyError, OSError, RuntimeError, UserError, ValueError) as error:
        if (full := no_room(error)) is not None:  # of a set that is made or extracted at first use
            raise FileError(f"data set {name} can't be written below {root.resolve()}: {reason(full)}") from error
        if is_ours(error) and not isinstance(error, UserError | OSError):
            raise
        raise DataSetError(_explain(name, root, f"it said: {error}")) from error
    empty = [split for split in splits if not items[split]]
    if empty:
        raise DataSetError(_explain(name, root, f"its folder exists but has no images for {', '.join(empty)}"))
    for split in splits:
        if not (combineall and split == "train"):
            _compare_counts(name, split, items[split], dataset._junk_pids)
    if "query" in splits and "gallery" in splits:
        _check_answers(name, items["query"], items["gallery"])
    return dataset


def is_public(name: str, dataset: ImageDataset, splits: Sequence[str]) -> bool:
    """Whether a data set holds what others have too: as many identities and images as were published, or drawn by us.

    A folder of one's own that bears the name of a public set is none, nor is a CSV data set.
    """
    kind = type(dataset)
    counts = PUBLISHED_COUNTS.get(name.removeprefix(PREFIX))
    if counts is None:
        package = kind.__module__.partition(".")[0]
        return package in ("fastreid", "fastreid_ext") and not isinstance(dataset, NamesLabels)
    return all(counts.get(split) == _counts(getattr(dataset, split), dataset._junk_pids) for split in splits)


def same_numbers(dataset: ImageDataset) -> bool:
    """Whether a number is the same person in the training set and in the test set, as in Market1501."""
    return getattr(dataset, "same_numbers", False)


def training_labels(dataset: ImageDataset) -> dict[int, str]:
    """Return test identity -> the label of the same person in training, for a set whose texts or numbers tell it."""
    if not isinstance(dataset, NamesLabels):
        if not same_numbers(dataset):
            return {}
        tested = {person for split in ("query", "gallery") for _, person, _ in getattr(dataset, split)}
        return {person: f"{dataset.dataset_name}_{person}" for person in tested - {*dataset._junk_pids}}
    labels = {}
    for split in ("query", "gallery"):
        words = {path: person for path, person, _ in dataset.read_words(split)}
        labels |= {item[1]: f"{dataset.dataset_name}_{words[item[0]]}" for item in getattr(dataset, split)}
    return labels


def _counts(items: Sequence[tuple], junk: Sequence[int]) -> tuple[int, int]:
    return len({person for _, person, _ in items if person not in junk}), len(items)


def _registered(name: str) -> type[ImageDataset]:
    try:
        return DATASET_REGISTRY.get(name)
    except KeyError as error:
        known = ", ".join(sorted(plain_names(DATASET_REGISTRY)))
        raise DataSetError(f"no data set is registered as {name!r}; there are {known}") from error


def _compare_counts(name: str, split: str, items: Sequence[tuple], junk: Sequence[int]) -> None:
    """Warn if there are not as many identities and images as were published."""
    published = PUBLISHED_COUNTS.get(name.removeprefix(PREFIX), {}).get(split)
    found = _counts(items, junk)
    if published and found != published:
        log_once(
            logging.WARNING,
            f"{name} has {found[0]} identities and {found[1]} images in its {split} split, published are "
            f"{published[0]} and {published[1]}: results can't be compared with those of papers",
        )


def _check_answers(name: str, query: Sequence[tuple], gallery: Sequence[tuple]) -> None:
    """Check that each query's person is in the gallery, seen by another camera.

    What the same camera saw of the same person is left out of a ranking, and a query with nothing left isn't scored.
    """
    cameras: dict[int, set[int]] = {}
    for _, person, camera in gallery:
        cameras.setdefault(person, set()).add(camera)
    lost = sum(not cameras.get(person, set()) - {camera} for _, person, camera in query)
    if lost == len(query):
        raise DataSetError(
            f"no query of {name} has its person in the gallery, seen by another camera, so nothing could be scored: "
            "check how persons and cameras are numbered"
        )
    if lost:
        log_once(
            logging.WARNING,
            f"{lost} of {len(query)} queries of {name} have their person nowhere in the gallery under another camera "
            "and are not scored",
        )


def _explain(name: str, root: Path, reason: str) -> str:
    published_as = name.removeprefix(PREFIX)
    expected = "".join(f"\n  {os.path.join(root, path)}" for path in EXPECTED_TREES.get(published_as, ()))
    described = f"It is described at {DESCRIBED_AT[published_as]}. " if published_as in DESCRIBED_AT else ""
    entries = (
        sorted(p.name for p in root.iterdir() if not p.name.startswith(".")) if root.is_dir() else ["no such folder"]
    )
    found = ", ".join(entries)
    return (
        f"data set {name} is missing or only half unpacked below {root.resolve()} ({reason})."
        + (f" Expected:{expected}\n" if expected else " ")
        + f"Found there: {found or 'nothing'}. {described}"
        + "Set FASTREID_DATASETS to the folder that holds your data sets."
    )
