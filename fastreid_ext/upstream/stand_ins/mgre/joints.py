"""Training images with their joints, which the location modules learn from (section 3.2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.build import _root
from fastreid.data.common import CommDataset

from fastreid_ext.data.body import FLIP_PAIRS
from fastreid_ext.errors import ConfigError

MOVING = ("PADDING", "AFFINE", "AUTOAUG", "AUGMIX", "CROP")  # of INPUT: what would move pixels away from the joints


def add_joints_config(cfg: CfgNode) -> None:
    """Add INPUT.JOINTS."""
    # A .npz file for each set of DATASETS.NAMES, here or in the folder of all data sets: names (N,), the images' paths
    # below the set's folder; joints (N, 17, 3), x, y in pixels and confidence; sizes (N, 2), width and height
    cfg.INPUT.JOINTS = CfgNode({"ENABLED": False, "FILES": []})


class ImagesWithJoints(CommDataset):
    """FastReID's training set, whose items have "joints" (17, 3): shares of width and height, and confidence.

    Args:
        items: (path, identity, camera) of every image.
        transforms: of the image, without the flip, which is made here.
        joints: path -> joints.
        flip: probability of the flip.
    """

    def __init__(self, items: Sequence, transforms: Any, joints: Mapping[str, np.ndarray], flip: float):
        super().__init__(items, transforms, relabel=True)
        self.joints, self.flip = joints, flip

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        joints = torch.from_numpy(self.joints[item["img_paths"]].copy())
        if torch.rand(()) < self.flip:
            item["images"] = item["images"].flip(-1)
            for left, right in FLIP_PAIRS:
                joints[[left, right]] = joints[[right, left]]
            joints[:, 0] = 1 - joints[:, 0]
        return {**item, "joints": joints}


def transforms_config(cfg: CfgNode) -> CfgNode:
    """Return the config that the transforms of images with joints are built from: without the flip.

    Raises:
        ConfigError: transforms that move pixels in a way that the joints do not follow.
    """
    moving = [f"INPUT.{key}.ENABLED" for key in MOVING if key in cfg.INPUT and cfg.INPUT[key].ENABLED]
    if moving:
        raise ConfigError(f"joints do not follow {', '.join(moving)}: set it False")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.FLIP.ENABLED = False
    return cfg


def joints_of(cfg: CfgNode, paths: Sequence[str]) -> dict[str, np.ndarray]:
    """Return path -> joints (17, 3), from the files of INPUT.JOINTS.FILES; a row belongs to the paths that end in it.

    Raises:
        ConfigError: a file that is not there, or an image without a row.
    """
    rows: dict[str, np.ndarray] = {}
    for name in cfg.INPUT.JOINTS.FILES:
        file = Path(name) if Path(name).is_file() else Path(_root, name)
        if not file.is_file():
            raise ConfigError(f"there is no file {file} with joints: name one in INPUT.JOINTS.FILES")
        with np.load(file) as arrays:
            shares = arrays["joints"].astype(np.float64)
            shares[..., :2] = (shares[..., :2] + 0.5) / arrays["sizes"][:, None]
            rows.update(zip(arrays["names"].tolist(), shares.astype(np.float32), strict=True))
    found = {}
    for path in paths:
        parts = PurePath(path).parts
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        row = next((end for end in ends if end in rows), None)
        if row is None:
            raise ConfigError(f"{path} has no row of joints in {list(cfg.INPUT.JOINTS.FILES)} (INPUT.JOINTS.FILES)")
        found[path] = rows[row]
    return found
