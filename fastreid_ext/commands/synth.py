"""The command ``synth``: renders SynthReID and, if wanted, a contact sheet of it."""

import argparse
import os
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import command_parser

SIZES = ("tiny", "demo", "bench", "wide_tiny", "wide")  # the keys of sizes.SIZES, which needs NumPy


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "synth",
        help="render SynthReID, the data set of drawn people",
        description="Render SynthReID, the data set of drawn people. Training renders it on first use, too.",
        example="fastreid-ext synth --size demo --sheet synthreid.png",
    )
    parser.add_argument("--size", choices=SIZES, default="demo", help="how many people (default: %(default)s)")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(os.getenv("FASTREID_DATASETS", "datasets")),
        metavar="FOLDER",
        help="folder of all data sets (default: FASTREID_DATASETS, else datasets)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same bytes (default: 0)"
    )
    parser.add_argument(
        "--no-long-tail", dest="long_tail", action="store_false", help="as many images of each training identity"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes that draw (default: one per processor)")
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="also write a contact sheet of the test set")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Render the data set and print its folder."""
    import cv2

    from fastreid_ext.data.synthetic.sheet import contact_sheet
    from fastreid_ext.data.synthetic.writer import generate
    from fastreid_ext.files import make_folder, write_atomically

    folder = generate(args.root, args.size, args.seed, args.long_tail, args.workers, not args.quiet)
    print(folder)
    if args.sheet is not None:
        make_folder(args.sheet.parent)
        picture = cv2.imencode(".png", contact_sheet(folder))[1].tobytes()
        write_atomically(args.sheet, lambda file: file.write(picture))
        print(args.sheet)
