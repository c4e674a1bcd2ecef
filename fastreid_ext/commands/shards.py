"""The command ``shards``: a feature store as files that a vector database loads."""

import argparse
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import command_parser


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "shards",
        help="write extracted features as Parquet or NumPy shards for a vector database",
        description="Write a feature store of fastreid-ext extract as shards: id, path, person, camera, vector.",
        example="fastreid-ext shards features/gallery shards/gallery --rows 100000",
    )
    parser.add_argument("store", type=Path, metavar="STORE", help="feature store")
    parser.add_argument("output", type=Path, metavar="FOLDER", help="folder for the shards")
    parser.add_argument("--format", choices=("parquet", "npy"), default="parquet", help="default: %(default)s")
    parser.add_argument(
        "--rows", type=int, default=100_000, metavar="N", help="features in a shard (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write the shards and print how many there are."""
    from fastreid_ext.search.features import open_store
    from fastreid_ext.search.shards import MANIFEST, write_shards

    manifest = write_shards(open_store(args.store), args.output, args.format, args.rows)
    print(
        f"{manifest['count']} features of length {manifest['dim']} in {len(manifest['shards'])} shards, and {MANIFEST},"
        f" in {args.output}"
    )
