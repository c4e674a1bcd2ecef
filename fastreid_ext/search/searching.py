"""Searches a gallery of features: queries, index, recall and output files."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.data.images import ImageError
from fastreid_ext.data.labels import UNKNOWN, alike_warning
from fastreid_ext.engine.joints import check_images_suffice
from fastreid_ext.errors import ConfigError, FileError
from fastreid_ext.evaluation.same_person import SamePerson
from fastreid_ext.files import make_folder
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.inference.fingerprints import feature_identity
from fastreid_ext.search.features import FeatureStore, check_comparable, open_store
from fastreid_ext.search.image_list import ImageList
from fastreid_ext.search.index import describe, plan_index, set_search
from fastreid_ext.search.index_files import OpenedIndex, open_index
from fastreid_ext.search.kinds import NAMES
from fastreid_ext.search.nearest import (
    MARGIN,
    Neighbours,
    answerable,
    neighbours,
    own_rows,
    rank_shares,
    recall,
    same_camera_rows,
)
from fastreid_ext.search.results import SearchResult, draw_sheet, list_lines, write_csv, write_json
from fastreid_ext.search.unknown import unknown_lines, verdicts_on

STRICT = "fpr_1e-3"  # of queries that are compared with a whole gallery
TOPK = 10
QUERIES = "the queries"
CODES_PER_RESULT = 4  # IVF-PQ's distances are rough: this many candidates per result are ordered by exact distances

Queries = tuple[ImageList, np.ndarray]  # and their features (Q, D)


def queries_of_store(folder: Path, gallery: FeatureStore) -> Queries:
    """Return images and features (Q, D) of the queries in a feature store.

    Raises:
        StoreError: they were made by another model or config than the gallery's.
    """
    store = open_store(folder)
    check_comparable(store.meta, gallery.meta, _names(gallery))
    return store.images, store.features


def queries_of_images(
    cfg: CfgNode, model: nn.Module, paths: Sequence[Path], gallery: FeatureStore | None, name: str = QUERIES
) -> Queries:
    """Return images and features (Q, D) of image files.

    Args:
        cfg, model: of the features; the model is in eval mode.
        paths: of the files.
        gallery: that they are compared with; None = one by the same model.
        name: of the queries in messages.

    Raises:
        StoreError: they were made by another model or config than the gallery's.
        ConfigError, ImageError: the model needs more than images, or one can't be read.
    """
    check_images_suffice(model)
    if gallery is not None:
        check_comparable(feature_identity(cfg, model), gallery.meta, (name, _names(gallery)[1]))
    rows = [(str(path), UNKNOWN, UNKNOWN) for path in paths]
    images = ImageList(Path.cwd(), rows, f"{len(rows)} images")
    return images, Extractor.of_model(cfg, model, normalise=False).files(paths)


def _names(gallery: FeatureStore) -> tuple[str, str]:
    return QUERIES, f"the gallery {gallery.folder}"


@dataclass(frozen=True)
class SearchOptions:
    """How a gallery is searched.

    Attributes:
        index: "flat", "hnsw" or "ivfpq".
        topk: images per query; None = TOPK, or all of a smaller gallery.
        drop_same_camera: leave out what the query's camera saw of its person, as the Market protocol does, and the
            query itself.
        candidates: images out of the index that are ordered by their true distance; 0 = the index's own rule.
        recall_queries: queries that the recall is measured on; 0 = none.
        show: queries on the sheet; 0 = no sheet.
        rebuild: build the index anew, whatever lies in the store.
        seed: of IVF-PQ's training.
        threads: to build with.
        parameters: of the index, those that the user gave.
        same_person: what was measured for the model, to tell who is not in the gallery; None = not asked.
        threshold: of the same person, a name or a probability.
        measured: what gives lists that are printed their probabilities; None = they have none.
    """

    index: str = "flat"
    topk: int | None = None
    drop_same_camera: bool = False
    candidates: int = 0
    recall_queries: int = 1000
    show: int = 8
    rebuild: bool = False
    seed: int = 0
    threads: int = 1
    parameters: Mapping[str, int] = field(default_factory=dict)
    same_person: SamePerson | None = None
    threshold: str = STRICT
    measured: SamePerson | None = None


def check_topk(topk: int | None, images: int) -> None:
    """Check, before a gallery is made, that it has as many images as are asked for.

    Raises:
        ConfigError: it has fewer.
    """
    if topk is not None and topk > images:
        raise ConfigError(f"--topk is {topk}, and the gallery has {images} images")


def search(store: FeatureStore, queries: Queries, options: SearchOptions, output: Path | None) -> list[str]:
    """Search a gallery, write results.json, results.csv and rank_lists.png, and return sentences on the result.

    Without a folder nothing is written, and the nearest images of each query are among the sentences.
    """
    images, features = queries
    check_topk(options.topk, len(store))
    topk = min(TOPK, len(store)) if options.topk is None else options.topk
    own = own_rows(images, store.images)
    dropped = None
    if options.drop_same_camera:
        dropped = [
            np.union1d(*rows) for rows in zip(same_camera_rows(images.rows, store.images.rows), own, strict=True)
        ]
    wanted = dict(options.parameters)
    candidates = options.candidates or (CODES_PER_RESULT * topk if options.index == "ivfpq" else 0)
    fetched = max(topk + MARGIN, candidates)
    size = store.features.shape
    plan = plan_index(options.index, *size, wanted, fetched)
    opened = open_index(store, plan, set(wanted), options.rebuild, options.seed, options.threads)
    notes = () if opened.loaded else plan.notes
    plan = plan_index(options.index, *size, {**wanted, **opened.build}, fetched)  # a loaded one has its own parameters
    set_search(opened.index, plan)
    started = time.perf_counter()
    found = neighbours(store, features, topk, opened.index, candidates, dropped)
    seconds = time.perf_counter() - started
    order = describe(plan, store.metric) + (", same camera left out" if dropped is not None else "")
    about: dict[str, Any] = {
        "metric": store.metric,
        "index": {"kind": plan.kind, **plan.build, **plan.search},
        "topk": topk,
        "same_camera_dropped": options.drop_same_camera,
        "recall": None,
    }
    lines = [_index_line(opened, plan.kind, {**plan.build, **plan.search}), *(f"note: {note}" for note in notes)]
    lines.append(f"{len(features)} queries in {len(store)} images: {1e3 * seconds / len(features):.2f} ms each")
    if plan.kind != "flat" and options.recall_queries:
        shown = np.unique(np.linspace(0, len(features) - 1, num=min(options.recall_queries, len(features))).astype(int))
        some = None if dropped is None else [dropped[n] for n in shown]
        exact = neighbours(store, features[shown], topk, None, 0, some)
        share = recall(Neighbours(found.indices[shown], found.distances[shown]), exact)
        about["recall"] = {"at": topk, "of_exact": share, "queries": len(shown)}
        lines.append(f"recall@{topk} against the exact search: {share:.4f}, measured on {len(shown)} queries")
    verdicts = None
    if options.same_person is not None:
        verdicts = verdicts_on(found, options.same_person, options.threshold)
        measured = {"threshold": options.threshold, "measured_on": options.same_person.measured_on}
        about["unknown"] = {**measured, "queries": int(verdicts.unknown.sum())}
    result = SearchResult(images, store.images, found, order, about, verdicts)
    same = [[match["same_person"] for match in matches] for _, matches in result.lists()]
    shares, count = rank_shares(images.rows, store.images.rows, same, sorted({1, topk}), dropped)
    if count:
        text = ", ".join(f"Rank-{k} {share:.2f}" for k, share in shares.items())
        themselves = sum(len(rows) > 0 for rows in own)
        included = "images by the query's camera included"
        if themselves:
            included += f", and so are {themselves} queries themselves, which are in the gallery too"
        left_out = "" if options.drop_same_camera else f" ({included})"
        lines.append(f"{text} of the {count} queries whose person is in the gallery{left_out}")
    if verdicts is not None:
        there = answerable(images.rows, store.images.rows, dropped)
        lines += unknown_lines(verdicts, images.rows, store.images.rows, same, there)
    persons = {name: [row[1] for row in rows] for name, rows in _sides(images, store.images).items()}
    if sentence := alike_warning("person", "persons", persons):
        lines.append(f"note: {sentence}")
    if output is None:
        return [*lines, *list_lines(result, options.measured), order]
    make_folder(output)
    write_json(result, output / "results.json")
    write_csv(result, output / "results.csv")
    if options.show:
        try:
            draw_sheet(result, output / "rank_lists.png", options.show)
        except (FileError, ImageError, OSError) as error:
            raise ImageError(f"results.json and results.csv are written, the sheet is not: {error}") from error
    return [*lines, f"{order}: results are in {output}"]


def _sides(queries: ImageList, gallery: ImageList) -> dict[str, list[tuple[str, str, str]]]:
    known = {"the queries": queries.rows, "the gallery": gallery.rows}
    return {name: [row for row in rows if row[1] != UNKNOWN] for name, rows in known.items()}


def _index_line(opened: OpenedIndex, kind: str, parameters: dict[str, int]) -> str:
    values = ", ".join(f"{name} {value}" for name, value in parameters.items())
    where = f"loaded from {opened.path}" if opened.loaded else f"built and saved as {opened.path}"
    return f"{NAMES[kind]} index {where if opened.path else 'of all features'}" + (f" ({values})" if values else "")
