"""The command ``search``: the nearest gallery images of queries, through an index that is stored with the gallery."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid_ext.commands.common import (
    add_config_options,
    add_output_option,
    command_parser,
    merged_config,
    trained_model,
)
from fastreid_ext.errors import ConfigError
from fastreid_ext.search.kinds import BUILD, NAMES, SEARCH

if TYPE_CHECKING:
    from fastreid.config import CfgNode

    from fastreid_ext.search.features import FeatureStore
    from fastreid_ext.search.searching import Queries

PARAMETERS = {
    "m": "--hnsw-m",
    "ef_construction": "--ef-construction",
    "ef_search": "--ef-search",
    "nlist": "--nlist",
    "pq_m": "--pq-m",
    "pq_bits": "--pq-bits",
    "nprobe": "--nprobe",
}


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "search",
        help="the nearest images of a gallery that was extracted: JSON, CSV and a sheet of rank lists",
        description="Search a feature store of fastreid-ext extract. The index is built on first use and kept in the"
        " store; an approximate one is compared with the exact search on the same queries.",
        example="fastreid-ext search --gallery features/gallery --query features/query --output logs/search",
    )
    parser.add_argument("--gallery", type=Path, required=True, metavar="STORE", help="feature store that is searched")
    add_output_option(parser, "folder for results.json, results.csv, rank_lists.png")
    parser.add_argument("--topk", type=int, default=10, metavar="N", help="images per query (default: %(default)s)")
    parser.add_argument(
        "--show", type=int, default=8, metavar="N", help="queries on the sheet, 0 = no sheet (default: %(default)s)"
    )
    parser.add_argument(
        "--drop-same-camera",
        action="store_true",
        help="leave out what the query's camera saw of its person, as the Market protocol does",
    )
    queries = parser.add_argument_group("queries, one of")
    queries.add_argument("--query", type=Path, metavar="STORE", help="feature store of the queries")
    queries.add_argument(
        "--image",
        type=Path,
        action="append",
        metavar="FILE",
        help="an image as query, once for each; needs --config-file and weights",
    )
    add_config_options(parser, required=False, help="with --image: the config that the gallery was extracted with")
    unknown = parser.add_argument_group("people who are not in the gallery")
    unknown.add_argument(
        "--unknown",
        action="store_true",
        help="tell which queries show nobody of the gallery, with probabilities in results.json and results.csv",
    )
    unknown.add_argument(
        "--threshold",
        metavar="NAME",
        help="from where on an image is the same person: balanced, fpr_1e-2, fpr_1e-3, fpr_1e-4 or a probability"
        " (default: fpr_1e-3)",
    )
    unknown.add_argument(
        "--same-person",
        type=Path,
        metavar="FILE",
        help="file of fastreid-ext verify --calibrate (default: same_person.json in the gallery's store, or beside the"
        " weights)",
    )
    index = parser.add_argument_group("index")
    index.add_argument("--index", choices=tuple(NAMES), default="flat", help="default: %(default)s, which is exact")
    index.add_argument(
        "--candidates",
        type=int,
        default=0,
        metavar="N",
        help="candidates from the index that are re-ordered by their exact distance",
    )
    index.add_argument(
        "--recall-queries",
        type=int,
        default=1000,
        metavar="N",
        help="queries to measure the recall on (default: %(default)s)",
    )
    index.add_argument("--rebuild", action="store_true", help="rebuild the index, even if the store has one")
    index.add_argument("--seed", type=int, default=0, metavar="N", help="of IVF-PQ's training (default: %(default)s)")
    index.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="for building the index; with more than 1, HNSW differs from build to build",
    )
    for name, option in PARAMETERS.items():
        kind = next(kind for kind in NAMES if name in (*BUILD[kind], *SEARCH[kind]))
        index.add_argument(option, dest=name, type=int, metavar="N", help=f"of {NAMES[kind]}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Search and print what was found."""
    from fastreid_ext.search.features import open_store
    from fastreid_ext.search.searching import STRICT, SearchOptions, search
    from fastreid_ext.search.unknown import same_person_of_store

    check_options(args)
    gallery = open_store(args.gallery)
    cfg = merged_config(args.config_file, args.opts) if args.image else None
    asked = {}
    if args.unknown:
        found = same_person_of_store(gallery, args.same_person, cfg.MODEL.WEIGHTS if cfg else "")
        asked = {"same_person": found, "threshold": args.threshold or STRICT}
    options = SearchOptions(
        args.index,
        args.topk,
        args.drop_same_camera,
        args.candidates,
        args.recall_queries,
        args.show,
        args.rebuild,
        args.seed,
        args.threads,
        {name: value for name in PARAMETERS if (value := getattr(args, name)) is not None},
        **asked,
    )
    print("\n".join(search(gallery, queries_of(args, gallery, cfg), options, args.output)))


def queries_of(args: argparse.Namespace, gallery: "FeatureStore", cfg: "CfgNode | None") -> "Queries":
    """Return the queries that the options name; cfg is that of images."""
    from fastreid_ext.search.searching import queries_of_images, queries_of_store

    if cfg is None:
        return queries_of_store(args.query, gallery)
    return queries_of_images(cfg, trained_model(cfg), args.image, gallery)


def check_options(args: argparse.Namespace) -> None:
    """Check what argparse does not.

    Raises:
        ConfigError: options that exclude each other; the message names them.
    """
    if (args.query is None) == (not args.image):
        raise ConfigError("name the queries by --query STORE, or by --image FILE, once for each image")
    if args.query is not None and (args.config_file or args.opts):
        raise ConfigError("--config-file and KEY VALUE pairs are for --image: a store needs no model")
    for name, value in (("--threshold", args.threshold), ("--same-person", args.same_person)):
        if value is not None and not args.unknown:
            raise ConfigError(f"{name} tells who is not in the gallery: add --unknown, or remove it")
    if args.threshold is not None:
        from fastreid_ext.evaluation.pair_thresholds import read_threshold

        read_threshold(args.threshold)
    least = {"topk": 1, "candidates": 0, "recall_queries": 0, "show": 0, "threads": 1, "seed": 0}
    for name, value in least.items():
        if getattr(args, name) < value:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(args, name)} and must be {value} or more")
