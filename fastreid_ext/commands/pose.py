"""The command ``pose``: makes pose files with a pose model or from its JSON, and reports on them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid_ext.commands.common import HelpFormatter, command_parser
from fastreid_ext.errors import ConfigError
from fastreid_ext.pose.options import (
    BATCH_SIZE,
    COLORS,
    DEVICES,
    FORMATS,
    MEAN,
    PADDING,
    STD,
    THRESHOLD,
    WORKERS,
)

if TYPE_CHECKING:
    from fastreid_ext.pose.making import Shown

ON_SHEET, SAVE_EVERY = 24, 512


def add_parser(commands: Any) -> None:
    """Add the command and its own commands to an argparse ``subparsers``."""
    parser = commands.add_parser(
        "pose",
        help="make pose files with a pose model or from its JSON, and report on them",
        description="Make pose files with a pose model or from JSON that one wrote, and report on them.",
        epilog="example:\n  fastreid-ext pose run --help",
        formatter_class=HelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    importer = command_parser(
        actions,
        "import",
        help="make a pose file from COCO, AlphaPose or OpenPose JSON",
        description="Make a pose file (.npz) from JSON of COCO (annotations or keypoint results), AlphaPose or"
        " OpenPose. Of several people in an image, the one whose head is nearest the middle of the upper edge is taken;"
        " of equals, the one with the best score.",
        example="fastreid-ext pose import alphapose-results.json --images datasets/Market-1501-v15.09.15"
        " --output market_pose.npz",
    )
    importer.add_argument("sources", type=Path, nargs="+", metavar="SOURCE", help="JSON file, or OpenPose's folder")
    importer.add_argument("--images", type=Path, required=True, metavar="ROOT", help="folder of the data set")
    importer.add_argument("--output", type=Path, required=True, metavar="FILE.npz", help="pose file to write")
    importer.add_argument("--annotations", type=Path, metavar="JSON", help="COCO file that names the numbered images")
    importer.add_argument("--format", choices=tuple(FORMATS), help="of the sources (default: told from their content)")
    importer.set_defaults(run=run_import)
    runner = _add_run_parser(actions)
    report = command_parser(
        actions,
        "report",
        help="say what a pose file covers",
        description="Say what a pose file covers, and draw some of it.",
        example="fastreid-ext pose report market_pose.npz --images datasets/Market-1501-v15.09.15 --sheet poses.png",
    )
    report.add_argument("file", type=Path, metavar="FILE.npz", help="pose file")
    report.add_argument("--images", type=Path, metavar="ROOT", help="folder of the data set, for --sheet")
    report.set_defaults(run=run_report)
    for action in (importer, runner, report):
        action.add_argument("--sheet", type=Path, metavar="PNG", help="also draw skeletons on some of the images")
        action.add_argument(
            "--sheet-images", type=_count, default=ON_SHEET, metavar="N", help="how many to draw (default: %(default)s)"
        )
        action.add_argument(
            "--threshold",
            type=_confidence,
            default=THRESHOLD,
            metavar="C",
            help="confidence above which a joint is seen (default: %(default)s)",
        )


def _add_run_parser(actions: Any) -> argparse.ArgumentParser:
    runner = command_parser(
        actions,
        "run",
        help="make a pose file by running a pose model (ONNX)",
        description="Make a pose file (.npz) by running a top-down pose model (.onnx; heat maps, also with offsets, or"
        " SimCC) on every image of a data set, with the whole image as the person's box. Call it again after an"
        " interruption: it continues.",
        example="fastreid-ext pose run --model vitpose.onnx --images datasets/Market-1501-v15.09.15"
        " --output market_pose.npz",
    )
    runner.add_argument("--model", type=Path, required=True, metavar="FILE.onnx", help="pose model")
    runner.add_argument("--images", type=Path, required=True, metavar="ROOT", help="folder of the data set")
    runner.add_argument("--output", type=Path, required=True, metavar="FILE.npz", help="pose file to write")
    view = runner.add_argument_group("what the model takes")
    view.add_argument(
        "--size", type=_count, nargs=2, metavar=("H", "W"), help="of the model's input, where the file leaves it open"
    )
    view.add_argument(
        "--padding",
        type=_padding,
        default=PADDING,
        metavar="P",
        help="how many times as large as the image the model's view is (default: %(default)s)",
    )
    for name, default in (("mean", MEAN), ("std", STD)):
        view.add_argument(
            f"--{name}",
            type=float,
            nargs=3,
            metavar=("R", "G", "B"),
            help=f"{name} of the pixels, 0 to 255, as MMPose writes it (default: what the file says, else ImageNet's,"
            f" {' '.join(map(str, default))})",
        )
    view.add_argument("--color", choices=COLORS, help="order of its channels (default: what the file says, else rgb)")
    view.add_argument(
        "--udp", action="store_true", help="its heat maps use unbiased data processing, as MMPose's ViTPose does"
    )
    work = runner.add_argument_group("how it runs")
    work.add_argument(
        "--batch-size", type=_count, metavar="N", help=f"images per batch (default: the model's own, else {BATCH_SIZE})"
    )
    work.add_argument("--device", choices=DEVICES, default="cpu", help="default: %(default)s")
    work.add_argument("--threads", type=_count, default=0, metavar="N", help="of the CPU (default: onnxruntime's)")
    work.add_argument(
        "--workers", type=_count, default=WORKERS, metavar="N", help="threads that read images (default: %(default)s)"
    )
    work.add_argument(
        "--save-every",
        type=_count,
        default=SAVE_EVERY,
        metavar="N",
        help="save progress after this many images (default: %(default)s)",
    )
    runner.set_defaults(run=run_model)
    return runner


def run_import(args: argparse.Namespace) -> None:
    """Import poses and print a report."""
    from fastreid_ext.pose.making import import_file

    lines = import_file(args.sources, args.images, args.output, args.annotations, args.format, shown(args))
    print("\n".join(lines))


def run_model(args: argparse.Namespace) -> None:
    """Run the pose model and print a report."""
    from fastreid_ext.pose.making import check_new, run_on_images
    from fastreid_ext.pose.model import PoseModel
    from fastreid_ext.pose.running import Preparation

    check_new(args.output)
    if args.std is not None and (not all(0 < std for std in args.std) or max(args.std) < 1):
        raise ConfigError(f"--std {args.std} is not on the 0-255 scale: multiply deviations of pixels in [0, 1] by 255")
    size = tuple(args.size) if args.size else None
    model = PoseModel(args.model, size, args.batch_size, args.device, args.threads, args.udp)
    given = {"mean": args.mean and tuple(args.mean), "std": args.std and tuple(args.std), "color": args.color}
    wanted = {**model.takes, **{key: value for key, value in given.items() if value is not None}}
    preparation = Preparation(args.padding, **wanted)
    lines = run_on_images(
        model, args.images, args.output, preparation, args.save_every, shown(args), workers=args.workers
    )
    print("\n".join(lines))


def run_report(args: argparse.Namespace) -> None:
    """Print what a pose file covers."""
    from fastreid_ext.pose.making import report_on

    print("\n".join(report_on(args.file, args.images, shown(args))))


def shown(args: argparse.Namespace) -> "Shown":
    """Return what the options of all actions say."""
    from fastreid_ext.pose.making import Shown

    return Shown(args.threshold, args.sheet, args.sheet_images)


def _confidence(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a confidence: it must be at least 0 and below 1")
    return value


def _padding(text: str) -> float:
    value = float(text)
    if not 1 <= value < 10:
        raise argparse.ArgumentTypeError(f"{text} is not a padding: from 1 (none) to below 10, 1.25 in most recipes")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return value
