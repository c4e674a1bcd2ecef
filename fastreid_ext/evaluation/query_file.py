"""``queries_<test set>.json``: how well each query was answered, for statistics over several runs."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.evaluation.groups import Group
from fastreid_ext.evaluation.query_metrics import QueryMetrics
from fastreid_ext.files import write_text

FORMAT = "fastreid-ext queries 1"
DIGITS = 6


def write_queries(
    path: Path,
    about: dict[str, Any],
    metrics: QueryMetrics,
    images: Sequence[str],
    pids: np.ndarray,
    groups: Sequence[Group] = (),
) -> None:
    """Write the file, whole or not at all.

    Args:
        path: of the file.
        about: which test set.
        metrics: of all queries; one without a match has a first rank of 0.
        images, pids: paths and identities of the queries, of which :func:`names_of` and the numbers are written.
        groups: of queries; of each the indices are written.

    Raises:
        FileError: it can't be written.
    """
    columns = {
        "images": names_of(images),
        "people": [int(pid) for pid in pids],
        "first_rank": metrics.first_rank.tolist(),
        "average_precision": [round(value, DIGITS) for value in metrics.average_precision.tolist()],
        "groups": {group.label: np.flatnonzero(group.members).tolist() for group in groups},
    }
    write_text(path, json.dumps({"format": FORMAT, **about, **columns}) + "\n")


def names_of(images: Sequence[str]) -> list[str]:
    """Return paths below the folder that all of them share, with "/": no two images have one name.

    Where all are in one folder they are its files' names, and wherever that folder is they are the same.
    """
    try:
        shared = os.path.commonpath([os.path.dirname(image) for image in images])
    except ValueError:  # of no image, of two drives, or of absolute and relative paths
        return [Path(image).as_posix() for image in images]
    return [Path(os.path.relpath(image, shared or ".")).as_posix() for image in images]
