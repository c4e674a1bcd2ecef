"""Joints of a config's images, found before training starts (INPUT.JOINTS)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset
from torch import nn
from torchvision import transforms as T

from fastreid_ext.data.batches import Items
from fastreid_ext.data.capabilities import HasPoses
from fastreid_ext.data.catalog import dataset_root
from fastreid_ext.data.pixels.joint_transforms import JointTransform
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.branched import LABEL_KEYS, TEST_LABEL_KEYS
from fastreid_ext.modeling.capabilities import ReadsLabels

MAKE_FILE = "make a pose file with fastreid-ext pose run or pose import and name it in INPUT.JOINTS.FILES"


def files_of(cfg: CfgNode, names: Sequence[str]) -> list[str]:
    """Return the pose file of each data set, "" for the data set's own labels.

    Data sets of DATASETS.NAMES use the files of INPUT.JOINTS.FILES, all others their own labels.

    Raises:
        ConfigError: not as many files as data sets.
    """
    files, trained = list(cfg.INPUT.JOINTS.FILES), tuple(cfg.DATASETS.NAMES)
    if files and len(files) != len(trained):
        raise ConfigError(
            f"INPUT.JOINTS.FILES has {len(files)} files for the {len(trained)} data sets of DATASETS.NAMES {trained}:"
            ' give one each, "" for the labels that a data set has of its own'
        )
    known = dict(zip(trained, files, strict=False))
    return [known.get(name, "") for name in names]


def joints_of(cfg: CfgNode, datasets: Mapping[str, ImageDataset], splits: Sequence[str], items: Items) -> np.ndarray:
    """Return joints (N, J, 3) of the items, as shares of their images, and confidence.

    Args:
        cfg: the run's config.
        datasets: by name.
        splits: of the data sets, that the items are from; out of "train", "query", "gallery".
        items: (path, identity, camera) of every image.

    Raises:
        ConfigError: as :func:`files_of`.
        PoseError: labels that are missing, lack an image or do not match each other.
    """
    paths = [item[0] for item in items]
    found: dict[str, np.ndarray] = {}
    sources = []
    for (name, dataset), file in zip(datasets.items(), files_of(cfg, tuple(datasets)), strict=True):
        poses, source = poses_of(name, dataset, file)
        sources.append(f"{source} ({poses.joints.shape[1]} joints)")
        own = {item[0] for split in splits for item in getattr(dataset, split)}
        found = poses.shares_of(path for path in paths if path in own) | found
    missing = list(dict.fromkeys(path for path in paths if path not in found))
    if missing:
        first = ", ".join(missing[:3])
        raise PoseError(
            f"{len(missing)} of {len(set(paths))} images have no row of joints in {', '.join(sources)}; the first"
            f" {'is' if len(missing) == 1 else 'are'} {first}: {MAKE_FILE}, with a row for every image"
        )
    if len({joints.shape for joints in found.values()}) > 1:
        raise PoseError(f"all data sets need the same joints, but there are {', '.join(sources)}")
    return np.stack([found[path] for path in paths])


def follow_joints(cfg: CfgNode, transforms: T.Compose, joints: np.ndarray) -> Callable:
    """Return the transforms of an image and its joints.

    Raises:
        ConfigError: transforms that joints can't follow, or flip pairs that are not of these joints.
    """
    for key in ("AUTOAUG", "AUGMIX"):
        if cfg.INPUT[key].ENABLED:
            raise ConfigError(
                f"INPUT.{key}.ENABLED shears, turns and shifts images in a way that joints can't follow: set"
                f" INPUT.{key}.ENABLED False, or INPUT.JOINTS.ENABLED False"
            )
    pairs = [list(pair) if isinstance(pair, list | tuple) else pair for pair in cfg.INPUT.JOINTS.FLIP_PAIRS]
    return JointTransform(transforms.transforms, pairs, joints.shape[1])


def check_labels(cfg: CfgNode, model: nn.Module) -> None:
    """Check that the labels that the model needs are loaded, and that loaded joints are read by the model.

    Raises:
        ConfigError: a key to switch on or off.
    """
    labels, test_labels = (model.labels, model.test_labels) if isinstance(model, ReadsLabels) else ((), ())
    name = cfg.MODEL.META_ARCHITECTURE
    if "joints" in labels and not cfg.INPUT.JOINTS.ENABLED:
        raise ConfigError(f"{name} trains with joints: set {LABEL_KEYS['joints']} True")
    if "joints" not in labels and cfg.INPUT.JOINTS.ENABLED:
        raise ConfigError(f"{name} reads no joints: set {LABEL_KEYS['joints']} False")
    if "joints" in test_labels and cfg.TEST.FLIP.ENABLED:
        raise ConfigError(
            f"{name} reads joints at the test, which TEST.FLIP does not flip: set TEST.FLIP.ENABLED False"
        )
    if "joints" in test_labels and not cfg.INPUT.JOINTS.TEST:
        raise ConfigError(f"{name} reads joints at the test: set {TEST_LABEL_KEYS['joints']} True")


def check_images_suffice(model: nn.Module) -> None:
    """Check that a model's test reads images alone.

    Raises:
        ConfigError: it reads labels that a list or a folder of images does not have.
    """
    if isinstance(model, ReadsLabels) and model.test_labels:
        raise ConfigError(f"the images come without the {', '.join(model.test_labels)} that this model's test reads")


def poses_of(name: str, dataset: ImageDataset, file: str) -> tuple[Poses, str]:
    """Return a data set's labels, those of a file if one is named, and their name for messages.

    Raises:
        PoseError: neither file nor labels, or not a pose file.
    """
    if file:
        # As it is called here, else in the folder of all data sets.
        path = Path(file) if Path(file).is_file() else dataset_root() / file
        return Poses.load(path), str(path)
    if not isinstance(dataset, HasPoses):
        raise PoseError(f"the data set {name} has no joints of its own: {MAKE_FILE}")
    return dataset.poses(), f"the labels of {name}"
