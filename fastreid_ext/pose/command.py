"""The command ``pose``: makes pose files of what pose models wrote, and says what is in them."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.engine.files import write_atomically
from fastreid_ext.pose.matching import Imported, import_poses
from fastreid_ext.pose.readers import FORMATS, read_skeletons
from fastreid_ext.pose.report import Coverage
from fastreid_ext.pose.sheet import pose_sheet

THRESHOLD, ON_SHEET, NAMES_SHOWN = 0.2, 24, 3


def add_pose_parser(commands: Any) -> None:
    """Add the command and its own commands to an argparse ``subparsers``."""
    parser = commands.add_parser(
        "pose", help="make pose files from what pose models wrote, and report on them", description=__doc__
    )
    actions = parser.add_subparsers(dest="action", required=True)
    importer = actions.add_parser(
        "import",
        help="make a pose file from COCO, AlphaPose or OpenPose JSON",
        description="Make a pose file (.npz) from JSON of COCO (annotations or keypoint results), AlphaPose or"
        " OpenPose. Of several people in an image, the one whose head is nearest the middle of the upper edge is taken;"
        " of equals, the one with the best score.",
    )
    importer.add_argument("sources", type=Path, nargs="+", metavar="SOURCE", help="JSON file, or OpenPose's folder")
    importer.add_argument("--images", type=Path, required=True, metavar="ROOT", help="folder of the data set")
    importer.add_argument("--output", type=Path, required=True, metavar="FILE.npz", help="pose file to write")
    importer.add_argument("--annotations", type=Path, metavar="JSON", help="COCO file that names the numbered images")
    importer.add_argument("--format", choices=tuple(FORMATS), help="of the sources (default: told from their content)")
    importer.set_defaults(run=lambda args: _run(args, _import))
    report = actions.add_parser(
        "report", help="say what a pose file covers", description="Say what a pose file covers, and draw some of it."
    )
    report.add_argument("file", type=Path, metavar="FILE.npz", help="pose file")
    report.add_argument("--images", type=Path, metavar="ROOT", help="folder of the data set, for --sheet")
    report.set_defaults(run=lambda args: _run(args, _report))
    for action in (importer, report):
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


def _run(args: argparse.Namespace, carry_out: Callable[[argparse.Namespace], Sequence[str]]) -> int:
    """Print what a command has to say and return the exit status."""
    try:
        lines = carry_out(args)
    except (OSError, PoseError) as error:
        print(f"fastreid-ext pose {args.action}: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _import(args: argparse.Namespace) -> list[str]:
    people = [person for source in args.sources for person in read_skeletons(source, args.format, args.annotations)]
    imported = import_poses(people, args.images, args.threshold)
    lines = [*_summary(imported, args.images), *Coverage.of(imported.poses, args.threshold).lines()]
    imported.poses.save(args.output)
    return [*lines, *_sheet(imported.poses, args), f"written: {args.output}"]


def _report(args: argparse.Namespace) -> list[str]:
    poses = Poses.load(args.file)
    if args.sheet is not None and args.images is None:
        raise PoseError("--sheet draws on the images: name their folder with --images")
    return [*Coverage.of(poses, args.threshold).lines(), *_sheet(poses, args)]


def _sheet(poses: Poses, args: argparse.Namespace) -> list[str]:
    if args.sheet is None:
        return []
    picture = pose_sheet(poses, args.images, args.sheet_images, args.threshold)
    args.sheet.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(args.sheet, lambda file: picture.save(file, format="PNG"))
    return [f"drawn: {args.sheet}"]


def _summary(imported: Imported, root: Path) -> list[str]:
    """Say what became of the images and of the poses."""
    missing, unknown = imported.missing, imported.unknown
    lines = [f"{len(imported.poses)} of {len(imported.poses) + len(missing)} images below {root} have a pose"]
    if missing:
        folders = Counter(PurePosixPath(name).parent.as_posix() for name in missing)
        most = ", ".join(f"{count} in {folder}" for folder, count in folders.most_common(NAMES_SHOWN))
        lines.append(f"without a pose: {len(missing)} ({most}): {_few(missing)}")
    if unknown:
        lines.append(f"poses of images that are not there: {len(unknown)}: {_few(unknown)}")
    if imported.several:
        lines.append(f"several people: in {imported.several} images, of which the head at the top centre was taken")
    if imported.rescaled:
        lines.append(f"other sizes: {imported.rescaled} images; their joints were scaled to the image files")
    return lines


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")


def _confidence(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no confidence: 0 or more, and less than 1")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of images: 1 or more")
    return value
