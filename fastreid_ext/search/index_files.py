"""Indexes on disk, next to their features.

faiss parses binary files without a defence against hostile ones, so only what lies in the store under our names, with
our record beside it (SHA-256 of the file, hash of the features, parameters), is given to it. That keeps out foreign,
stale and damaged files. It is no signature: who can write into the store can write both files, so a store from
somebody you do not trust is searched with ``--rebuild``, which reads no index at all.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss

from fastreid_ext.files import file_hash, write_atomically, write_text
from fastreid_ext.search.features import FeatureStore, StoreError, features_hash
from fastreid_ext.search.fingerprints import versions
from fastreid_ext.search.index import Plan, build_index
from fastreid_ext.search.kinds import BUILD, NAMES

FORMAT = "fastreid-ext index 1"
TYPES = {"flat": faiss.IndexFlat, "hnsw": faiss.IndexHNSWFlat, "ivfpq": faiss.IndexIVFPQ}


@dataclass(frozen=True)
class OpenedIndex:
    """An index, its file, and how it was built.

    Attributes:
        index: of faiss.
        build: the parameters that it was built with.
        path: its file.
        loaded: it was there; otherwise it was built now.
    """

    index: faiss.Index
    build: dict[str, int]
    path: Path
    loaded: bool


def index_paths(store: FeatureStore, kind: str) -> tuple[Path, Path]:
    """Return where the index of a kind and its record lie."""
    return store.folder / f"index_{kind}.faiss", store.folder / f"index_{kind}.json"


def open_index(
    store: FeatureStore, plan: Plan, wanted: set[str], rebuild: bool = False, seed: int = 0, threads: int = 1
) -> OpenedIndex:
    """Load the index of a store, or build and save it if there is none.

    Args:
        store: the gallery.
        plan: its kind and parameters.
        wanted: names of parameters that the user gave; a saved index has to have been built with those.
        rebuild: build it even if there is one.
        seed, threads: see :func:`fastreid_ext.search.index.build_index`.

    Raises:
        StoreError: what lies there is foreign, damaged, of other features or of other parameters; or features that
            are no longer those that were extracted.
    """
    path, record = index_paths(store, plan.kind)
    if not rebuild and (path.exists() or record.exists()):
        build = _checked_record(store, plan, path, record, wanted)
        index = faiss.read_index(str(path))
        _check_index(index, store, plan.kind, path)
        return OpenedIndex(index, build, path, True)
    if features_hash(store.features) != store.fingerprint:
        raise StoreError(f"the features of {store.folder} are not those that were extracted: extract them anew")
    index = build_index(store, plan, seed, threads)
    write_atomically(path, lambda file: faiss.write_index(index, faiss.PyCallbackIOWriter(file.write)))
    about = {
        "format": FORMAT,
        "kind": plan.kind,
        "build": dict(plan.build),
        "seed": seed,
        "count": len(store),
        "metric": store.metric,
        "features_sha256": store.fingerprint,
        "file_sha256": file_hash(path),
        "versions": versions(),
    }
    write_text(record, json.dumps(about, indent=1) + "\n")
    return OpenedIndex(index, dict(plan.build), path, False)


def _checked_record(store: FeatureStore, plan: Plan, path: Path, record: Path, wanted: set[str]) -> dict[str, int]:
    """Return the parameters of a saved index, after all that can be checked without parsing it."""
    way_out = "; use --rebuild to build it again"
    if not (path.is_file() and record.is_file()):
        there, absent = (path, record) if path.exists() else (record, path)
        raise StoreError(f"{there} exists without {absent.name}, so it is not opened{way_out}")
    try:
        about = json.loads(record.read_text(encoding="utf-8"))
        build = {name: int(about["build"][name]) for name in BUILD[plan.kind]}
        said = about["format"], about["kind"], about["features_sha256"], about["file_sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{record} is not a record of an index ({error!r}){way_out}") from error
    if said[:2] != (FORMAT, plan.kind):
        raise StoreError(f"{record} is of {said[0]!r}, {said[1]!r}{way_out}")
    if said[2] != store.fingerprint:
        raise StoreError(f"{path} is an index of other features than those beside it{way_out}")
    if file_hash(path) != said[3]:
        raise StoreError(f"{path} is damaged, or not the file that was written with {record.name}{way_out}")
    others = {name: build[name] for name in BUILD[plan.kind] if name in wanted and build[name] != plan.build[name]}
    if others:
        there = ", ".join(f"{name} {value}" for name, value in others.items())
        raise StoreError(f"{path} was built with {there}{way_out} as asked for")
    return build


def _check_index(index: Any, store: FeatureStore, kind: str, path: Path) -> None:
    metric = faiss.METRIC_INNER_PRODUCT if store.metric == "cosine" else faiss.METRIC_L2
    if (
        not isinstance(index, TYPES[kind])
        or (index.ntotal, index.d) != store.features.shape
        or index.metric_type != metric
    ):
        raise StoreError(f"{path} is not the {NAMES[kind]} index of {len(store)} features; use --rebuild")
