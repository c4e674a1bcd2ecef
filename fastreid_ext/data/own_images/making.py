"""Makes the three CSV files of a data set from someone's own images."""

from pathlib import Path
from typing import Any

from fastreid_ext.data.own_images.copies import readable, without_copies
from fastreid_ext.data.own_images.entries import SPLITS
from fastreid_ext.data.own_images.folder import check_output, write_lists
from fastreid_ext.data.own_images.layouts import SHEET, list_entries
from fastreid_ext.data.own_images.report import report_of, write_report
from fastreid_ext.data.own_images.splitting import Split, split_entries

__all__ = ["SHEET", "make_csv_set"]


def make_csv_set(
    source: Path,
    output: Path,
    layout: str = "",
    cameras: str = "",
    test_share: float | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> tuple[Split, dict[str, Any]]:
    """Write train.csv, query.csv, gallery.csv and the report into a folder, and return the split and the report.

    The images stay where they are. Nothing is written before all is known.

    Args:
        source: folder of images, or a listing; ``layout`` and ``cameras`` say how it is read
            (:func:`~fastreid_ext.data.own_images.layouts.list_entries`).
        output: folder, made if it is not there.
        test_share, seed: see :func:`~fastreid_ext.data.own_images.splitting.split_entries`.
        overwrite: replace lists that are there.

    Raises:
        ConfigError, FileError: what the images, their names or the folder lack.
    """
    check_output(output, overwrite)
    listing = list_entries(source, layout, cameras, output)
    entries = readable(listing.entries, listing.left_out)
    entries, errors = without_copies(entries, listing.left_out)
    split = split_entries(entries, test_share, seed)
    report = report_of(source, listing, split, errors, {"test_share": test_share, "seed": seed})
    write_lists(output, {name: split.of(name) for name in SPLITS})
    write_report(output, report, output.resolve().name)
    return split, report
