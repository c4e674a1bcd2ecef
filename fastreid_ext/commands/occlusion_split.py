"""The command ``occlusion-split``: makes a data set with occluded queries by OPReID's recipe."""

import argparse
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import add_output_option, command_parser
from fastreid_ext.errors import ConfigError

ON_SHEET = 24


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "occlusion-split",
        help="make a data set with occluded queries from another one and its pose file (OPReID's recipe)",
        description="Tell occluded from holistic images by the key points of a pose file, and draw training set,"
        " occluded queries and gallery by OPReID's recipe (Yan et al., ICCV 2021). Writes train.csv, query.csv,"
        " gallery.csv, occlusion.csv, a report and a sheet of pictures. The images stay where they are.",
        example="fastreid-ext occlusion-split Market1501 --poses market_poses.npz --output datasets/OccludedMarket",
    )
    parser.add_argument("source", metavar="SET", help="registered data set, or folder with train.csv, query.csv, ...")
    parser.add_argument(
        "--poses",
        type=Path,
        metavar="FILE.npz",
        help="pose file (default: the labels that the data set has of its own)",
    )
    add_output_option(parser, "folder of the CSV files, the report and the sheet")
    rule = parser.add_argument_group("what is occluded")
    rule.add_argument(
        "--sequential",
        type=int,
        default=3,
        metavar="N",
        help="missing key points one after another that make an image occluded (default: 3, as in the paper)",
    )
    rule.add_argument(
        "--order",
        nargs="+",
        default=["openpose"],
        metavar="NAMES",
        help="orders of the key points, in one of which they are missing: openpose, coco, body (coco without the head),"
        " or COCO's names with commas (default: openpose, the paper's estimator)",
    )
    rule.add_argument(
        "--confidence",
        type=float,
        default=0.2,
        metavar="C",
        help="a key point is missing up to this confidence (default: 0.2)",
    )
    what = parser.add_argument_group("what is drawn")
    what.add_argument(
        "--train-share",
        type=float,
        metavar="S",
        help="share of the persons that are trained on (default: the data set's own training persons, else 0.22, as in"
        " the paper)",
    )
    what.add_argument(
        "--occluded-share",
        type=float,
        default=0.15,
        metavar="S",
        help="share of occluded training images, if there are so many (default: 0.15, as in the paper)",
    )
    what.add_argument("--no-cameras", action="store_true", help="do not use cameras: 0 for queries, 1 for the gallery")
    what.add_argument("--seed", type=int, default=0, metavar="N", help="of all draws (default: 0)")
    parser.add_argument(
        "--sheet-images",
        type=int,
        default=ON_SHEET,
        metavar="N",
        help="images of each kind on the sheet; 0 draws none (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace CSV files that are in the folder")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Make the data set and print what became of the images."""
    from fastreid_ext.data.capabilities import HasPoses
    from fastreid_ext.data.occlusion.file import OCCLUSION_FILE
    from fastreid_ext.data.occlusion.making import cameras_known, occlusion_report, write_occlusion_set
    from fastreid_ext.data.occlusion.photos import judged, source_of
    from fastreid_ext.data.occlusion.recipe import Recipe, draw
    from fastreid_ext.data.occlusion.rule import order_of
    from fastreid_ext.data.own_images.folder import check_output
    from fastreid_ext.data.own_images.report import config_line, lines_of
    from fastreid_ext.data.poses import Poses
    from fastreid_ext.files import write_picture
    from fastreid_ext.pose.occlusion_sheet import occlusion_sheet

    for name, value, most in (
        ("confidence", args.confidence, 1),
        ("occluded-share", args.occluded_share, 1),
        ("train-share", args.train_share, 1),
    ):
        if value is not None and not 0 <= value < most:
            raise ConfigError(f"--{name} is {value} and must be from 0 to below {most}")
    check_output(args.output, args.overwrite, (OCCLUSION_FILE,))
    orders = [order_of(text) for text in args.order]
    poses = None if args.poses is None else Poses.load(_pose_file(args.poses))
    source = source_of(args.source)
    if poses is None:
        if not isinstance(source.dataset, HasPoses):
            raise ConfigError(f"{args.source} has no key points of its own: name a pose file with --poses")
        poses = source.dataset.poses()
    cameras = not args.no_cameras and cameras_known(source.entries)
    photos = judged(source, poses, orders, args.sequential, args.confidence)
    drawn = draw(photos, Recipe(args.train_share, occluded_share=args.occluded_share, cameras=cameras, seed=args.seed))
    report = occlusion_report(
        source,
        photos,
        drawn,
        cameras,
        {
            "poses": str(args.poses or ""),
            "orders": orders,
            "sequential": args.sequential,
            "confidence": args.confidence,
            "seed": args.seed,
        },
    )
    sheet = None
    if args.sheet_images:
        sheet = occlusion_sheet(photos, poses, args.sheet_images, args.confidence, "; ".join(report["rules"][:2]))
    write_occlusion_set(args.output, photos, drawn, cameras, report)
    written = f"CSV files, {OCCLUSION_FILE}, report.md, report.json"
    if sheet is not None:
        write_picture(args.output / "occlusion_sheet.png", sheet)
        written += ", occlusion_sheet.png"
    print("\n".join(lines_of(report)))
    print(f"{args.output}: {written}")
    print(config_line(args.output))


def _pose_file(path: Path) -> Path:
    if path.suffix.lower() == ".json":
        raise ConfigError(
            f"--poses {path} is JSON: make a pose file of it with fastreid-ext pose import {path} --images FOLDER"
            " --output FILE.npz"
        )
    return path
