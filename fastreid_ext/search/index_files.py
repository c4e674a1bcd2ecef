"""Indexes on disk, next to their features: arrays that are checked before faiss gets them.

A record lies beside each (SHA-256 of the file, hash of the features, parameters), which keeps out stale and damaged
ones. It is no signature: who can write into the store can write both files, and an index that fits can still give wrong
candidates; ``--rebuild`` reads none.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import faiss

from fastreid_ext.errors import FileError
from fastreid_ext.files import file_hash, reason, write_atomically, write_text
from fastreid_ext.foreign_files import are_whole_numbers, read_arrays, read_json, shown, write_arrays
from fastreid_ext.inference.fingerprints import versions
from fastreid_ext.search.features import FeatureStore, StoreError, features_hash
from fastreid_ext.search.index import Plan, build_index
from fastreid_ext.search.index_arrays import KINDS, IndexArraysError, arrays_of, index_of
from fastreid_ext.search.kinds import BUILD, NAMES

FORMAT = "fastreid-ext index 2"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedIndex:
    """An index, its file, and how it was built.

    Attributes:
        index: of faiss.
        build: the parameters that it was built with.
        path: its file; None for a flat index, which is nothing but the features.
        loaded: it was there; otherwise it was built now.
    """

    index: faiss.Index
    build: dict[str, int]
    path: Path | None
    loaded: bool


def index_paths(store: FeatureStore, kind: str) -> tuple[Path, Path]:
    """Return where the index of a kind and its record lie."""
    return store.folder / f"index_{kind}.npz", store.folder / f"index_{kind}.json"


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
    saved = bool(KINDS[plan.kind])
    found = [each for each in (path, record) if each.exists()]
    if saved and not rebuild and len(found) == 1:
        logger.warning("%s is alone, as a run leaves it that was stopped while it saved the index: built again", *found)
    if saved and not rebuild and len(found) == 2:
        build = _checked_record(store, plan, path, record, wanted)
        try:
            index = index_of(read_arrays(path, KINDS[plan.kind]), store, plan.kind, build)
        except (FileError, IndexArraysError) as error:
            raise StoreError(
                f"{path} is not the {NAMES[plan.kind]} index of {len(store)} features ({error}); use --rebuild to build"
                " it again"
            ) from error
        return OpenedIndex(index, build, path, True)
    if features_hash(store.features) != store.fingerprint:
        raise StoreError(f"the features of {store.folder} are not those that were extracted: extract them anew")
    index = build_index(store, plan, seed, threads)
    if not saved:
        return OpenedIndex(index, dict(plan.build), None, False)
    try:
        if record.is_file():  # of an index before: neither may be taken for the other's
            record.unlink()
    except OSError as error:
        raise StoreError(f"{record} can't be replaced: {reason(error)}") from error
    write_atomically(path, lambda file: write_arrays(file, arrays_of(index, plan.kind)))
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
    for each in (path, record):
        if not each.is_file():
            raise StoreError(f"{each} is not a file: remove it")
    try:
        about = read_json(record)
        build = {name: about["build"][name] for name in BUILD[plan.kind]}
        said = about["format"], about["kind"], about["features_sha256"], about["file_sha256"]
        same = file_hash(path) == said[3]
    except (FileError, KeyError, TypeError) as error:
        raise StoreError(f"{record} is not a record of an index ({error}){way_out}") from error
    except OSError as error:
        raise StoreError(f"{path} can't be read: {reason(error)}") from error
    if said[:2] != (FORMAT, plan.kind):
        raise StoreError(f"{record} is of {shown(said[0])}, {shown(said[1])}{way_out}")
    if not are_whole_numbers(build.values(), least=1):
        raise StoreError(f"{record} is not a record of an index (its parameters are {shown(build)}){way_out}")
    if said[2] != store.fingerprint:
        raise StoreError(f"{path} is an index of other features than those beside it{way_out}")
    if not same:
        raise StoreError(f"{path} is damaged, or not the file that was written with {record.name}{way_out}")
    others = {name: build[name] for name in BUILD[plan.kind] if name in wanted and build[name] != plan.build[name]}
    if others:
        there = ", ".join(f"{name} {value}" for name, value in others.items())
        raise StoreError(f"{path} was built with {there}{way_out} as asked for")
    return build
