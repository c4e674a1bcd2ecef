"""The command ``boxes``: the regions of the body that a model locates, compared with those of the joints."""

import argparse
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import (
    add_config_options,
    add_output_option,
    command_parser,
    merged_config,
    trained_model,
)

ON_SHEET = 12


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "boxes",
        help="draw and measure the regions that a model locates (MGRe)",
        description="Draw the region boxes that a trained model predicts beside those that joints give, and measure how"
        " far they agree: boxes.png, boxes.md and boxes.json.",
        example="fastreid-ext boxes --config-file demo/mgre.yml --output logs/boxes MODEL.WEIGHTS"
        " logs/demo/mgre/model_final.pth",
    )
    add_config_options(parser)
    add_output_option(parser, "folder for the sheet and the tables")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--images", type=Path, metavar="FOLDER", help="folder of images")
    group.add_argument(
        "--test-set",
        default="",
        metavar="NAME[/PART]",
        help="a data set; PART is train, query or gallery, by default queries and gallery (default: the first of"
        " DATASETS.TESTS)",
    )
    parser.add_argument(
        "--poses",
        type=Path,
        metavar="FILE.npz",
        help="pose file (default: INPUT.JOINTS.FILES, otherwise the data set's own joints)",
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="measure N images only, spread evenly")
    parser.add_argument(
        "--sheet-images", type=int, default=ON_SHEET, metavar="N", help="how many to draw (default: %(default)s)"
    )
    parser.add_argument("--prior", action="store_true", help="also draw the boxes that training starts from")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Draw and measure the boxes and print the table."""
    from fastreid_ext.files import make_folder
    from fastreid_ext.visual.boxes import check_locates, measure_boxes
    from fastreid_ext.visual.image_sources import images_with_joints

    cfg = merged_config(args.config_file, args.opts)
    images = images_with_joints(cfg, args.images, args.test_set, args.poses, args.limit, args.output)
    model = trained_model(cfg)
    check_locates(model)
    make_folder(args.output)
    print(measure_boxes(model, cfg, images, args.output, args.sheet_images, args.prior))
