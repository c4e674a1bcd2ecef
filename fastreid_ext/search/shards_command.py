"""The command ``shards``: a feature store as files that a vector database loads."""

import argparse
import sys
from pathlib import Path
from typing import Any

from fastreid_ext.search.features import StoreError, open_store
from fastreid_ext.search.shards import MANIFEST, MissingExtra, write_shards


def add_shards_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = commands.add_parser(
        "shards",
        help="write extracted features as Parquet or NumPy shards for a vector database",
        description="Write a feature store of fastreid-ext extract as shards: id, path, person, camera, vector.",
    )
    parser.add_argument("store", type=Path, help="feature store")
    parser.add_argument("output", type=Path, help="folder for the shards")
    parser.add_argument("--format", choices=("parquet", "npy"), default="parquet", help="default: %(default)s")
    parser.add_argument("--rows", type=int, default=100_000, help="features in a shard (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the command out and return its exit status."""
    try:
        manifest = write_shards(open_store(args.store), args.output, args.format, args.rows)
    except (MissingExtra, StoreError, OSError, ValueError) as error:
        print(f"fastreid-ext {args.command}: {error}", file=sys.stderr)
        return 1
    print(
        f"{manifest['count']} features of length {manifest['dim']} in {len(manifest['shards'])} shards, and {MANIFEST},"
        f" in {args.output}"
    )
    return 0
