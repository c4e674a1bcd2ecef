"""The loaders that a config names."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data import samplers
from fastreid.data.datasets.bases import ImageDataset
from fastreid.data.transforms import build_transforms
from fastreid.utils import comm
from torchvision import transforms as T

from fastreid_ext.data.batches import PAIR_SAMPLER, EpochBatches, Items
from fastreid_ext.data.catalog import is_public, load_dataset, training_labels
from fastreid_ext.data.datasets.files import log_once
from fastreid_ext.data.hold_out import HELD_OUT, as_test_items
from fastreid_ext.data.image_check import check_images
from fastreid_ext.data.images import QueryGalleryImages, ReIDImages
from fastreid_ext.data.loader import DeviceLoader, build_test_loader, build_train_loader
from fastreid_ext.data.pairs import positive_share_of
from fastreid_ext.data.pixels.photometric import RandomGaussianBlur, inserted
from fastreid_ext.data.pixels.resized_images import ResizedImages, first_resize
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.checks.batches import check_training_set
from fastreid_ext.engine.checks.shared_images import leave_out_same_images
from fastreid_ext.engine.csv_sets import register_csv_sets
from fastreid_ext.engine.devices import device_of
from fastreid_ext.engine.joints import follow_joints, joints_of
from fastreid_ext.engine.query_groups import query_groups
from fastreid_ext.engine.seeding import resolve_seed
from fastreid_ext.engine.training_subsets import TEST_SPLITS, training_sets, training_subsets
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.groups import Group, by_training_images
from fastreid_ext.modeling.augmentation_table import sampled_per_batch


def train_loader(cfg: CfgNode) -> DeviceLoader:
    """Return the endless loader of DATASETS.NAMES; its batches follow from cfg.SEED and the epoch.

    Raises:
        DataSetError, ConfigError: a data set that is missing or can't fill a batch.
        ImageError: images that are listed but missing or, with DATALOADER.VERIFY_IMAGES, broken.
        PoseError: INPUT.JOINTS.ENABLED asks for labels that are missing.
    """
    datasets = training_sets(cfg)
    if comm.is_main_process():
        for dataset in datasets:
            dataset.show_train()
    subsets = training_subsets(cfg, datasets)
    items = subsets.train
    world = comm.get_world_size()
    check_training_set(cfg, items, world)
    _check_images(cfg, items, "the training set")
    sampled = sampled_per_batch(cfg)
    settings = {}
    if cfg.DATALOADER.SAMPLER_TRAIN == PAIR_SAMPLER:
        node = cfg.DATALOADER.PAIRS
        settings["positive_share"] = partial(
            positive_share_of, first=node.POSITIVE_SHARE, negative_growth=node.NEGATIVE_ANNEAL
        )
    batches = EpochBatches(
        items,
        cfg.DATALOADER.SAMPLER_TRAIN,
        batch_size=sampled // world,
        num_instances=cfg.DATALOADER.NUM_INSTANCE,
        iters_per_epoch=len(items) // sampled,
        seed=resolve_seed(cfg.SEED),
        rank=comm.get_rank(),
        **settings,
    )
    transform, joints = train_transforms(cfg), None
    if cfg.INPUT.JOINTS.ENABLED:
        joints = _training_joints(cfg, datasets, [*items, *subsets.kept_out])[: len(items)]
        transform = follow_joints(cfg, transform, joints)
    images = ReIDImages(items, transform, relabel=True, joints=joints, **_reading(cfg, transform))
    return build_train_loader(images, batches, cfg.DATALOADER.NUM_WORKERS, device_of(cfg))


def train_transforms(cfg: CfgNode) -> T.Compose:
    """Return FastReID's transforms of training images, with INPUT.GRAYSCALE and INPUT.BLUR where they are on."""
    transforms, added = build_transforms(cfg, is_train=True), []
    if cfg.INPUT.GRAYSCALE.ENABLED:
        added.append(T.RandomGrayscale(cfg.INPUT.GRAYSCALE.PROB))
    if cfg.INPUT.BLUR.ENABLED:
        added.append(RandomGaussianBlur(cfg.INPUT.BLUR.PROB, tuple(cfg.INPUT.BLUR.SIGMA)))
    return T.Compose(inserted(transforms.transforms, added)) if added else transforms


def eval_loader(cfg: CfgNode, dataset_name: str) -> tuple[DeviceLoader, int]:
    """Return the loader of a test set's queries and gallery, and the number of queries.

    Its ``dataset.split`` tells which is which: where the gallery is the queries again, they are loaded once.

    Args:
        cfg: the run's config.
        dataset_name: a registered one, ``HELD_OUT`` or ``VALIDATION``.

    Raises:
        DataSetError: a data set that is missing.
        ImageError: as :func:`train_loader`.
        ConfigError: nothing could be held out, or too few left out.
        PoseError: INPUT.JOINTS.TEST asks for labels that are missing.
    """
    register_csv_sets(cfg)
    transform = build_transforms(cfg, is_train=False)
    if dataset_name == HELD_OUT and cfg.DATASETS.HOLD_OUT:
        images, num_query = _held_out_images(cfg, transform)
    elif dataset_name == VALIDATION and cfg.DATASETS.VALIDATION:
        images, num_query = _validation_images(cfg, transform)
    else:
        dataset = load_dataset(dataset_name, TEST_SPLITS)
        if comm.is_main_process():
            dataset.show_test()
        query, gallery = sorted(dataset.query), sorted(dataset.gallery)
        groups = query_groups(cfg, query, {dataset_name: dataset})
        joints = None
        if _wants_test_joints(cfg):
            joints = joints_of(cfg, {dataset_name: dataset}, TEST_SPLITS, [*query, *gallery])
            transform = follow_joints(cfg, transform, joints)
        images = QueryGalleryImages(query, gallery, transform, groups, joints, **_reading(cfg, transform))
        num_query = len(query)
        images.public = is_public(dataset_name, dataset, TEST_SPLITS)
        images.labels = {} if images.public else training_labels(dataset)
    _check_images(cfg, images.img_items, dataset_name)
    leave_out_same_images(cfg, dataset_name, images)
    batch_size = max(cfg.TEST.IMS_PER_BATCH // comm.get_world_size(), 1)
    sampler = samplers.InferenceSampler(len(images))
    return build_test_loader(images, sampler, batch_size, cfg.DATALOADER.NUM_WORKERS, device_of(cfg)), num_query


def _check_images(cfg: CfgNode, items: Items, name: str) -> None:
    node = cfg.DATALOADER
    check_images((item[0] for item in items), name, decode=node.VERIFY_IMAGES, threads=node.NUM_WORKERS)


def _held_out_images(cfg: CfgNode, transform: Callable) -> tuple[QueryGalleryImages, int]:
    """Every held-out image is a query, and all of them are the gallery.

    An image shares identity and camera with itself, so it is not part of its own ranking. It is loaded once, except for
    FastReID's evaluator, which expects the gallery after the queries.
    """
    datasets = training_sets(cfg)
    subsets = training_subsets(cfg, datasets)
    items = as_test_items(subsets.held)
    gallery = items if cfg.TEST.EVALUATOR == "host" else None
    groups: list[Group] = []
    if cfg.TEST.REPORT.ENABLED:
        groups = by_training_images([item[1] for item in subsets.held], Counter(item[1] for item in subsets.train))
    groups += query_groups(cfg, items, _by_name(cfg, datasets))
    joints = None
    if _wants_test_joints(cfg):
        joints = _training_joints(cfg, datasets, [*items, *(gallery or ())])
        transform = follow_joints(cfg, transform, joints)
    images = QueryGalleryImages(items, gallery, transform, groups, joints, **_reading(cfg, transform))
    images.public = _all_public(cfg, datasets)
    return images, len(items)


def _validation_images(cfg: CfgNode, transform: Callable) -> tuple[QueryGalleryImages, int]:
    datasets = training_sets(cfg)
    subsets = training_subsets(cfg, datasets)
    count = len(subsets.query)
    items = as_test_items([*subsets.query, *subsets.gallery])
    groups = query_groups(cfg, items[:count], _by_name(cfg, datasets))
    joints = None
    if _wants_test_joints(cfg):
        joints = _training_joints(cfg, datasets, items)
        transform = follow_joints(cfg, transform, joints)
    images = QueryGalleryImages(items[:count], items[count:], transform, groups, joints, **_reading(cfg, transform))
    images.public = _all_public(cfg, datasets)
    return images, count


def _all_public(cfg: CfgNode, datasets: Sequence[ImageDataset]) -> bool:
    named = zip(cfg.DATASETS.NAMES, datasets, strict=True)
    return all(is_public(name, dataset, ("train",)) for name, dataset in named)


def _reading(cfg: CfgNode, transform: Callable) -> dict[str, Any]:
    """Return how image files become pixels, as arguments of a data set."""
    return {"kept": _resized_images(cfg, transform), "fast": cfg.DATALOADER.FAST_PIXELS}


def _resized_images(cfg: CfgNode, transform: Callable) -> ResizedImages | None:
    """Return where images are kept as the transform resizes them."""
    folder = cfg.DATALOADER.CACHE_DIR
    if not folder:
        return None
    if not cfg.DATALOADER.FAST_PIXELS:
        raise ConfigError(
            f"DATALOADER.CACHE_DIR {folder!r} keeps images of the fast way alone: set DATALOADER.FAST_PIXELS True, or"
            " CACHE_DIR ''"
        )
    resize = first_resize(transform)
    if resize is None:
        raise ConfigError(
            f"DATALOADER.CACHE_DIR {folder!r} keeps images that are resized to a height and a width, but"
            f" INPUT.SIZE_TRAIN is {list(cfg.INPUT.SIZE_TRAIN)} and INPUT.SIZE_TEST {list(cfg.INPUT.SIZE_TEST)}: give"
            " two numbers each, such as [256, 128], or set CACHE_DIR ''"
        )
    kept = ResizedImages(folder, *resize.size)
    if comm.is_main_process():
        log_once(logging.INFO, f"resized images are kept in {kept.folder}, {kept.bytes_per_image / 1e6:.3g} MB each")
    return kept


def _wants_test_joints(cfg: CfgNode) -> bool:
    return cfg.INPUT.JOINTS.ENABLED and cfg.INPUT.JOINTS.TEST


def _by_name(cfg: CfgNode, datasets: Sequence[ImageDataset]) -> dict[str, ImageDataset]:
    return dict(zip(cfg.DATASETS.NAMES, datasets, strict=True))


def _training_joints(cfg: CfgNode, datasets: Sequence[ImageDataset], items: Items) -> np.ndarray:
    return joints_of(cfg, _by_name(cfg, datasets), ("train",), items)
