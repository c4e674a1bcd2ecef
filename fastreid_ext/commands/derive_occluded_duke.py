"""The command ``derive-occluded-duke``: makes Occluded-Duke from DukeMTMC-reID."""

import argparse
import os
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import command_parser

DUKE_FOLDER, TARGET_FOLDER = "DukeMTMC-reID", "Occluded_Duke"


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    root = Path(os.getenv("FASTREID_DATASETS", "datasets"))
    parser = command_parser(
        commands,
        "derive-occluded-duke",
        help="make Occluded-Duke from DukeMTMC-reID and its lists",
        description="Make Occluded-Duke from DukeMTMC-reID, by the lists of names that its authors publish.",
        example="fastreid-ext derive-occluded-duke downloads/Occluded-DukeMTMC-Dataset/lists",
    )
    parser.add_argument("lists", type=Path, metavar="LISTS", help="folder with train.list, query.list and gallery.list")
    parser.add_argument(
        "--duke", type=Path, default=root / DUKE_FOLDER, metavar="FOLDER", help="DukeMTMC-reID (default: %(default)s)"
    )
    parser.add_argument(
        "--target",
        type=Path,
        default=root / TARGET_FOLDER,
        metavar="FOLDER",
        help="folder to make (default: %(default)s)",
    )
    parser.add_argument("--copy", action="store_true", help="copy the images (default: hard links where possible)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Make the data set and print how many images each split has."""
    from fastreid_ext.data.datasets.occluded_duke import derive_occluded_duke

    counts = derive_occluded_duke(args.duke, args.lists, args.target, args.copy)
    print(f"{args.target}: " + ", ".join(f"{count} {split} images" for split, count in counts.items()))
