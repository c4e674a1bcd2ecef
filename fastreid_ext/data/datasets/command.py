"""The command ``derive-occluded-duke``: makes Occluded-Duke out of DukeMTMC-reID."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from fastreid_ext.data.datasets.occluded_duke import OccludedDuke, derive_occluded_duke

DUKE_FOLDER = "DukeMTMC-reID"


def add_derive_occluded_duke_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add the command to argparse's ``subparsers`` and return its parser; ``run`` is its entry point."""
    root = Path(os.getenv("FASTREID_DATASETS", "datasets"))
    parser = subparsers.add_parser(
        "derive-occluded-duke",
        help="make Occluded-Duke out of DukeMTMC-reID",
        description="Makes Occluded-Duke out of DukeMTMC-reID, by the lists of names that its makers publish.",
    )
    parser.add_argument("lists", type=Path, help="folder with train.list, query.list and gallery.list")
    parser.add_argument("--duke", type=Path, default=root / DUKE_FOLDER, help="DukeMTMC-reID (default: %(default)s)")
    parser.add_argument(
        "--target", type=Path, default=root / OccludedDuke.folders[0], help="folder to make (default: %(default)s)"
    )
    parser.add_argument("--copy", action="store_true", help="copy the images; else they are hard links if possible")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Carry the command out and return its exit status."""
    try:
        counts = derive_occluded_duke(args.duke, args.lists, args.target, args.copy)
    except (OSError, ValueError) as error:
        print(f"fastreid-ext derive-occluded-duke: {error}", file=sys.stderr)
        return 1
    print(f"{args.target}: " + ", ".join(f"{count} {part} images" for part, count in counts.items()))
    return 0
