"""The command ``search``: the nearest gallery images of queries, through an index that is stored with the gallery."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid_ext import zoo
from fastreid_ext.commands.common import (
    add_config_options,
    add_output_option,
    check_path,
    command_parser,
    merged_config,
    named_or_zoo,
    print_skipped,
    trained_model,
)
from fastreid_ext.errors import ConfigError
from fastreid_ext.search.kinds import BUILD, NAMES, SEARCH

if TYPE_CHECKING:
    from fastreid.config import CfgNode
    from torch import nn

    from fastreid_ext.evaluation.same_person import SamePerson
    from fastreid_ext.search.features import FeatureStore
    from fastreid_ext.search.image_list import ImageList
    from fastreid_ext.search.searching import Queries

    TrainedModel = tuple[CfgNode, nn.Module]

SHOWN = 8  # queries on the sheet
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
        help="the images of a folder, or of a gallery that was extracted, that are nearest to an image",
        description="Search a folder of images, by the shipped model or another one, or a feature store of fastreid-ext"
        " extract. The index is built on first use and kept in the store; an approximate one is compared with the exact"
        " search on the same queries.",
        example="fastreid-ext search people --image a.jpg\n"
        "  fastreid-ext search --gallery features/gallery --query features/query --output logs/search",
    )
    parser.add_argument("--gallery", type=Path, metavar="STORE", help="feature store that is searched")
    add_output_option(
        parser,
        "folder for results.json, results.csv, rank_lists.png (default with --image: lists are printed)",
        required=False,
    )
    parser.add_argument("--topk", type=int, metavar="N", help="images per query (default: 10, or as many as there are)")
    parser.add_argument("--show", type=int, metavar="N", help=f"queries on the sheet, 0 = no sheet (default: {SHOWN})")
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
        help="an image as query, once for each",
    )
    add_config_options(
        parser,
        required=False,
        help="with --image: the config that the gallery was extracted with, see extract (default: zoo, the shipped"
        " model)",
        pairs="FOLDER | KEY VALUE",
        pairs_help="folder of images, or feature store, to search in; config keys, of which MODEL.WEIGHTS is one",
    )
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
    from fastreid_ext.files import make_folder
    from fastreid_ext.search.features import open_store
    from fastreid_ext.search.image_list import images_of_folder
    from fastreid_ext.search.searching import STRICT, SearchOptions, check_topk, search
    from fastreid_ext.search.unknown import same_person_of_model, same_person_of_store

    take_folder(args)
    check_options(args)
    store, images = (
        (open_store(args.gallery), None) if args.gallery else (None, images_of_folder(args.folder, args.output))
    )
    check_topk(args.topk, len(images.rows if store is None else store))
    model = queries_model(args) if args.image else None
    queries = queries_of(args, store, model)  # before a folder's features, which may take long
    found = same_person_of_model(*model, args.same_person) if args.unknown and store is None else None
    if args.folder is not None and args.output is not None:
        make_folder(args.output)
    with nullcontext(store) if store else extracted(images, model) as gallery:
        asked = {}
        if args.unknown:
            found = found or same_person_of_store(gallery, args.same_person, model[0].MODEL.WEIGHTS if model else "")
            asked = {"same_person": found, "threshold": args.threshold or STRICT}
        options = SearchOptions(
            args.index,
            args.topk,
            args.drop_same_camera,
            args.candidates,
            args.recall_queries,
            SHOWN if args.show is None else args.show,
            args.rebuild,
            args.seed,
            args.threads,
            {name: value for name in PARAMETERS if (value := getattr(args, name)) is not None},
            **asked,
            measured=asked.get("same_person") or (None if args.output else measured_for(gallery, model, store is None)),
        )
        print("\n".join(search(gallery, queries, options, args.output)))


def queries_model(args: argparse.Namespace) -> "TrainedModel":
    """Return config and model of --config-file and KEY VALUE pairs; of the shipped model where nothing is named."""
    cfg = merged_config(named_or_zoo(args.config_file, args.opts), args.opts)
    return cfg, trained_model(cfg)


def measured_for(gallery: "FeatureStore", model: "TrainedModel", extracted: bool) -> "SamePerson | None":
    """Return what was measured for the model of the queries; None if nothing was.

    Args:
        gallery: that is searched.
        model: of the queries.
        extracted: whether the gallery was just made by the model, and so keeps it.
    """
    from fastreid_ext.inference.same_person_file import NAME, find_same_person, read_same_person

    if not extracted:
        return find_same_person(*model)
    path = gallery.folder / NAME
    return read_same_person(path) if path.is_file() else None


@contextmanager
def extracted(images: "ImageList", model: "TrainedModel") -> "Iterator[FeatureStore]":
    """Extract the features of images into a store that lasts as long as the search.

    Images that can't be read are left out, with a line for each of the first ones.
    """
    from fastreid_ext.search.extract import extract

    with tempfile.TemporaryDirectory(prefix="fastreid-ext-") as place:
        store, _ = extract(*model, images, Path(place), skip_unreadable=True)
        print_skipped(store.meta["skipped"])
        yield store


def queries_of(args: argparse.Namespace, gallery: "FeatureStore | None", model: "TrainedModel | None") -> "Queries":
    """Return the queries that the options name.

    Args:
        args: the options.
        gallery: that the queries must be comparable with; None = one that is yet made by the same model.
        model: of images.
    """
    from fastreid_ext.search.searching import QUERIES, queries_of_images, queries_of_store

    if model is None:
        return queries_of_store(args.query, gallery)
    named = args.config_file or "MODEL.WEIGHTS" in args.opts[::2]
    name = QUERIES if named else f"{QUERIES} by the model {zoo.DEFAULT_NAME}, as no --config-file is named,"
    return queries_of_images(*model, args.image, gallery, name)


def take_folder(args: argparse.Namespace) -> None:
    """Take what stands before the KEY VALUE pairs as the gallery: a folder of images, or a feature store.

    Raises:
        ConfigError: it is neither, or --gallery names one, too.
    """
    from fastreid_ext.config import get_cfg
    from fastreid_ext.engine.key_tracking import leaves
    from fastreid_ext.search.features import META

    args.folder = None
    first = "" if not args.opts or args.opts[0] in dict(leaves(get_cfg())) else args.opts[0]
    if args.gallery is not None:
        if first and Path(first).is_dir():
            raise ConfigError(f"the gallery is named twice, {first} and --gallery {args.gallery}: remove one")
        return
    if not first:
        raise ConfigError("name a folder of images to search in, or a feature store by --gallery")
    folder, args.opts = Path(first), args.opts[1:]
    check_path("the gallery", folder)
    if not folder.is_dir():
        raise ConfigError(f"the gallery {folder} is no folder")
    if (folder / META).is_file():
        args.gallery = folder
    else:
        args.folder = folder


def check_options(args: argparse.Namespace) -> None:
    """Check what argparse does not.

    Raises:
        ConfigError: options that exclude each other; the message names them.
    """
    if (args.query is None) == (not args.image):
        raise ConfigError("name the queries by --query STORE, or by --image FILE, once for each image")
    if args.image and args.drop_same_camera:
        raise ConfigError(
            "--drop-same-camera reads person and camera of the queries, which --image does not say: remove it, or name"
            " the queries by --query"
        )
    if args.query is not None and args.folder is not None:
        raise ConfigError(
            f"--query is for a gallery that is a feature store: name images by --image, or extract {args.folder}"
        )
    if args.query is not None and (args.config_file or args.opts):
        raise ConfigError("--config-file and KEY VALUE pairs are for --image: a store needs no model")
    if args.query is not None and args.output is None:
        raise ConfigError("--output is missing: name a folder for the results of --query, which may be many")
    if args.output is None and args.show is not None:
        raise ConfigError("--show is of the sheet in --output: add that, or remove --show")
    if args.folder is not None and (args.rebuild or args.index != "flat"):
        option = "--rebuild" if args.rebuild else f"--index {args.index}"
        raise ConfigError(
            f"{option} is for a feature store, which keeps its index: remove it, or extract {args.folder}"
        )
    for name, value in (("--threshold", args.threshold), ("--same-person", args.same_person)):
        if value is not None and not args.unknown:
            raise ConfigError(f"{name} tells who is not in the gallery: add --unknown, or remove it")
    if args.threshold is not None:
        from fastreid_ext.evaluation.pair_thresholds import read_threshold

        read_threshold(args.threshold)
    least = {"topk": 1, "candidates": 0, "recall_queries": 0, "show": 0, "threads": 1, "seed": 0}
    for name, value in least.items():
        given = getattr(args, name)
        if given is not None and given < value:
            raise ConfigError(f"--{name.replace('_', '-')} is {given} and must be {value} or more")
