"""The command ``pose``: makes pose files with pose models or of what they wrote, and says what is in them."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fastreid_ext.data.body import COCO_JOINTS
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.engine.files import write_atomically
from fastreid_ext.pose.crops import COLORS, MEAN, PADDING, STD
from fastreid_ext.pose.matching import ImageIndex, Imported, import_poses
from fastreid_ext.pose.model import BATCH_SIZE, PROVIDERS, PoseModel
from fastreid_ext.pose.parts import Parts
from fastreid_ext.pose.readers import FORMATS, read_skeletons
from fastreid_ext.pose.report import Coverage
from fastreid_ext.pose.running import Preparation, run_model, settings_of
from fastreid_ext.pose.sheet import pose_sheet

THRESHOLD, ON_SHEET, NAMES_SHOWN, SAVE_EVERY = 0.2, 24, 3, 512
INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended


def add_pose_parser(commands: Any) -> None:
    """Add the command and its own commands to an argparse ``subparsers``."""
    parser = commands.add_parser(
        "pose", help="make pose files with pose models or of what they wrote, report on them", description=__doc__
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
    runner = _add_run_parser(actions)
    report = actions.add_parser(
        "report", help="say what a pose file covers", description="Say what a pose file covers, and draw some of it."
    )
    report.add_argument("file", type=Path, metavar="FILE.npz", help="pose file")
    report.add_argument("--images", type=Path, metavar="ROOT", help="folder of the data set, for --sheet")
    report.set_defaults(run=lambda args: _run(args, _report))
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
    runner = actions.add_parser(
        "run",
        help="make a pose file by running a pose model (ONNX)",
        description="Make a pose file (.npz) by running a top-down pose model (.onnx, heat maps or SimCC) on every"
        " image of a data set, the whole image being the person's box. What was interrupted goes on where it was when"
        " the same command is given again.",
    )
    runner.add_argument("--model", type=Path, required=True, metavar="FILE.onnx", help="pose model")
    runner.add_argument("--images", type=Path, required=True, metavar="ROOT", help="folder of the data set")
    runner.add_argument("--output", type=Path, required=True, metavar="FILE.npz", help="pose file to write")
    runner.add_argument(
        "--size", type=_count, nargs=2, metavar=("H", "W"), help="of the model's input, where the file leaves it open"
    )
    runner.add_argument(
        "--padding",
        type=_padding,
        default=PADDING,
        metavar="P",
        help="how many times as large as the image the model's view is (default: %(default)s)",
    )
    for name, default in (("mean", MEAN), ("std", STD)):
        runner.add_argument(
            f"--{name}",
            type=float,
            nargs=3,
            default=default,
            metavar=("R", "G", "B"),
            help=f"{name} of the pixels, 0 to 255, as MMPose writes it (default: ImageNet's, %(default)s)",
        )
    runner.add_argument("--color", choices=COLORS, default="rgb", help="order of its channels (default: %(default)s)")
    runner.add_argument(
        "--udp", action="store_true", help="its heat maps are of unbiased data processing, as ViTPose's in MMPose"
    )
    runner.add_argument(
        "--batch-size", type=_count, metavar="N", help=f"images at once (default: the model's own, else {BATCH_SIZE})"
    )
    runner.add_argument("--device", choices=tuple(PROVIDERS), default="cpu", help="default: %(default)s")
    runner.add_argument("--threads", type=_count, default=0, metavar="N", help="of the CPU (default: onnxruntime's)")
    runner.add_argument(
        "--save-every",
        type=_count,
        default=SAVE_EVERY,
        metavar="N",
        help="images after which what was done is kept (default: %(default)s)",
    )
    runner.set_defaults(run=lambda args: _run(args, _run_model))
    return runner


def _run(args: argparse.Namespace, carry_out: Callable[[argparse.Namespace], Sequence[str]]) -> int:
    """Print what a command has to say and return the exit status."""
    try:
        lines = carry_out(args)
    except (OSError, PoseError) as error:
        print(f"fastreid-ext pose {args.action}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"fastreid-ext pose {args.action}: interrupted", file=sys.stderr)
        return INTERRUPTED
    print("\n".join(lines))
    return 0


def _import(args: argparse.Namespace) -> list[str]:
    people = [person for source in args.sources for person in read_skeletons(source, args.format, args.annotations)]
    imported = import_poses(people, args.images, args.threshold)
    lines = [*_summary(imported, args.images), *Coverage.of(imported.poses, args.threshold).lines()]
    imported.poses.save(args.output)
    return [*lines, *_sheet(imported.poses, args), f"written: {args.output}"]


def _run_model(args: argparse.Namespace) -> list[str]:
    folder = args.output.with_name(f"{args.output.name}.parts")
    # with parts beside it, the last run was killed between writing the file and removing them
    if args.output.exists() and not folder.exists():
        raise PoseError(f"{args.output} is there already: delete it, or name another --output")
    if not all(0 < std for std in args.std) or max(args.std) < 1:
        raise PoseError(f"--std {args.std} is no deviation of pixels from 0 to 255: for shares, multiply by 255")
    names = ImageIndex(args.images).names
    if not names:
        raise PoseError(f"there is no image below {args.images}")
    size = tuple(args.size) if args.size else None
    model = PoseModel(args.model, size, args.batch_size, args.device, args.threads, args.udp)
    coco = model.joints == len(COCO_JOINTS)
    if args.sheet is not None and not coco:
        raise PoseError(f"{args.model} gives {model.joints} joints: --sheet can draw COCO's {len(COCO_JOINTS)} only")
    preparation = Preparation(args.padding, tuple(args.mean), tuple(args.std), args.color)
    parts = Parts(folder, settings_of(model, args.images, preparation))
    try:
        poses, done = run_model(
            model, model.input_size, model.batch_size, args.images, names, parts, preparation, args.save_every
        )
        poses.save(args.output)
        parts.remove()
    finally:
        parts.close()
    width, height = model.input_size
    lines = [f"{len(poses)} images below {args.images}; {model.kind} of {model.joints} joints from {height}x{width}"]
    if done:
        lines.append(f"{done} of them had been done before an interruption")
    if not coco:
        lines.append(f"{model.joints} joints are not COCO's {len(COCO_JOINTS)}: what they cover can't be reported")
    else:
        lines += [*Coverage.of(poses, args.threshold).lines(), *_sheet(poses, args)]
    return [*lines, f"written: {args.output}"]


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


def _padding(text: str) -> float:
    value = float(text)
    if not 1 <= value < 10:
        raise argparse.ArgumentTypeError(f"{text} is no padding: 1 for none, 1.25 in most recipes, and less than 10")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 on")
    return value
