"""The subsets of the training sets: what is trained on, what is held out, and who is left out for validation."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset
from fastreid.utils import comm

from fastreid_ext.data.catalog import is_public, load_dataset
from fastreid_ext.data.datasets.files import log_once
from fastreid_ext.data.hold_out import HELD_OUT, LEAST_LEFT, Item, hold_out
from fastreid_ext.data.same_images import same_images
from fastreid_ext.data.validation import VALIDATION, Validation, validation_split
from fastreid_ext.engine.csv_sets import register_csv_sets
from fastreid_ext.engine.test_sets import tested_sets
from fastreid_ext.errors import ConfigError

TEST_SPLITS = ("query", "gallery")


@dataclass(frozen=True)
class TrainingSubsets:
    """The items of the training sets, every image in one subset.

    Attributes:
        train: what is trained on.
        held: images of the same identities that DATASETS.HOLD_OUT keeps out.
        query, gallery: images of other identities, which DATASETS.VALIDATION leaves out.
    """

    train: list[Item]
    held: list[Item]
    query: list[Item]
    gallery: list[Item]

    @property
    def kept_out(self) -> list[Item]:
        """All that is not trained on."""
        return [*self.held, *self.query, *self.gallery]


def training_sets(cfg: CfgNode) -> list[ImageDataset]:
    """Load DATASETS.NAMES, with their queries and galleries too if DATASETS.COMBINEALL says so.

    A set of which an image is tested is loaded without them, and a warning says so.

    Raises:
        DataSetError: one is missing.
        ConfigError: DATASETS.CSV has a name that is taken.
    """
    register_csv_sets(cfg)  # of a config that was not merged by us, too
    if not cfg.DATASETS.COMBINEALL:
        return [load_dataset(name, ("train",)) for name in cfg.DATASETS.NAMES]
    names = [name for name in tested_sets(cfg) if name not in (HELD_OUT, VALIDATION)]
    tests = {name: load_dataset(name, TEST_SPLITS) for name in names}
    tested = [item[0] for dataset in tests.values() for item in (*dataset.query, *dataset.gallery)]
    own = not all(is_public(name, dataset, TEST_SPLITS) for name, dataset in tests.items())
    return [_combined(name, tested, contents=own) for name in cfg.DATASETS.NAMES]


def _combined(name: str, tested: Sequence[str], contents: bool) -> ImageDataset:
    """Load a training set together with its query and gallery, unless images of these are tested.

    Args:
        name: of the set.
        tested: paths of all test images.
        contents: compare bytes too, since a set of one's own may be a copy of another.
    """
    dataset = load_dataset(name, ("train",), combineall=True)
    items = [*dataset.query, *dataset.gallery]
    shared = len(np.unique(same_images([item[0] for item in items], tested, contents).first))
    if not shared:
        return dataset
    log_once(
        logging.WARNING,
        f"DATASETS.COMBINEALL doesn't add the {len(items)} query and gallery images of {name} to its training images:"
        f" {shared} of them are tested",
    )
    return load_dataset(name, ("train",))


def training_subsets(cfg: CfgNode, datasets: Sequence[ImageDataset]) -> TrainingSubsets:
    """Leave out the identities of DATASETS.VALIDATION, then hold out images of the others (DATASETS.HOLD_OUT).

    Raises:
        ConfigError: too few identities, images or cameras.
    """
    items = [item for dataset in datasets for item in sorted(dataset.train)]
    split = _validation(cfg, items)
    train, held = _held_out(cfg, split.train)
    return TrainingSubsets(train, held, split.query, split.gallery)


def evaluated_sets(cfg: CfgNode) -> tuple[str, ...]:
    """Return what is evaluated: the test sets, then the subsets of the training sets that they do not name."""
    names = tested_sets(cfg)
    counts = {HELD_OUT: cfg.DATASETS.HOLD_OUT, VALIDATION: cfg.DATASETS.VALIDATION}
    return (*names, *(name for name, count in counts.items() if count and name not in names))


def _validation(cfg: CfgNode, items: list[Item]) -> Validation:
    count = cfg.DATASETS.VALIDATION
    if not count:
        return Validation(items, [], [])
    try:
        split = validation_split(items, count)
    except ConfigError as error:
        raise ConfigError(
            f"DATASETS.VALIDATION is {count}, but {error} (DATASETS.NAMES {tuple(cfg.DATASETS.NAMES)}): lower it,"
            " or set it to 0"
        ) from error
    if comm.is_main_process():
        log_once(
            logging.INFO,
            f"{count} identities with {len(split.query) + len(split.gallery)} images are left out of training for"
            f" {VALIDATION}: {len(split.query)} queries and a gallery of {len(split.gallery)}",
        )
    return split


def _held_out(cfg: CfgNode, items: list[Item]) -> tuple[list[Item], list[Item]]:
    count = cfg.DATASETS.HOLD_OUT
    if not count:
        return items, []
    split = hold_out(items, count)
    if not split.held:
        raise ConfigError(
            f"DATASETS.HOLD_OUT is {count}, but no identity of {tuple(cfg.DATASETS.NAMES)} was seen by {count} cameras"
            f" and has {count + LEAST_LEFT} images: lower it, or set it to 0"
        )
    if comm.is_main_process():
        log_once(
            logging.INFO,
            f"{len(split.held)} images of {len(split.held) // count} training identities are held out;"
            f" {split.skipped} identities keep all theirs, having fewer than {count} cameras or {count + LEAST_LEFT}"
            " images, and are not evaluated",
        )
    return split.train, split.held
