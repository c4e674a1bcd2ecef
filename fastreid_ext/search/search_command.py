"""The command ``search``: the nearest gallery images of queries, through an index that is kept beside the gallery."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastreid_ext.config import get_cfg
from fastreid_ext.data.images import ImageError
from fastreid_ext.engine.checks import ConfigError
from fastreid_ext.engine.main import MISTAKES, config_file_of, load_trained
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.search.extract import ListedImages, batch_features, check_images_suffice
from fastreid_ext.search.features import FeatureStore, StoreError, check_comparable, open_store
from fastreid_ext.search.fingerprints import feature_identity
from fastreid_ext.search.image_list import UNKNOWN, ImageList
from fastreid_ext.search.index import BUILD, NAMES, SEARCH, describe, plan_index, set_search
from fastreid_ext.search.index_files import OpenedIndex, open_index
from fastreid_ext.search.nearest import MARGIN, Neighbours, neighbours, rank_shares, recall, same_camera_rows
from fastreid_ext.search.results import SearchResult, draw_sheet, write_csv, write_json

PARAMETERS = {
    "m": "--hnsw-m",
    "ef_construction": "--ef-construction",
    "ef_search": "--ef-search",
    "nlist": "--nlist",
    "pq_m": "--pq-m",
    "pq_bits": "--pq-bits",
    "nprobe": "--nprobe",
}
CODES_PER_RESULT = 4  # IVF-PQ's distances are rough: so many candidates a result are ordered by the true ones


def add_search_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = commands.add_parser(
        "search",
        help="the nearest images of a gallery that was extracted: JSON, CSV and a sheet of rank lists",
        description="Search a feature store of fastreid-ext extract. The index is built on first use and kept in the"
        " store; an approximate one is compared with the exact search on the same queries.",
    )
    parser.add_argument("--gallery", type=Path, required=True, help="feature store that is searched")
    parser.add_argument("--query", type=Path, help="feature store of the queries")
    parser.add_argument(
        "--image", type=Path, action="append", help="an image as query, once for each; needs --config-file and weights"
    )
    parser.add_argument(
        "--config-file", default="", help="with --image: the config that the gallery was extracted with"
    )
    parser.add_argument("--index", choices=tuple(NAMES), default="flat", help="default: %(default)s, which is exact")
    parser.add_argument("--topk", type=int, default=10, help="images a query (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, required=True, help="folder for results.json, results.csv, rank_lists.png"
    )
    parser.add_argument(
        "--drop-same-camera",
        action="store_true",
        help="leave out what the query's camera saw of its person, as the Market protocol does",
    )
    parser.add_argument(
        "--candidates", type=int, default=0, help="images out of the index that are ordered by their true distance"
    )
    parser.add_argument(
        "--recall-queries", type=int, default=1000, help="measure the recall on so many queries (default: %(default)s)"
    )
    parser.add_argument("--show", type=int, default=8, help="queries on the sheet, 0 = no sheet (default: %(default)s)")
    parser.add_argument("--rebuild", action="store_true", help="build the index anew, whatever lies in the store")
    parser.add_argument("--seed", type=int, default=0, help="of IVF-PQ's training (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=1, help="to build with; with more than 1, HNSW differs from build to build"
    )
    for name, option in PARAMETERS.items():
        kind = next(kind for kind in NAMES if name in (*BUILD[kind], *SEARCH[kind]))
        parser.add_argument(option, dest=name, type=int, help=f"of {NAMES[kind]}")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="with --image: config keys, such as MODEL.WEIGHTS")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the command out and return its exit status."""
    try:
        check_options(args)
        store = open_store(args.gallery)
        images, features = queries_of(args, store)
        text = search(args, store, images, features)
    except (*MISTAKES, StoreError, OSError, ValueError) as error:
        print(f"fastreid-ext {args.command}: {error}", file=sys.stderr)
        return 1
    print(text)
    return 0


def check_options(args: argparse.Namespace) -> None:
    """Check what argparse does not.

    Raises:
        ConfigError: the sentence says which options do not go together.
    """
    if (args.query is None) == (not args.image):
        raise ConfigError("name the queries by --query STORE, or by --image FILE, once for each image")
    if args.query is not None and (args.config_file or args.opts):
        raise ConfigError("--config-file and KEY VALUE pairs are for --image: a store needs no model any more")
    least = {"topk": 1, "candidates": 0, "recall_queries": 0, "show": 0, "threads": 1, "seed": 0}
    for name, value in least.items():
        if getattr(args, name) < value:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(args, name)} and must be {value} or more")


def queries_of(args: argparse.Namespace, gallery: FeatureStore) -> tuple[ImageList, np.ndarray]:
    """Return the queries' images and features (Q, D).

    Raises:
        StoreError: they were made by another model or config than the gallery's.
        ConfigError, CheckpointError, ImageError: model or images can't be read.
    """
    names = ("the queries", f"the gallery {args.gallery}")
    if args.query is not None:
        store = open_store(args.query)
        check_comparable(store.meta, gallery.meta, names)
        return store.images, store.features
    cfg = get_cfg()
    merge_config(cfg, config_file_of(args.config_file), args.opts)
    model = load_trained(cfg).eval()
    check_images_suffice(model)
    check_comparable(feature_identity(cfg, model), gallery.meta, names)
    rows = [(str(path), UNKNOWN, UNKNOWN) for path in args.image]
    images = ImageList(Path.cwd(), rows, f"{len(rows)} images")
    listed, parts = ListedImages(cfg, images, skip=False), []
    for start in range(0, len(rows), cfg.TEST.IMS_PER_BATCH):
        batch = [listed[n]["images"] for n in range(start, min(start + cfg.TEST.IMS_PER_BATCH, len(rows)))]
        pixels = torch.stack([torch.as_tensor(image).float() for image in batch]).to(cfg.MODEL.DEVICE)
        parts.append(batch_features(model, pixels, cfg.TEST.FLIP.ENABLED).float().cpu().numpy())
    return images, np.concatenate(parts)


def search(args: argparse.Namespace, store: FeatureStore, images: ImageList, features: np.ndarray) -> str:
    """Search, write what was found, and return what is printed."""
    if args.topk > len(store):
        raise ConfigError(f"--topk is {args.topk}, and the gallery has {len(store)} images")
    dropped = same_camera_rows(images.rows, store.images.rows) if args.drop_same_camera else None
    wanted = {name: value for name in PARAMETERS if (value := getattr(args, name)) is not None}
    candidates = args.candidates or (CODES_PER_RESULT * args.topk if args.index == "ivfpq" else 0)
    fetched = max(args.topk + MARGIN, candidates)
    size = store.features.shape
    plan = plan_index(args.index, *size, wanted, fetched)
    opened = open_index(store, plan, set(wanted), args.rebuild, args.seed, args.threads)
    notes = () if opened.loaded else plan.notes
    plan = plan_index(args.index, *size, {**wanted, **opened.build}, fetched)  # a loaded one has its own parameters
    set_search(opened.index, plan)
    started = time.perf_counter()
    found = neighbours(store, features, args.topk, opened.index, candidates, dropped)
    seconds = time.perf_counter() - started
    order = describe(plan, store.metric) + (", same camera left out" if dropped is not None else "")
    about: dict[str, Any] = {
        "metric": store.metric,
        "index": {"kind": plan.kind, **plan.build, **plan.search},
        "topk": args.topk,
        "same_camera_dropped": args.drop_same_camera,
        "recall": None,
    }
    lines = [_index_line(opened, plan.kind, {**plan.build, **plan.search}), *(f"note: {note}" for note in notes)]
    lines.append(f"{len(features)} queries in {len(store)} images: {1e3 * seconds / len(features):.2f} ms each")
    if plan.kind != "flat" and args.recall_queries:
        shown = np.unique(np.linspace(0, len(features) - 1, num=min(args.recall_queries, len(features))).astype(int))
        some = None if dropped is None else [dropped[n] for n in shown]
        exact = neighbours(store, features[shown], args.topk, None, 0, some)
        share = recall(Neighbours(found.places[shown], found.distances[shown]), exact)
        about["recall"] = {"at": args.topk, "of_exact": share, "queries": len(shown)}
        lines.append(f"recall@{args.topk} against the exact search: {share:.4f}, measured on {len(shown)} queries")
    result = SearchResult(images, store.images, found, order, about)
    same = [[match["same_person"] for match in matches] for _, matches in result.lists()]
    shares, count = rank_shares(images.rows, store.images.rows, same, sorted({1, args.topk}), dropped)
    if count:
        text = ", ".join(f"Rank-{k} {share:.2f}" for k, share in shares.items())
        left_out = "" if args.drop_same_camera else " (what the same camera saw counts too)"
        lines.append(f"{text} of the {count} queries whose person is in the gallery{left_out}")
    args.output.mkdir(parents=True, exist_ok=True)
    write_json(result, args.output / "results.json")
    write_csv(result, args.output / "results.csv")
    if args.show:
        try:
            draw_sheet(result, args.output / "rank_lists.png", args.show)
        except OSError as error:
            raise ImageError(f"results.json and results.csv are written, the sheet is not: {error}") from error
    return "\n".join([*lines, f"{order}: results are in {args.output}"])


def _index_line(opened: OpenedIndex, kind: str, parameters: dict[str, int]) -> str:
    values = ", ".join(f"{name} {value}" for name, value in parameters.items())
    return f"{NAMES[kind]} index {'loaded from' if opened.loaded else 'built and saved as'} {opened.path}" + (
        f" ({values})" if values else ""
    )
