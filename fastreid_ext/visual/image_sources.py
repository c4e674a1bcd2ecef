"""The images that a picture is made of: those of a folder or of a data set, with their joints where there are any."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode

from fastreid_ext.data.capabilities import HasPoses
from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.engine.joints import files_of, poses_of
from fastreid_ext.engine.test_sets import first_test_set
from fastreid_ext.errors import ConfigError
from fastreid_ext.image_files import list_folder

logger = logging.getLogger(__name__)

NO_IMAGES = "name images with --images or --test-set, or a data set in DATASETS.TESTS"
SPLITS = {"train": ("train",), "query": ("query",), "gallery": ("gallery",), "": ("query", "gallery")}


@dataclass(frozen=True)
class JointImages:
    """Images, and what is known of their joints.

    Attributes:
        paths: of the images.
        joints: (N, J, 3) as shares of the image, and confidence; zeros for an image without a row; None without labels.
        source: name of the joints' source in messages; "" if there is none.
        missing: how many images have no row.
    """

    paths: Sequence[str]
    joints: np.ndarray | None = None
    source: str = ""
    missing: int = 0


def files_below(folder: Path, limit: int = 0, without: Path | None = None) -> list[Path]:
    """Return the images of a folder and of those in it, in order; the first so many if there is a limit.

    A warning says what was taken and what was left out, by reason, if anything was.

    Args:
        folder: of images.
        limit: 0 for none.
        without: --output; images in it are left out, since an earlier call drew them.

    Raises:
        ConfigError: no image, or ``without`` is the folder itself.
    """
    if without is not None and without.exists() and folder.exists() and without.samefile(folder):
        raise ConfigError(
            f"--output {without} is the folder of the images, where the next call would take what is drawn for images:"
            " name another one"
        )
    listing = list_folder(folder, without=without)
    if not listing.files:
        raise ConfigError(f"the folder {folder} holds no image ({listing.sentence()})")
    if listing.left_out:
        logger.warning("%s", listing.sentence())
    files = sorted(listing.files)
    return files[:limit] if limit > 0 else files


def batches(items: Sequence, size: int) -> Iterator[Sequence]:
    """Split a sequence into pieces of a size; the last one may be smaller."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def spread(count: int, limit: int) -> list[int]:
    """Return at most ``limit`` numbers out of 0 to ``count`` - 1, spread evenly; all of them for a limit of 0."""
    if not 0 < limit < count:
        return list(range(count))
    return np.linspace(0, count - 1, num=limit).round().astype(int).tolist()


def images_with_joints(
    cfg: CfgNode, folder: Path | None, test_set: str, pose_file: Path | None, limit: int, without: Path | None = None
) -> JointImages:
    """Return the images to look at, spread evenly over all of them, with their joints.

    Joints come from ``pose_file``, else from INPUT.JOINTS.FILES if it has a file for the data set (for a folder: the
    files of all data sets), else from the data set itself.

    Args:
        cfg: the config.
        folder: of images, or None.
        test_set: NAME, NAME/train, NAME/query or NAME/gallery of a registered data set, where there is no folder;
            "" = the first of DATASETS.TESTS.
        pose_file: or None.
        limit: 0 = all.
        without: as :func:`files_below` takes it.

    Raises:
        ConfigError: no image, the folder of the images as ``without``, no such split, or INPUT.JOINTS.FILES that do not
            fit.
        DataSetError: the data set is missing.
        PoseError: not a pose file, or labels without a row for any of the images.
    """
    if folder is not None:
        paths, labels = [str(path) for path in files_below(folder, without=without)], _labels_for_folder(cfg, pose_file)
    else:
        paths, labels = _of_data_set(cfg, test_set or first_test_set(cfg, NO_IMAGES), pose_file)
    paths = [paths[i] for i in spread(len(paths), limit)]
    if not labels:
        return JointImages(paths)
    source = ", ".join(source for _, source in labels)
    found: dict[str, np.ndarray] = {}
    for poses, _ in labels:
        found = poses.shares_of(paths) | found
    if not found:
        raise PoseError(
            f"{source} has a row for none of the {len(paths)} images, such as {paths[0]}: its rows are named by the"
            " image's path below the folder that fastreid-ext pose import was given"
        )
    shapes = {joints.shape for joints in found.values()}
    if len(shapes) > 1:
        raise PoseError(f"the labels of {source} have different numbers of joints: {sorted(s[0] for s in shapes)}")
    unknown = np.zeros(shapes.pop(), dtype=np.float32)
    joints = np.stack([found.get(path, unknown) for path in paths])
    return JointImages(paths, joints, source, sum(path not in found for path in paths))


def _labels_for_folder(cfg: CfgNode, pose_file: Path | None) -> list[tuple[Poses, str]]:
    files = [str(pose_file)] if pose_file else [file for file in cfg.INPUT.JOINTS.FILES if file]
    return [poses_of("--images", None, file) for file in files]


def _of_data_set(cfg: CfgNode, name: str, pose_file: Path | None) -> tuple[list[str], list[tuple[Poses, str]]]:
    name, _, split = name.partition("/")
    if split not in SPLITS:
        raise ConfigError(f"--test-set has {name}/{split}: it is NAME, NAME/train, NAME/query or NAME/gallery")
    dataset = load_dataset(name, SPLITS[split])
    paths = [item[0] for member in SPLITS[split] for item in sorted(getattr(dataset, member))]
    file = str(pose_file) if pose_file else files_of(cfg, [name])[0]
    known = file or isinstance(dataset, HasPoses)
    return paths, [poses_of(name, dataset, file)] if known else []
