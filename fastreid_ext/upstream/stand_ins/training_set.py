"""The training set of a config, for projects that give it another sampler or more labels."""

from typing import Any

from fastreid.config import CfgNode
from fastreid.data.build import _root
from fastreid.data.datasets import DATASET_REGISTRY


def training_items(cfg: CfgNode) -> list[tuple[str, Any, Any]]:
    """Return (path, identity, camera) of every training image of DATASETS.NAMES."""
    sets = [DATASET_REGISTRY.get(name)(root=_root, combineall=cfg.DATASETS.COMBINEALL) for name in cfg.DATASETS.NAMES]
    return [item for each in sets for item in each.train]
