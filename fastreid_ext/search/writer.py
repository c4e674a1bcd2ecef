"""Filling a feature store so that a process killed at any moment loses at most what it did since the last save."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastreid_ext.errors import DivergedError
from fastreid_ext.files import make_folder, write_atomically, write_text
from fastreid_ext.search.features import (
    FEATURES,
    FORMAT,
    IDENTITY,
    IMAGES,
    StoreError,
    blocks_of,
    check_comparable,
    features_hash,
    images_text,
    map_features,
    read_meta,
    reserve,
    write_meta,
)
from fastreid_ext.search.image_list import ImageList


class FeatureWriter:
    """Fills a store row by row, in the order of its list of images; goes on where an earlier one stopped.

    Args:
        folder: of the store; made if need be, empty or begun by a writer with the same arguments.
        images: what features are made of.
        identity: the keys ``IDENTITY``: what model and config make them.
        dtype: "float32" or "float16".
        versions: of what makes them, for meta.json.

    Attributes:
        done: number of processed images of the list, skipped ones included.
        complete: nothing is left to do.

    Raises:
        StoreError: the folder has features of another model, config, list or type, or files of something else.
    """

    def __init__(
        self,
        folder: Path,
        images: ImageList,
        identity: Mapping[str, Any],
        dtype: str = "float32",
        versions: Mapping[str, str] | None = None,
    ):
        make_folder(folder)
        self.folder, self.images = folder, images
        begun = read_meta(folder)
        if begun is None:
            present = [name for name in (FEATURES, IMAGES) if (folder / name).exists()]
            if present:
                raise StoreError(f"{folder} holds {' and '.join(present)}, but no store: choose another folder")
            begun = {
                "format": FORMAT,
                "source": images.source,
                **{key: identity[key] for key in IDENTITY},
                "dtype": dtype,
                "dim": 0,
                "listed": len(images.rows),
                "done": 0,
                "count": 0,
                "complete": False,
                "skipped": [],
                "images_sha256": images.fingerprint(),
                "versions": dict(versions or {}),
            }
        else:
            self._check_same(begun, identity, dtype)
        self.meta = begun | {"root": str(images.root)}
        self._features: np.ndarray | None = None
        if self.meta["count"] and not self.complete:
            self._features = self._begun_features()

    @property
    def done(self) -> int:
        return self.meta["done"]

    @property
    def complete(self) -> bool:
        return bool(self.meta["complete"])

    def _begun_features(self) -> np.ndarray:
        meta = self.meta
        try:
            return map_features(self.folder, (meta["listed"], meta["dim"]), meta["dtype"], mode="r+")
        except StoreError:
            if self.done < meta["listed"]:
                raise
            # killed in finish(), after the rows that skipped images left unused were cut off
            return map_features(self.folder, (meta["count"], meta["dim"]), meta["dtype"], mode="r+")

    def _check_same(self, begun: Mapping[str, Any], identity: Mapping[str, Any], dtype: str) -> None:
        way_out = "; choose another folder, or remove this one"
        try:
            check_comparable(begun, identity, (f"the features begun in {self.folder}", "those asked for now"))
        except StoreError as error:
            raise StoreError(f"{error}{way_out}") from error
        if begun["images_sha256"] != self.images.fingerprint():
            raise StoreError(
                f"{self.folder} was begun with the {begun['listed']} images of {begun['source']},"
                f" and {self.images.source} now lists others ({len(self.images.rows)}){way_out}"
            )
        if begun["dtype"] != dtype:
            raise StoreError(f"{self.folder} was begun in {begun['dtype']}, asked for is {dtype}{way_out}")

    def add(self, features: np.ndarray, tried: int, skipped: Sequence[tuple[int, str]] = ()) -> None:
        """Append the features of the next images.

        Args:
            features: (B, D), those of the images that could be read.
            tried: how many images of the list they are, with the skipped ones.
            skipped: (index in the list, reason) of those that could not be read.

        Raises:
            StoreError: features of another length.
            DivergedError: one that is not finite, or too large for float16.
            FileError: the disk is full.
        """
        if len(features) + len(skipped) != tried:
            raise ValueError(
                f"{tried} images were tried, {len(features)} have features and {len(skipped)} were skipped"
            )
        start = self.meta["count"]
        if len(features):
            with np.errstate(over="ignore"):  # said below, with a name
                rows = features.astype(self.meta["dtype"])
            self._check_finite(rows, skipped)
            mapped = self._mapped(features.shape[1])
            mapped[start : start + len(rows)] = rows
        self.meta["skipped"] += [{"path": self.images.rows[index][0], "reason": reason} for index, reason in skipped]
        self.meta["count"] = start + len(features)
        self.meta["done"] += tried

    def take(self, part: "FeatureWriter") -> None:
        """Append all that another writer has done of the next images, some 64 MB at a time."""
        count, start = part.meta["count"], self.meta["count"]
        if count:
            mapped = self._mapped(part.meta["dim"])
            for first, rows in blocks_of(part._features[:count]):
                mapped[start + first : start + first + len(rows)] = rows
        self.meta["skipped"] += part.meta["skipped"]
        self.meta["count"] = start + count
        self.meta["done"] += part.done

    def _mapped(self, dim: int) -> np.ndarray:
        if self._features is None:
            self.meta["dim"] = dim
            shape, dtype = (self.meta["listed"], dim), np.dtype(self.meta["dtype"])
            write_meta(self.folder, self.meta)  # before the array, which is no store without meta.json
            file = self.folder / FEATURES
            self._features = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
            reserve(file, file.stat().st_size)
        if dim != self.meta["dim"]:
            raise StoreError(f"the model gave features of length {dim} after some of length {self.meta['dim']}")
        return self._features

    def _check_finite(self, rows: np.ndarray, skipped: Sequence[tuple[int, str]]) -> None:
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(rows.astype(np.float32, copy=False), axis=1)
        bad = np.flatnonzero(~np.isfinite(lengths))  # float32 has no length for a row of 1e20 either
        if len(bad):
            left_out = {index for index, _ in skipped}
            indices = [p for p in range(self.done, self.done + len(rows) + len(skipped)) if p not in left_out]
            path = self.images.rows[indices[bad[0]]][0]
            hint = " as float16: leave --half out" if self.meta["dtype"] == "float16" else ""
            raise DivergedError(f"the feature of {path} has NaN, inf or too large numbers{hint}")

    def save(self) -> None:
        """Flush the added rows to the disk, then save the progress."""
        if self._features is not None:
            self._features.flush()
        write_meta(self.folder, self.meta)

    def finish(self) -> None:
        """Write the list of images and the features' hash, and mark the store as finished.

        Raises:
            StoreError: images are left, or none could be read.
        """
        if self.done < self.meta["listed"]:
            raise StoreError(f"{self.meta['listed'] - self.done} images have no features yet")
        if self._features is None:
            raise StoreError(f"none of the {self.done} images of {self.images.source} could be read")
        self.save()
        skipped = {entry["path"] for entry in self.meta["skipped"]}
        if len(self._features) > self.meta["count"]:
            self._cut()
        write_text(self.folder / IMAGES, images_text([row for row in self.images.rows if row[0] not in skipped]))
        self._features = None
        features = map_features(self.folder, (self.meta["count"], self.meta["dim"]), self.meta["dtype"])
        self.meta |= {"complete": True, "features_sha256": features_hash(features)}
        write_meta(self.folder, self.meta)

    def _cut(self) -> None:
        """Leave the unused rows at the end of the array out, by a copy that then takes its place."""
        shape, file = (self.meta["count"], self.meta["dim"]), self.folder / FEATURES
        kind = self._features.dtype

        def write(opened: BinaryIO) -> None:
            header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(opened, header)
            for _, rows in blocks_of(self._features[: shape[0]]):
                opened.write(rows.astype(kind).data)

        write_atomically(file, write)
