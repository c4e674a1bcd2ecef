"""The images of a data set with their key points, judged as occluded or holistic."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.body import COCO_JOINTS
from fastreid_ext.data.catalog import DataSetError, load_dataset, same_numbers
from fastreid_ext.data.datasets.csv_dataset import CSVDataset
from fastreid_ext.data.occlusion.rule import longest_runs, missing_joints
from fastreid_ext.data.own_images.entries import SPLITS, Entry
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.errors import ConfigError

TEST = ("query", "gallery")
NO_POSE, NO_JOINT = "no row in the pose file", "no key point was found in it"
NOBODY = "junk or a distractor, which is nobody in particular"


@dataclass(frozen=True)
class Photo:
    """An image and what its key points say.

    Attributes:
        entry: path, person, camera and split.
        row: the name of its row in the pose file.
        missing: how many key points are missing.
        run: the largest number of sequential ones.
        occluded: whether that is too many.
    """

    entry: Entry
    row: str
    missing: int
    run: int
    occluded: bool


@dataclass
class Source:
    """The images of a data set.

    Attributes:
        name: of the set.
        entries: by path, each image once.
        dataset: of FastReID.
        said: what was assumed, in sentences.
        left_out: reason -> paths.
    """

    name: str
    entries: list[Entry]
    dataset: ImageDataset
    said: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def source_of(source: str) -> Source:
    """List the images of a registered data set, or of a folder with train.csv, query.csv or gallery.csv.

    Raises:
        DataSetError, LayoutError: it is missing or broken.
    """
    if source not in DATASET_REGISTRY._obj_map and any((Path(source) / f"{split}.csv").is_file() for split in SPLITS):
        kind = type("OwnImages", (CSVDataset,), {"folder": str(Path(source).resolve()), "dataset_name": "own"})
        return _of_csv(Path(source).resolve().name, kind(root="."))
    splits: dict[str, list[tuple]] = {}
    refused: list[DataSetError] = []
    for wanted in (("train",), TEST):
        try:
            dataset = load_dataset(source, wanted)
        except DataSetError as error:  # a set may have only one of the two
            refused.append(error)
            continue
        splits |= {split: getattr(dataset, split) for split in wanted}
    if not splits:
        raise refused[-1]
    found = _of_csv(source, dataset) if isinstance(dataset, CSVDataset) else _of_registered(source, dataset, splits)
    found.said += [f"only its {' and '.join(splits)} images are used: {error}" for error in refused]
    return found


def _of_csv(name: str, dataset: CSVDataset) -> Source:
    rows = {split: dataset.read_words(split) for split in SPLITS}
    entries = [
        Entry(Path(path), os.path.normpath(path), *labels, split) for split in SPLITS for path, *labels in rows[split]
    ]
    return Source(name, _once(entries), dataset)


def _of_registered(name: str, dataset: ImageDataset, splits: dict[str, list[tuple]]) -> Source:
    """Training labels are texts behind the set's name, test labels are numbers."""
    prefix = f"{getattr(dataset, 'dataset_name', '')}_"
    found = Source(name, [], dataset)
    nobody = {str(person) for person in dataset._junk_pids}
    entries = []
    for split, items in splits.items():
        for path, person, camera in sorted(items):
            words = str(person).removeprefix(prefix), str(camera).removeprefix(prefix)
            if words[0] in nobody:
                found.left_out[NOBODY].append(path)
            else:
                entries.append(Entry(Path(path), path, *words, split))
    train = {entry.person for entry in entries if entry.split == "train"}
    both = train & {entry.person for entry in entries if entry.split != "train"}
    if both and not same_numbers(dataset):
        found.said.append(
            f"{len(both)} numbers of {name} are persons of its training and of its test set; they count as different"
            " persons, and those of training are written as train-<number>"
        )
        entries = [replace(e, person=f"train-{e.person}") if e.split == "train" else e for e in entries]
    found.entries = _once(entries)
    return found


def _once(entries: Sequence[Entry]) -> list[Entry]:
    """Of an image that is query and gallery, keep the query."""
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(str(entry.path), entry)
    return [first[path] for path in sorted(first)]


def judged(
    source: Source, poses: Poses, orders: Sequence[Sequence[int]], sequential: int, confidence: float
) -> list[Photo]:
    """Judge every image that has a pose; the others are noted in ``source.left_out``.

    Args:
        source: the images.
        poses: with COCO's 17 joints.
        orders: of the joints.
        sequential: so many missing joints next to each other in one of them make an image occluded.
        confidence: up to which a joint is missing.

    Raises:
        PoseError: other joints, a row for none of the images, or one that fits two of them.
        ConfigError: more sequential joints than there are in an order.
    """
    if poses.joints.shape[1] != len(COCO_JOINTS):
        raise PoseError(
            f"the pose file has {poses.joints.shape[1]} joints an image: COCO's {len(COCO_JOINTS)} are needed"
        )
    most = min(map(len, orders))
    if not 1 <= sequential <= most:
        raise ConfigError(f"--sequential is {sequential} and must be from 1 to {most}, the key points of --order")
    rows = _rows(source, poses)
    if not rows:
        raise PoseError(
            f"the pose file has a row for none of the {len(source.entries)} images of {source.name}, such as"
            f" {source.entries[0].name}: its rows are paths below the folder that pose run or import was given"
        )
    entries = [entry for entry in source.entries if entry.name in rows]
    joints, sizes = (np.array(values) for values in zip(*(poses.of(rows[e.name]) for e in entries), strict=True))
    missing = missing_joints(joints, sizes, confidence)
    runs, photos = longest_runs(missing, orders), []
    for entry, gone, run in zip(entries, missing, runs.tolist(), strict=True):
        if gone.all():
            source.left_out[NO_JOINT].append(entry.name)
        else:
            photos.append(Photo(entry, rows[entry.name], int(gone.sum()), run, run >= sequential))
    return photos


def _rows(source: Source, poses: Poses) -> dict[str, str]:
    """Return the row of each image that has one: the longest end of its path, as ``Poses.shares_of`` takes it."""
    rows: dict[str, str] = {}
    used: dict[str, str] = {}
    for entry in source.entries:
        parts = PurePosixPath(entry.path.as_posix()).parts
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        row = next((end for end in ends if end in poses), None)
        if row is None:
            source.left_out[NO_POSE].append(entry.name)
            continue
        if row in used:
            raise PoseError(
                f"the pose file has the row {row}, and both {used[row]} and {entry.name} end like that: make it from"
                " the folder of the whole data set"
            )
        used[row], rows[entry.name] = entry.name, row
    return rows
