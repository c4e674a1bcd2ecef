"""The table that INPUT.BATCH_AUGMENT.NAME picks from: augmentation of whole, normalised batches on their device."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from fastreid.config import CfgNode
from torch import Tensor

from fastreid_ext.data.batch_erasing import erase_rectangles
from fastreid_ext.data.erased_pixels import Fill
from fastreid_ext.errors import ConfigError


class BatchAugmentation(Protocol):
    """(images, labels ...) -> the same in the same order; a batch may grow, and all its labels with it."""

    def __call__(self, images: Tensor, *labels: Tensor) -> tuple[Tensor, ...]: ...


@dataclass(frozen=True)
class Batches:
    """The normalised batches of a training.

    Attributes:
        size: (height, width) in pixels.
        mean, std: of each channel, that they were normalised by.
    """

    size: tuple[int, int]
    mean: Sequence[float]
    std: Sequence[float]

    def fill(self, kind: str) -> Fill:
        """Return what fills erased pixels; a ConfigError for an unknown kind."""
        return Fill(kind, self.mean, self.std)


@dataclass(frozen=True)
class AugmentationEntry:
    """One row of the table.

    Attributes:
        node: its config node below INPUT.BATCH_AUGMENT.
        defaults: the node's keys.
        build: (node, the batches that it gets) -> augmentation.
        erases: it erases parts of every image, so FastReID's own INPUT.REA has to be off.
        counted_copies: node -> how often an image counts in SOLVER.IMS_PER_BATCH. 1 where that is the number of
            sampled images, 2 where it is that of the doubled batch.
    """

    node: str
    defaults: Mapping[str, Any]
    build: Callable[[CfgNode, Batches], BatchAugmentation]
    erases: bool = True
    counted_copies: Callable[[CfgNode], int] = lambda node: 1


def _random_erasing(node: CfgNode, batches: Batches) -> BatchAugmentation:
    fill = batches.fill(node.FILL)
    erase = partial(erase_rectangles, fill=fill, probability=node.PROB, area=tuple(node.AREA), ratio=node.RATIO)
    return lambda images, *labels: (erase(images), *labels)


AUGMENTATIONS: dict[str, AugmentationEntry] = {
    # FILL: mean (pixel) | random (numbers of [0, 255]) | normal (numbers with the mean and the spread of the pixels)
    "RandomErasing": AugmentationEntry(
        "REA", {"PROB": 0.5, "AREA": [0.02, 0.4], "RATIO": 0.3, "FILL": "mean"}, _random_erasing
    ),
}


def add_augmentation_config(cfg: CfgNode) -> None:
    """Add INPUT.BATCH_AUGMENT: NAME, a list of names of the table, and the node of each."""
    cfg.INPUT.BATCH_AUGMENT = CfgNode({"NAME": []})
    for entry in AUGMENTATIONS.values():
        cfg.INPUT.BATCH_AUGMENT[entry.node] = CfgNode(dict(entry.defaults))


def augmentations_from_config(cfg: CfgNode) -> list[BatchAugmentation]:
    """Read INPUT.BATCH_AUGMENT.

    Raises:
        ConfigError: an unknown name, settings that an augmentation refuses, or two that erase the same images.
    """
    names = _names(cfg)
    erasing = [name for name in names if AUGMENTATIONS[name].erases]
    if cfg.INPUT.REA.ENABLED and erasing:
        raise ConfigError(
            f"INPUT.REA.ENABLED erases every image before {erasing[0]} (INPUT.BATCH_AUGMENT.NAME) erases it again: set"
            " INPUT.REA.ENABLED False"
        )
    if len(erasing) > 1:
        raise ConfigError(f"INPUT.BATCH_AUGMENT.NAME has {erasing}, which all erase the same images: keep one")
    size = tuple(cfg.INPUT.SIZE_TRAIN)
    if names and len(size) != 2:  # FastReID takes one number, of the shorter side
        raise ConfigError(f"INPUT.SIZE_TRAIN is {list(size)}, and {names} need height and width, such as [256, 128]")
    entries = [AUGMENTATIONS[name] for name in names]
    batches = Batches(size, tuple(cfg.MODEL.PIXEL_MEAN), tuple(cfg.MODEL.PIXEL_STD))
    return [entry.build(cfg.INPUT.BATCH_AUGMENT[entry.node], batches) for entry in entries]


def sampled_per_batch(cfg: CfgNode) -> int:
    """Return how many images are sampled for a batch of SOLVER.IMS_PER_BATCH, all processes together.

    Raises:
        ConfigError: an unknown name, or a batch that the augmentation's copies do not divide.
    """
    names, batch = _names(cfg), cfg.SOLVER.IMS_PER_BATCH
    copies = math.prod(
        AUGMENTATIONS[name].counted_copies(cfg.INPUT.BATCH_AUGMENT[AUGMENTATIONS[name].node]) for name in names
    )
    if batch % copies:
        raise ConfigError(f"SOLVER.IMS_PER_BATCH ({batch}) is not a multiple of the {copies} copies that {names} make")
    return batch // copies


def _names(cfg: CfgNode) -> list[str]:
    names = list(cfg.INPUT.BATCH_AUGMENT.NAME)
    unknown = [name for name in names if name not in AUGMENTATIONS]
    if unknown:
        raise ConfigError(f"INPUT.BATCH_AUGMENT.NAME has {unknown}; choose from {sorted(AUGMENTATIONS)}")
    return names
