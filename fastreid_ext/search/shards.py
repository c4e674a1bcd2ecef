"""A feature store as files that a vector database loads: Parquet, or NumPy arrays with a table beside each."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastreid_ext.data.labels import COLUMNS, UNKNOWN
from fastreid_ext.errors import ConfigError, MissingExtraError
from fastreid_ext.files import file_hash, make_folder, write_atomically, write_text
from fastreid_ext.foreign_files import shown
from fastreid_ext.search.features import IDENTITY, FeatureStore, StoreError

MANIFEST = "manifest.json"
FORMAT = "fastreid-ext shards 1"


def write_shards(store: FeatureStore, folder: Path, kind: str = "parquet", rows: int = 100_000) -> dict[str, Any]:
    """Write a store as shards, one after the other, and return the manifest, which is written last.

    A shard has the columns ``id`` (row of the store), ``path`` (below ``root`` of the manifest), ``person``, ``camera``
    and ``vector`` (float32, as the model gave it). As Parquet it is one file, where unknown persons and cameras are
    null; as NumPy it is ``<shard>.npy`` (n, D) and ``<shard>.csv`` with the other columns.

    Args:
        store: what is written.
        folder: empty, or with what an interrupted run of the same command left.
        kind: "parquet" or "npy".
        rows: features in a shard; one shard at a time is in memory.

    Raises:
        ConfigError, StoreError: the folder holds something else, or no rows.
        MissingExtraError: Parquet without pyarrow.
    """
    if rows < 1:
        raise ConfigError(f"a shard of {rows} rows is not possible: use 1 or more")
    writer = {"parquet": parquet_writer, "npy": npy_writer}[kind]()
    make_folder(folder)
    count = -(-len(store) // rows)
    names = [f"shard-{n:05d}" for n in range(count)]
    expected = {f"{name}{suffix}" for name in names for suffix in (".parquet", ".npy", ".csv")}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in expected and path.suffix != ".tmp")
    if foreign:
        raise StoreError(f"{folder} holds {foreign[0]}: shards go into a folder of their own")
    shards = []
    for n, name in enumerate(names):
        first, last = n * rows, min((n + 1) * rows, len(store))
        files = writer(store, first, last, folder / name)
        hashes = {file.name: file_hash(file) for file in files}
        shards.append({"first_id": first, "rows": last - first, "files": hashes})
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "count": len(store),
        "dim": store.features.shape[1],
        "root": str(store.images.root),
        **{key: store.meta[key] for key in IDENTITY},
        "features_sha256": store.fingerprint,
        "shards": shards,
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest


Writer = Callable[[FeatureStore, int, int, Path], list[Path]]


def parquet_writer() -> Writer:
    """Return what writes rows of a store as one Parquet file.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "Parquet needs pyarrow: pip install fastreid-ext[parquet]; --format npy needs nothing"
        ) from error

    def write(store: FeatureStore, first: int, last: int, stem: Path) -> list[Path]:
        vectors = np.ascontiguousarray(store.features[first:last], dtype=np.float32)
        labels = list(zip(*store.images.rows[first:last], strict=True))
        for word in (word for column in labels for word in column):
            if not word.isascii() and word != word.encode(errors="replace").decode():
                raise StoreError(f"Parquet holds UTF-8 alone, and {shown(word)} is not: use --format npy")
        person, camera = ([None if word == UNKNOWN else word for word in column] for column in labels[1:])
        table = pyarrow.table(
            {
                "id": pyarrow.array(np.arange(first, last, dtype=np.int64)),
                "path": pyarrow.array(labels[0], pyarrow.string()),
                "person": pyarrow.array(person, pyarrow.string()),
                "camera": pyarrow.array(camera, pyarrow.string()),
                "vector": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), vectors.shape[1]),
            }
        )
        file = stem.with_name(f"{stem.name}.parquet")
        write_atomically(file, lambda opened: pyarrow.parquet.write_table(table, opened))
        return [file]

    return write


def npy_writer() -> Writer:
    """Return what writes rows of a store as an array and a table."""

    def write(store: FeatureStore, first: int, last: int, stem: Path) -> list[Path]:
        array, table = (stem.with_name(f"{stem.name}{suffix}") for suffix in (".npy", ".csv"))
        vectors = np.ascontiguousarray(store.features[first:last], dtype=np.float32)
        write_atomically(array, lambda opened: np.save(opened, vectors, allow_pickle=False))

        def rows(opened: BinaryIO) -> None:
            text = io.TextIOWrapper(opened, encoding="utf-8", errors="surrogateescape", newline="")
            lines = csv.writer(text, lineterminator="\n")
            lines.writerow(("id", *COLUMNS))
            lines.writerows((n, *store.images.rows[n]) for n in range(first, last))
            text.flush()
            text.detach()

        write_atomically(table, rows)
        return [array, table]

    return write
