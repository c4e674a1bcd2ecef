"""A feature store: a folder with a memory-mapped array, the images that its rows belong to, and their origin.

====================  ===============================================================================================
``features.npy``      (N, D) float32 or float16, as the model gave them: not normalised
``images.csv``        path, person, camera of each row
``meta.json``         model, config and list; progress; :data:`FORMAT`
====================  ===============================================================================================
"""

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.data.labels import COLUMNS
from fastreid_ext.errors import FileError, UserError, first_line
from fastreid_ext.evaluation.distances import DISTANCE_METRICS
from fastreid_ext.files import locked, read_bytes, reason, write_text
from fastreid_ext.foreign_files import are_whole_numbers, csv_rows, map_array, read_json, shown
from fastreid_ext.search.image_list import ImageList

FEATURES, IMAGES, META, LOCK = "features.npy", "images.csv", "meta.json", ".lock"
FORMAT = "fastreid-ext features 1"
BLOCK_BYTES = 64 << 20
IDENTITY = ("architecture", "model_sha256", "config_sha256", "metric", "flip")


class StoreError(UserError):
    """A feature store or an index that is missing, unfinished or of another model."""


@dataclass(frozen=True)
class FeatureStore:
    """A finished store.

    Attributes:
        folder: where it lies.
        features: (N, D), mapped from the disk for reading.
        images: of the rows.
        meta: what meta.json says.
    """

    folder: Path
    features: np.ndarray
    images: ImageList
    meta: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """TEST.METRIC of the config that the features were made with: "cosine" or "euclidean"."""
        return self.meta["metric"]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the features' bytes."""
        return self.meta["features_sha256"]

    def __len__(self) -> int:
        return len(self.features)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, rows as float32) over the whole store, some 64 MB at a time."""
        yield from blocks_of(self.features)


def blocks_of(features: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, rows as float32) over an array (N, D), some 64 MB at a time."""
    rows = max(1, BLOCK_BYTES // (4 * features.shape[1]))
    for start in range(0, len(features), rows):
        yield start, np.array(features[start : start + rows], dtype=np.float32)  # a copy, in memory


def features_hash(features: np.ndarray) -> str:
    """Return the SHA-256 of the type, the shape and the bytes of an array (N, D), read block by block."""
    digest = hashlib.sha256(f"{features.dtype.str} {features.shape}\n".encode())
    rows = max(1, BLOCK_BYTES // (features.itemsize * features.shape[1]))
    for start in range(0, len(features), rows):
        digest.update(np.ascontiguousarray(features[start : start + rows]))
    return digest.hexdigest()


def open_store(folder: Path) -> FeatureStore:
    """Open a finished store.

    Raises:
        StoreError: there is none, it is not finished, or its files do not fit each other.
    """
    meta = read_meta(folder)
    if meta is None:
        raise StoreError(f"{folder} is not a feature store: it has no {META}; create one with fastreid-ext extract")
    if not meta.get("complete"):
        raise StoreError(
            f"the feature store {folder} has {meta['done']} of {meta['listed']} images: run the same fastreid-ext"
            " extract command again to continue"
        )
    features = map_features(folder, (meta["count"], meta["dim"]), meta["dtype"])
    try:
        # file names of another encoding, as the system gives them
        text = read_bytes(folder / IMAGES).decode("utf-8", errors="surrogateescape")
    except FileError as error:
        raise StoreError(str(error)) from error
    header, *rows = [tuple(row) for _, row in csv_rows(text, folder / IMAGES, spaces=False)] or [()]
    if header != COLUMNS or len(rows) != meta["count"] or any(len(row) != len(COLUMNS) for row in rows):
        raise StoreError(f"{folder / IMAGES} does not have {meta['count']} rows of {', '.join(COLUMNS)}")
    return FeatureStore(folder, features, ImageList(Path(meta["root"]), rows, meta["source"]), meta)


def read_meta(folder: Path) -> dict[str, Any] | None:
    """Return what a store's meta.json says; None without one.

    Raises:
        StoreError: the file does not describe a store.
    """
    file = folder / META
    if not file.exists():
        return None
    try:
        meta = read_json(file)
    except FileError as error:
        raise StoreError(f"{error}, so {folder} is not a feature store") from error
    if not isinstance(meta, dict) or "format" not in meta:
        raise StoreError(f"{file} does not describe a feature store: it is of another kind")
    if meta["format"] != FORMAT:
        raise StoreError(f"{file} says {shown(meta['format'])}, this version reads {FORMAT!r}")
    _check_meta(meta, file)
    return meta


def _check_meta(meta: Mapping[str, Any], file: Path) -> None:
    complete = meta.get("complete", False)
    texts = ["dtype", "root", "source", "images_sha256", *(set(IDENTITY) - {"flip"})]
    texts += ["features_sha256"] if complete else []
    numbers = ("dim", "count", "done", "listed")
    absent = {*texts, *numbers, *IDENTITY, "skipped"} - set(meta)
    if absent:
        raise StoreError(f"{file} lacks {', '.join(sorted(absent))}")
    for key in texts:
        if not isinstance(meta[key], str):
            raise StoreError(f"{file} has the {key} {shown(meta[key])}, which must be text")
    if meta["metric"] not in DISTANCE_METRICS or meta["dtype"] not in ("float32", "float16"):
        raise StoreError(f"{file} has the metric {shown(meta['metric'])} and the type {shown(meta['dtype'])}")
    _, count, done, listed = sizes = [meta[key] for key in numbers]
    if not (are_whole_numbers(sizes) and count <= done <= listed and (min(sizes) > 0 or not complete)):
        raise StoreError(f"{file} has {', '.join(f'{key} {shown(meta[key])}' for key in numbers)}, which do not fit")
    skipped = meta["skipped"]
    if not isinstance(skipped, list) or not all(
        isinstance(one, dict) and all(isinstance(one.get(key), str) for key in ("path", "reason")) for one in skipped
    ):
        raise StoreError(f"{file} has skipped images without a path or a reason")


def map_features(folder: Path, shape: tuple[int, int], dtype: str, mode: str = "r") -> np.ndarray:
    """Map a store's features from the disk.

    Raises:
        StoreError: no such file, or an array of another shape or type.
    """
    file = folder / FEATURES
    try:
        return map_array(file, shape, np.dtype(dtype), mode)
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} can't be read: {first_line(error)}") from error


def check_comparable(ours: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, str]) -> None:
    """Check that two sets of features were made by one model and config.

    Raises:
        StoreError: they were not; the message says how they differ.
    """
    what = {
        "architecture": "another meta-architecture",
        "model_sha256": "other weights",
        "config_sha256": "another config (MODEL, INPUT.SIZE_TEST, INPUT.CROP or TEST.FLIP)",
        "metric": "another TEST.METRIC",
        "flip": "another TEST.FLIP",
    }
    different = [what[key] for key in IDENTITY if ours[key] != other[key]]
    if different:
        raise StoreError(f"{names[0]} and {names[1]} can't be compared: {' and '.join(different)}")


def images_text(rows: Sequence[Sequence[str]]) -> str:
    """Return the text of images.csv."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(rows)
    return text.getvalue()


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write meta.json, whole or not at all."""
    write_text(folder / META, json.dumps(meta, indent=1) + "\n")


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep a second process from writing into a store; the system frees the lock however this one ends.

    Raises:
        FileError: one writes already.
    """
    with locked(folder / LOCK, busy=f"another process writes into {folder}: wait for it, or choose another folder"):
        yield


def reserve(file: Path, size: int) -> None:
    """Reserve the disk space of a file: writing to a memory-mapped file on a full disk kills the process silently.

    Raises:
        FileError: there is not enough.
    """
    if not hasattr(os, "posix_fallocate"):  # Windows
        return
    with open(file, "r+b") as opened:
        try:
            os.posix_fallocate(opened.fileno(), 0, size)
        except OSError as error:
            raise FileError(f"{file} needs {size / 1e9:.2f} GB on the disk: {reason(error)}") from error
