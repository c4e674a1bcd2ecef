"""Extracts the features of a list of images into a store; they are those that the evaluation compares."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.transforms import build_transforms
from fastreid.utils import comm
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from fastreid_ext.data.images import ImageError, ReIDImages
from fastreid_ext.data.loader import build_test_loader
from fastreid_ext.data.loader_faults import dead_workers_named
from fastreid_ext.data.pixels.batch_memory import BatchItems
from fastreid_ext.engine.devices import device_of
from fastreid_ext.engine.joints import check_images_suffice
from fastreid_ext.files import make_folder, no_room_named
from fastreid_ext.inference.fingerprints import feature_identity, versions
from fastreid_ext.progress import ProgressBar
from fastreid_ext.search.features import FeatureStore, only_writer, open_store
from fastreid_ext.search.image_list import ImageList
from fastreid_ext.search.parts import Filling, fill_in_parts, is_in_parts
from fastreid_ext.search.writer import FeatureWriter


class ListedImages(Dataset):
    """The images of a list with the test transforms, each with its index in the list.

    Args:
        cfg: the model's config.
        images: the list.
        skip: give a black image with the reason in ``unreadable`` where one can't be read.
    """

    def __init__(self, cfg: CfgNode, images: ImageList, skip: bool):
        items = [(images.file(index), 0, 0) for index in range(len(images.rows))]
        self.images = ReIDImages(items, build_transforms(cfg, is_train=False), relabel=False)
        self.skip = skip
        self._black: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            (item,) = self.images.fetch([index])
        except ImageError as error:
            if not self.skip:
                raise
            return {"images": self._black_image(), "indices": index, "unreadable": str(error)}
        return _listed(item, index)

    def fetch(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the items of a batch, for a loader that asks for all of them at once."""
        try:
            items = self.images.fetch(indices)
        except ImageError:
            items = BatchItems(len(indices))
            for index in indices:
                items.add(self[index])
            return items
        items[:] = [_listed(item, index) for item, index in zip(items, indices, strict=True)]
        return items

    def _black_image(self) -> Tensor:
        if self._black is None:
            seen = self.images.transform(Image.new("RGB", (64, 128)))
            # Of the type that the images of its batch have.
            self._black = torch.zeros_like(seen, dtype=torch.uint8 if self.images.byte_transform else seen.dtype)
        return self._black


def _listed(item: dict[str, Any], index: int) -> dict[str, Any]:
    return {"images": item["images"], "indices": index, "unreadable": ""}


@torch.no_grad()
def batch_features(model: nn.Module, images: Tensor, flip: bool) -> Tensor:
    """Return the test features (B, D) of images (B, 3, H, W), 0 to 255; with flip, their mean with the mirrored ones'.

    FastReID's own models change their input in place, so they get copies.
    """
    features = model({"images": images.clone()})
    if flip:
        features = (features + model({"images": images.flip(dims=[3])})) / 2
    return features


def extract(
    cfg: CfgNode,
    model: nn.Module,
    images: ImageList,
    folder: Path,
    half: bool = False,
    skip_unreadable: bool = False,
    save_every: int = 512,
) -> tuple[FeatureStore | None, int]:
    """Fill a feature store, continuing where an earlier run of the same model, config and list stopped.

    Besides the list itself, memory holds one batch (TEST.IMS_PER_BATCH), however many images there are. In a process
    group each process makes the features of its part of the list.

    Args:
        cfg: the model's config.
        model: of ``load_trained``, in eval mode.
        images: the images; each gets one feature.
        folder: of the store.
        half: keep them as float16.
        skip_unreadable: leave unreadable images out and list them in meta.json, instead of stopping at the first.
        save_every: images after which progress is saved; a kill costs at most that much work.

    Returns:
        The store, None in all processes but the main one, and how many of its images an earlier run had done.

    Raises:
        StoreError: the folder has features of something else, or another process writes into it.
        ImageError: an image can't be read; what was done before is kept.
        ConfigError: a model that reads more than images.
        FloatingPointError: a feature that is not finite.
    """
    check_images_suffice(model)
    make_folder(folder)
    main = comm.is_main_process()
    with only_writer(folder) if main else nullcontext(), no_room_named(folder), dead_workers_named():
        identity = feature_identity(cfg, model)
        new_writer = partial(
            FeatureWriter, identity=identity, dtype="float16" if half else "float32", versions=versions()
        )
        fill = partial(_fill, cfg, model, skip=skip_unreadable, save_every=save_every)
        if is_in_parts(folder):
            batch = cfg.TEST.IMS_PER_BATCH
            earlier = fill_in_parts(Filling(folder, images, identity, new_writer, fill, batch, save_every))
        else:
            earlier = _fill_alone(new_writer(folder, images), fill)
    return (open_store(folder) if main else None), earlier


def _fill_alone(writer: FeatureWriter, fill: Callable[[FeatureWriter], Iterator[int]]) -> int:
    """Fill a whole store in this process, and return how many of its images were done before."""
    earlier = writer.done
    if not writer.complete:
        with ProgressBar("features", writer.meta["listed"], earlier) as bar, closing(fill(writer)) as batches:
            for count in batches:
                bar.advance(count)
        writer.finish()
    return earlier


def _fill(cfg: CfgNode, model: nn.Module, writer: FeatureWriter, skip: bool, save_every: int) -> Iterator[int]:
    """Fill a store or a part of one, and yield how many images each batch was."""
    dataset, total = ListedImages(cfg, writer.images, skip), len(writer.images.rows)
    loader = build_test_loader(
        dataset,
        range(writer.done, total),
        cfg.TEST.IMS_PER_BATCH,
        cfg.DATALOADER.NUM_WORKERS,
        device_of(cfg),
    )
    saved = writer.done
    try:
        for batch in loader:
            reasons = batch["unreadable"]
            features = batch_features(model, batch["images"], cfg.TEST.FLIP.ENABLED).float().cpu().numpy()
            skipped = [(int(p), r) for p, r in zip(batch["indices"], reasons, strict=True) if r]
            writer.add(features[np.array([not r for r in reasons])], len(reasons), skipped)
            if writer.done - saved >= save_every:
                writer.save()
                saved = writer.done
            yield len(reasons)
    finally:  # an unreadable image or Ctrl-C costs nothing
        if writer.done > saved:
            writer.save()
