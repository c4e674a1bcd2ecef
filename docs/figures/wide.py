"""Draws the contact sheets of docs/wide.md, without making the whole set: python docs/figures/wide.py FOLDER."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from fastreid_ext.data.synthetic import splits
from fastreid_ext.data.synthetic.sizes import SIZES, Size
from fastreid_ext.data.synthetic.splits import Shot
from fastreid_ext.data.synthetic.writer import take

ROWS, COLUMNS = 5, 12
CELL = (96, 192)  # width and height in pixels
QUALITY = 82


def row(size: Size, shots: Sequence[Shot]) -> np.ndarray:
    """Return the images of a person beside each other, those with an occluder last."""
    shots = sorted(shots, key=lambda shot: shot.occluder is not None)
    chosen = shots[: COLUMNS - 3] + shots[-3:]
    pictures = [cv2.imdecode(np.frombuffer(take(shot, size, 0).jpeg, np.uint8), 1) for shot in chosen]
    return np.hstack([cv2.resize(picture, CELL, interpolation=cv2.INTER_AREA) for picture in pictures])


def sheet(name: str, wanted: Callable[[Shot], bool], rows: int) -> np.ndarray:
    """Return the first people of a size whose images are ``wanted``, a person a row."""
    people: dict[int, list[Shot]] = {}
    for shot in splits.plan(SIZES[name], 0, False):
        if shot.directory != splits.TRAIN and wanted(shot):
            people.setdefault(shot.identity, []).append(shot)
    return np.vstack([row(SIZES[name], people[person]) for person in sorted(people)[:rows]])


def main(folder: Path) -> None:
    """Write a sheet of each world, and one of all beside the size ``demo``."""
    worlds = SIZES["wide"].worlds
    both = []
    for number, world in enumerate(worlds):
        drawn = sheet("wide", lambda shot, number=number: shot.world == number, ROWS)
        both.append(drawn[: 2 * CELL[1], : 8 * CELL[0]])
        cv2.imwrite(str(folder / f"wide_{world}.jpg"), drawn, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    demo = sheet("demo", lambda shot: True, 2 * len(worlds))[:, : 6 * CELL[0]]
    beside = np.hstack((np.vstack(both), np.full((demo.shape[0], 12, 3), 255, np.uint8), demo))
    cv2.imwrite(str(folder / "wide_and_demo.jpg"), beside, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
