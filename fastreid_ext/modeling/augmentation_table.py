"""The table that INPUT.BATCH_AUGMENT.NAME picks from: augmentation of whole, normalised batches on their device."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastreid.config import CfgNode
from torch import Tensor

from fastreid_ext.data.batch_erasing import erase_rectangles

# (images, targets) -> (images, targets); a batch may grow, and its targets with it.
BatchAugmentation = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class AugmentationEntry:
    """One row of the table: its config node below INPUT.BATCH_AUGMENT, the node's defaults, and how to build it."""

    node: str
    defaults: Mapping[str, Any]
    build: Callable[[CfgNode], BatchAugmentation]


def _random_erasing(node: CfgNode) -> BatchAugmentation:
    erase = partial(erase_rectangles, probability=node.PROB, area=tuple(node.AREA), ratio=node.RATIO)
    return lambda images, targets: (erase(images), targets)


AUGMENTATIONS: dict[str, AugmentationEntry] = {
    "RandomErasing": AugmentationEntry("REA", {"PROB": 0.5, "AREA": [0.02, 0.4], "RATIO": 0.3}, _random_erasing),
}


def add_augmentation_config(cfg: CfgNode) -> None:
    """Add INPUT.BATCH_AUGMENT: NAME, a list of names of the table, and the node of each."""
    cfg.INPUT.BATCH_AUGMENT = CfgNode({"NAME": []})
    for entry in AUGMENTATIONS.values():
        cfg.INPUT.BATCH_AUGMENT[entry.node] = CfgNode(dict(entry.defaults))


def augmentations_from_config(cfg: CfgNode) -> list[BatchAugmentation]:
    """Read INPUT.BATCH_AUGMENT.

    Raises:
        ValueError: an unknown name.
    """
    unknown = [name for name in cfg.INPUT.BATCH_AUGMENT.NAME if name not in AUGMENTATIONS]
    if unknown:
        raise ValueError(f"INPUT.BATCH_AUGMENT.NAME has {unknown}; pick from {sorted(AUGMENTATIONS)}")
    entries = [AUGMENTATIONS[name] for name in cfg.INPUT.BATCH_AUGMENT.NAME]
    return [entry.build(cfg.INPUT.BATCH_AUGMENT[entry.node]) for entry in entries]
