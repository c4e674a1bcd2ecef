"""The valid CUHK03 whose MATLAB files the fuzz damages."""

from pathlib import Path

import numpy as np
from cuhk03_files import BOXES, SHOTS, write_release, write_splits

FILES = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_2_06.png"]


def write_cuhk03(folder: Path) -> None:
    """Write two persons, each with one image a view."""
    images = [np.full((3, 4, 8), 50 + person, np.uint8) for person in (1, 2)]
    persons = [[image if shot in (0, 5) else None for shot in range(SHOTS)] for image in images]
    write_release(folder, dict.fromkeys(BOXES, persons), [[1], [2]])
    for boxes in BOXES:
        write_splits(folder, boxes, FILES, labels=[1, 1, 2, 2], train=[1, 2], query=[3], gallery=[4])
