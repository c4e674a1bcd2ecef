"""The command ``dataset``: makes the CSV files of a data set from one's own images."""

import argparse
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import add_output_option, command_parser
from fastreid_ext.errors import ConfigError

LAYOUTS, CAMERAS = ("folders", "market", "listing"), ("names", "folders", "none")  # of data.own_images.layouts


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "dataset",
        help="make a data set from your own images: train.csv, query.csv and gallery.csv",
        description="Make train.csv, query.csv and gallery.csv, a report and a contact sheet from a folder per person,"
        " images with Market1501's names, or a CSV or JSON listing of path, person, camera. The images stay where they"
        " are. A config names the result in DATASETS.CSV.",
        example="fastreid-ext dataset people --output datasets/shop",
    )
    parser.add_argument("source", type=Path, metavar="FOLDER", help="folder of your images, or a CSV or JSON listing")
    add_output_option(parser, "folder of the CSV files, the report and the contact sheet")
    parser.add_argument("--layout", choices=LAYOUTS, default="", help="how the images lie (default: guessed, and said)")
    parser.add_argument(
        "--cameras",
        choices=CAMERAS,
        default="",
        help="what tells the camera in a folder per person: _c1 in the file name, the folder below the person's, or"
        " nothing (default: names if all have one, else none)",
    )
    parser.add_argument(
        "--test-share",
        type=float,
        metavar="S",
        help="share of the persons that are tested (default: the split that the images have, else 0.5)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw of these persons (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace CSV files that are in the folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Make the data set and print what became of the images."""
    import sys

    from fastreid_ext.data.own_images.making import SHEET, make_csv_set
    from fastreid_ext.data.own_images.report import config_line, lines_of
    from fastreid_ext.files import write_picture
    from fastreid_ext.foreign_files import caption
    from fastreid_ext.visual.person_sheet import Cell, person_sheet

    if args.test_share is not None and not 0 <= args.test_share <= 1:
        raise ConfigError(f"--test-share is {args.test_share} and must be a share from 0 to 1")
    split, report = make_csv_set(
        args.source, args.output, args.layout, args.cameras, args.test_share, args.seed, args.overwrite
    )
    cells = [
        Cell(str(entry.path), name, entry.person, entry.camera) for name in report["splits"] for entry in split.of(name)
    ]
    name = args.output.resolve().name
    write_picture(args.output / SHEET, person_sheet(cells, f"{name}: is each row one person, and each camera right?"))
    print("\n".join(lines_of(report)))
    for warning in report["warnings"]:
        print(f"warning: {caption(warning)}", file=sys.stderr)
    print(f"{args.output}: CSV files, report.md, report.json, {SHEET}")
    print(config_line(args.output))
