"""Pose files: imported from JSON or made by a pose model, with a report in sentences."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fastreid_ext.data.body import COCO_JOINTS
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.files import write_picture
from fastreid_ext.pose.chunks import SavedChunks
from fastreid_ext.pose.matching import ImageIndex, Imported, import_poses
from fastreid_ext.pose.model import PoseModel
from fastreid_ext.pose.options import THRESHOLD, WORKERS
from fastreid_ext.pose.readers import read_skeletons
from fastreid_ext.pose.report import Coverage
from fastreid_ext.pose.running import Preparation, run_model, settings_of
from fastreid_ext.pose.sheet import pose_sheet

NAMES_SHOWN = 3


@dataclass(frozen=True)
class Shown:
    """Options of the report on a pose file.

    Attributes:
        threshold: confidence above which a joint is seen.
        sheet: PNG with skeletons on some of the images, or None.
        sheet_images: how many images are drawn on it.
    """

    threshold: float = THRESHOLD
    sheet: Path | None = None
    sheet_images: int = 24


def import_file(
    sources: Sequence[Path], images: Path, output: Path, annotations: Path | None, form: str | None, shown: Shown
) -> list[str]:
    """Make a pose file from JSON of COCO, AlphaPose or OpenPose.

    Raises:
        PoseError: a source that can't be read or that names none of the images.
    """
    people = [person for source in sources for person in read_skeletons(source, form, annotations)]
    imported = import_poses(people, images, shown.threshold)
    lines = [*_summary(imported, images), *Coverage.of(imported.poses, shown.threshold).lines()]
    imported.poses.save(output)
    return [*lines, *_sheet(imported.poses, images, shown), f"written: {output}"]


def run_on_images(
    model: PoseModel,
    images: Path,
    output: Path,
    preparation: Preparation,
    save_every: int,
    shown: Shown,
    workers: int = WORKERS,
) -> list[str]:
    """Make a pose file by running a model on every image of a folder, continuing what was interrupted.

    Raises:
        PoseError: no image, a sheet of joints that are not COCO's, or an output that already exists.
    """
    names = ImageIndex(images).names
    if not names:
        raise PoseError(f"there is no image below {images}")
    coco = model.joints == len(COCO_JOINTS)
    if shown.sheet is not None and not coco:
        raise PoseError(f"the model gives {model.joints} joints: --sheet can draw COCO's {len(COCO_JOINTS)} only")
    chunks = SavedChunks(chunks_folder(output), settings_of(model, images, preparation))
    try:
        poses, done = run_model(
            model,
            model.input_size,
            model.batch_size,
            images,
            names,
            chunks,
            preparation,
            save_every,
            workers,
            shown.threshold,
        )
        poses.save(output)
        chunks.remove()
    finally:
        chunks.close()
    width, height = model.input_size
    lines = [f"{len(poses)} images below {images}; {model.kind} of {model.joints} joints from {height}x{width}"]
    if done:
        lines.append(f"{done} of them had been done before an interruption")
    if not coco:
        lines.append(f"{model.joints} joints are not COCO's {len(COCO_JOINTS)}: what they cover can't be reported")
    else:
        lines += [*Coverage.of(poses, shown.threshold).lines(), *_sheet(poses, images, shown)]
    return [*lines, f"written: {output}"]


def check_new(output: Path) -> None:
    """Check that a pose file is not there yet.

    Raises:
        PoseError: it is.
    """
    # if there are chunks, the last run was killed after writing the file and before removing them
    if output.exists() and not chunks_folder(output).exists():
        raise PoseError(f"{output} already exists: delete it, or choose another --output")


def chunks_folder(output: Path) -> Path:
    """Return the folder that keeps what an interrupted run has done."""
    return output.with_name(f"{output.name}.chunks")


def report_on(file: Path, images: Path | None, shown: Shown) -> list[str]:
    """Say what a pose file covers.

    Raises:
        PoseError: not a pose file, or a sheet without the images.
    """
    poses = Poses.load(file)
    if shown.sheet is not None and images is None:
        raise PoseError("--sheet draws on the images: name their folder with --images")
    return [*Coverage.of(poses, shown.threshold).lines(), *_sheet(poses, images, shown)]


def _sheet(poses: Poses, images: Path | None, shown: Shown) -> list[str]:
    if shown.sheet is None or images is None:
        return []
    write_picture(shown.sheet, pose_sheet(poses, images, shown.sheet_images, shown.threshold))
    return [f"drawn: {shown.sheet}"]


def _summary(imported: Imported, root: Path) -> list[str]:
    """Return sentences on how images and poses were matched."""
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
