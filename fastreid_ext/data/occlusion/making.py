"""Makes a data set of occluded queries from another one and its key points."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastreid_ext.data.body import COCO_JOINTS
from fastreid_ext.data.occlusion.file import COLUMNS, OCCLUSION_FILE
from fastreid_ext.data.occlusion.photos import Photo, Source
from fastreid_ext.data.occlusion.recipe import Drawn
from fastreid_ext.data.own_images.entries import SPLITS, Entry
from fastreid_ext.data.own_images.folder import csv_path, csv_text, write_lists
from fastreid_ext.data.own_images.report import counts_of, write_report
from fastreid_ext.data.own_images.splitting import GALLERY_CAMERA, QUERY_CAMERA
from fastreid_ext.files import make_folder, write_text


def cameras_known(entries: Sequence[Entry]) -> bool:
    """Whether cameras say where an image was taken, and not just whether it is a query."""
    query, gallery = ({e.camera for e in entries if e.split == split} for split in ("query", "gallery"))
    by_split = len(query) == len(gallery) == 1 and query != gallery
    return not by_split and len({entry.camera for entry in entries}) > 1


def occlusion_report(
    source: Source, photos: Sequence[Photo], drawn: Drawn, cameras: bool, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the report as plain values.

    Args:
        source: where the photos are from, with what was left out before.
        photos: all that were judged.
        drawn: the three subsets.
        cameras: whether cameras are used.
        settings: ``orders`` (of numbers of joints), ``sequential``, ``confidence``, ``seed`` and others.
    """
    orders = [[COCO_JOINTS[joint] for joint in order] for order in settings["orders"]]
    occluded = sum(photo.occluded for photo in photos)
    rules = [
        f"an image is occluded if {settings['sequential']} or more key points are missing one after another in the"
        f" order {' or '.join(', '.join(order) for order in orders)}",
        f"a key point is missing if its confidence is not above {settings['confidence']:g}, or if it is outside the"
        " image",
        f"{occluded} of {len(photos)} judged images are occluded",
        *source.said,
        *drawn.said,
    ]
    if not cameras:
        rules.append(
            f"cameras are not used, and written as {QUERY_CAMERA} for queries and training and {GALLERY_CAMERA} for the"
            " gallery"
        )
    left_out = {**source.left_out, **drawn.left_out}
    return {
        "source": source.name,
        **settings,
        "orders": orders,
        "judged": {"images": len(photos), "occluded": occluded, "holistic": len(photos) - occluded},
        "rules": rules,
        "splits": {name: _counts(drawn.of(name)) for name in SPLITS},
        "warnings": [],
        "left_out": {reason: sorted(names) for reason, names in sorted(left_out.items()) if names},
    }


def write_occlusion_set(
    output: Path, photos: Sequence[Photo], drawn: Drawn, cameras: bool, report: Mapping[str, Any]
) -> None:
    """Write train.csv, query.csv, gallery.csv, the occlusion of every judged image, and the report.

    Raises:
        ConfigError: a path that a CSV file can't hold.
        FileError: a file can't be written.
    """
    splits = {name: [photo.entry for photo in drawn.of(name)] for name in SPLITS}
    if not cameras:
        for name, entries in splits.items():
            camera = GALLERY_CAMERA if name == "gallery" else QUERY_CAMERA
            splits[name] = [replace(entry, camera=camera) for entry in entries]
    rows = sorted((csv_path(p.entry.path, output), int(p.occluded), p.missing, p.run) for p in photos)
    write_text(make_folder(output) / OCCLUSION_FILE, csv_text((*COLUMNS, "missing", "sequential"), rows))
    write_lists(output, splits)
    write_report(output, report, output.resolve().name)


def _counts(photos: Sequence[Photo]) -> dict[str, int]:
    occluded = sum(photo.occluded for photo in photos)
    counts = counts_of([photo.entry for photo in photos])
    return {**counts, "occluded": occluded, "holistic": len(photos) - occluded}
