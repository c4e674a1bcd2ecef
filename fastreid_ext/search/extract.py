"""Extracts the features of a list of images into a store; they are those that the evaluation compares."""

from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import nn

from fastreid_ext.data.loader_faults import dead_workers_named
from fastreid_ext.engine.joints import check_images_suffice
from fastreid_ext.files import make_folder, no_room_named
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.inference.fingerprints import feature_identity, versions
from fastreid_ext.inference.same_person_file import NAME, find_same_person, write_same_person
from fastreid_ext.progress import ProgressBar
from fastreid_ext.search.features import FeatureStore, only_writer, open_store
from fastreid_ext.search.image_list import ImageList
from fastreid_ext.search.parts import Filling, fill_in_parts, is_in_parts
from fastreid_ext.search.writer import FeatureWriter


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
        SamePersonError: the file that ``verify --calibrate`` wrote beside the weights is damaged.
        FloatingPointError: a feature that is not finite.
    """
    check_images_suffice(model)
    make_folder(folder)
    main = comm.is_main_process()
    same_person = find_same_person(cfg, model) if main else None  # a damaged file stops us before the work
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
        if same_person is not None:  # the weights may not stay beside the store
            write_same_person(folder / NAME, same_person)
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
    extractor = Extractor.of_model(cfg, model, workers=cfg.DATALOADER.NUM_WORKERS, normalise=False)
    files = (writer.images.file(number) for number in range(writer.done, len(writer.images.rows)))
    saved = writer.done
    try:
        for features, reasons in extractor.batches(files, skip):
            skipped = [(number, reason) for number, reason in enumerate(reasons, start=writer.done) if reason]
            writer.add(features[np.array([not reason for reason in reasons])], len(reasons), skipped)
            if writer.done - saved >= save_every:
                writer.save()
                saved = writer.done
            yield len(reasons)
    finally:  # an unreadable image or Ctrl-C costs nothing
        if writer.done > saved:
            writer.save()
