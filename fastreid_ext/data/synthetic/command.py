"""The command ``synth``: makes a SynthReID and, if wanted, a contact sheet of it."""

import argparse
import os
from pathlib import Path

import cv2

from fastreid_ext.data.synthetic.sheet import contact_sheet
from fastreid_ext.data.synthetic.sizes import SIZES
from fastreid_ext.data.synthetic.writer import generate


def add_synth_parser(subparsers: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command to the command line and return its parser."""
    parser = subparsers.add_parser(
        "synth", help="make SynthReID, the drawn data set", description="Makes SynthReID, the drawn data set."
    )
    parser.add_argument("--size", choices=tuple(SIZES), default="demo", help="how much of it (default: %(default)s)")
    parser.add_argument(
        "--root",
        default=os.getenv("FASTREID_DATASETS", "datasets"),
        help="directory of all data sets (default: FASTREID_DATASETS, else datasets)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes (default: 0)")
    parser.add_argument(
        "--no-long-tail", dest="long_tail", action="store_false", help="as many images of each training identity"
    )
    parser.add_argument("--workers", type=int, help="processes that draw (default: one a processor)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="also write a contact sheet of the test set")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Make the data set and return the exit status."""
    try:
        directory = generate(args.root, args.size, args.seed, args.long_tail, args.workers, not args.quiet)
        print(directory)
        if args.sheet is not None:
            write_sheet(directory, args.sheet)
            print(args.sheet)
    except (FileExistsError, ValueError) as error:
        print(f"fastreid-ext synth: {error}")
        return 1
    return 0


def write_sheet(directory: Path, path: Path) -> None:
    """Write a contact sheet of ``directory`` to ``path`` as PNG, atomically."""
    encoded = cv2.imencode(".png", contact_sheet(directory))[1].tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(encoded)
    partial.replace(path)
