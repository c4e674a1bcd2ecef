"""A contact sheet: one person a row, in different cameras and behind different occluders."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fastreid_ext.data.synthetic.splits import GALLERY, QUERY, QUERY_OCCLUDED, TRAIN
from fastreid_ext.errors import ConfigError, FileError

Entry = tuple[str, dict[str, Any], np.ndarray]  # split, image of the COCO file, keypoints (17, 3)

JOINT_COLOURS = ((90, 220, 90), (60, 170, 250))  # BGR of a joint in sight and of a hidden one
TEST_SPLITS = (QUERY, QUERY_OCCLUDED, GALLERY)


def read_images(directory: Path, splits: Sequence[str]) -> dict[int, list[Entry]]:
    """Return the images of some splits with their joints, by person.

    Raises:
        FileError: the directory is not a complete SynthReID.
    """
    people: dict[int, list[Entry]] = {}
    for split in splits:
        path = Path(directory) / "keypoints" / f"{split}.json"
        if not path.is_file():
            raise FileError(f"{path} is missing: {directory} is not a complete SynthReID.")
        content = json.loads(path.read_text(encoding="ascii"))
        for image, annotation in zip(content["images"], content["annotations"], strict=True):
            joints = np.array(annotation["keypoints"], float).reshape(-1, 3)
            people.setdefault(image["person_id"], []).append((split, image, joints))
    return people


def test_sets(directory: Path) -> list[str]:
    """Return the suffixes of the test sets; that of the only one if nothing is there."""
    names = sorted(path.stem for path in (directory / "keypoints").glob(f"{GALLERY}*.json"))
    return [name.removeprefix(GALLERY) for name in names] or [""]


def chosen(images: Sequence[Entry], columns: int) -> list[Entry]:
    """Return ``columns`` of a person's images: clean ones of every camera in turn, then up to a third occluded ones."""
    clean = sorted((i for i in images if i[1]["occluder"] is None), key=lambda i: i[1]["camera"])
    occluded = [i for i in images if i[1]["occluder"] is not None]
    # One image of each camera before the second of any.
    seen: dict[int, int] = {}
    ranked = []
    for entry in clean:
        camera = entry[1]["camera"]
        seen[camera] = seen.get(camera, 0) + 1
        ranked.append((seen[camera], camera, entry))
    clean = [entry for _, _, entry in sorted(ranked, key=lambda item: item[:2])]
    return (clean[: columns - min(len(occluded), columns // 3)] + occluded)[:columns]


def contact_sheet(
    directory: Path | str,
    columns: int = 12,
    rows: int = 8,
    first: int = 0,
    scale: int = 1,
    joints: bool = False,
    train: bool = False,
    test_set: str | None = None,
) -> np.ndarray:
    """Draw a contact sheet of a finished SynthReID, a person a row.

    Two thirds of the columns are clean and one third occluded, where there are enough.

    Args:
        directory: of the data set.
        columns: images of each person.
        rows: people.
        first: number of the first person, from 0.
        scale: whole factor by which images are enlarged.
        joints: draw the keypoints, hidden ones in orange.
        train: people of the training set, instead of those of the test sets.
        test_set: suffix of the only test set to show; None for a person of each in turn.

    Returns:
        (rows * height * scale, columns * width * scale, 3) uint8, BGR; fewer rows if there are fewer people.

    Raises:
        FileError: the directory is not a complete SynthReID.
        ConfigError: there is no person of that number.
    """
    directory = Path(directory)
    suffixes = test_sets(directory) if test_set is None else [test_set]
    sets = [[TRAIN]] if train else [[split + suffix for split in TEST_SPLITS] for suffix in suffixes]
    found = [read_images(directory, splits) for splits in sets]
    people = {person: images for each in found for person, images in each.items()}
    in_turn = [p for row in itertools.zip_longest(*(sorted(each) for each in found)) for p in row if p is not None]
    lines = []
    for person in in_turn[first : first + rows]:
        cells = []
        for split, image, points in chosen(people[person], columns):
            cell = cv2.imread(str(directory / split / image["file_name"]))
            cell = cv2.resize(cell, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
            if joints:
                draw_joints(cell, points, scale)
            cells.append(cell)
        cells.extend(np.zeros_like(cells[0]) for _ in range(columns - len(cells)))
        lines.append(np.hstack(cells))
    if not lines:
        raise ConfigError(f"{directory} has {len(people)} people: none has the number {first} or a higher one.")
    return np.vstack(lines)


def draw_joints(cell: np.ndarray, points: np.ndarray, scale: int) -> None:
    """Mark the joints (17, 3) that are inside the image on ``cell``."""
    for x, y, visibility in points:
        if visibility:
            centre = round((x + 0.5) * scale), round((y + 0.5) * scale)
            cv2.circle(cell, centre, max(1, scale), JOINT_COLOURS[int(visibility == 1)], -1)
