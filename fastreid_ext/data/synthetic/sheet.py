"""A contact sheet: one person a row, in different cameras and behind different occluders."""

import json
from pathlib import Path

import cv2
import numpy as np

from .splits import GALLERY, QUERY, QUERY_OCCLUDED, TRAIN

JOINT_COLOURS = ((90, 220, 90), (60, 170, 250))  # BGR of a joint in sight and of a hidden one
TEST_SPLITS = (QUERY, QUERY_OCCLUDED, GALLERY)


def read_images(directory, splits):
    """All images of ``splits`` with their joints: {person id: [(split, image entry, keypoints (17, 3)), ...]}."""
    people = {}
    for split in splits:
        path = Path(directory) / "keypoints" / f"{split}.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: {directory} is no finished SynthReID.")
        content = json.loads(path.read_text(encoding="ascii"))
        for image, annotation in zip(content["images"], content["annotations"], strict=True):
            joints = np.array(annotation["keypoints"], float).reshape(-1, 3)
            people.setdefault(image["person_id"], []).append((split, image, joints))
    return people


def chosen(images, columns):
    """``columns`` of a person's images, the camera going round and every other one occluded if there are any."""
    clean = sorted((i for i in images if i[1]["occluder"] is None), key=lambda i: i[1]["camera"])
    occluded = [i for i in images if i[1]["occluder"] is not None]
    # One image of each camera before the second of any.
    seen = {}
    ranked = []
    for entry in clean:
        camera = entry[1]["camera"]
        seen[camera] = seen.get(camera, 0) + 1
        ranked.append((seen[camera], camera, entry))
    clean = [entry for _, _, entry in sorted(ranked, key=lambda item: item[:2])]
    return (clean[: columns - min(len(occluded), columns // 3)] + occluded)[:columns]


def contact_sheet(directory, columns=12, rows=8, first=0, scale=1, joints=False, train=False):
    """A (rows * height * scale, columns * width * scale, 3) uint8 BGR picture of a finished SynthReID.

    Each row is a person of the test set (of the training set with ``train``), beginning with person number
    ``first``: two thirds of the columns clean and one third occluded, where there are enough.
    ``joints`` draws the keypoints, hidden ones in orange.
    """
    directory = Path(directory)
    people = read_images(directory, (TRAIN,) if train else TEST_SPLITS)
    lines = []
    for person in sorted(people)[first : first + rows]:
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
        raise ValueError(f"{directory} has {len(people)} people: there is none from number {first} on.")
    return np.vstack(lines)


def draw_joints(cell, points, scale):
    """Marks the joints (17, 3) that are inside the image on ``cell``."""
    for x, y, visibility in points:
        if visibility:
            centre = round((x + 0.5) * scale), round((y + 0.5) * scale)
            cv2.circle(cell, centre, max(1, scale), JOINT_COLOURS[int(visibility == 1)], -1)
