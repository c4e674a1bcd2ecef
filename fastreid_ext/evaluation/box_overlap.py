"""How well predicted boxes match the boxes of the joints."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from tabulate import tabulate
from torch import Tensor

from fastreid_ext.modeling.regions import RegionBoxes
from fastreid_ext.precision import at_least_float32

GOOD = 0.5  # intersection over union above which a box counts as found
ALL = "all regions"


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union (IoU) of each box with the box at the same position.

    Boxes are not cut at the image's edge: eq. 3 of MGRe compares whole boxes too. A box without area, or with exchanged
    corners, has an IoU of 0 with any box, itself included.

    Args:
        boxes, others: (..., 4) x_min, y_min, x_max, y_max; shapes that broadcast.

    Returns:
        (...) from 0 to 1, in float32 or better.

    Raises:
        ValueError: a last dimension that is not 4.
    """
    if boxes.shape[-1:] != (4,) or others.shape[-1:] != (4,):
        raise ValueError(f"expected boxes (..., 4), got {tuple(boxes.shape)} and {tuple(others.shape)}")
    boxes, others = at_least_float32(boxes), at_least_float32(others)
    low = boxes[..., :2].maximum(others[..., :2])
    high = boxes[..., 2:].minimum(others[..., 2:])
    shared = _area(low, high)
    union = _area(boxes[..., :2], boxes[..., 2:]) + _area(others[..., :2], others[..., 2:]) - shared
    return (shared / union.where(union > 0, union.new_ones(()))).clamp(0, 1)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp_min(0).prod(dim=-1)


@dataclass(frozen=True)
class Overlap:
    """How far the boxes of a region agree with the known pseudo boxes; None where nothing is known.

    Attributes:
        region: its name, or ``ALL``.
        images: how many were looked at (for ``ALL``, pairs of image and region).
        known: in how many of them the joints give a box.
        predicted, prior: mean IoU with it, of the predicted box and of the one that training starts from.
        predicted_found, prior_found: share of those boxes with an IoU above ``GOOD``.
    """

    region: str
    images: int
    known: int
    predicted: float | None = None
    prior: float | None = None
    predicted_found: float | None = None
    prior_found: float | None = None


def overlaps(regions: Mapping[str, RegionBoxes]) -> list[Overlap]:
    """Compare the boxes of every region; the last row is over all known boxes of all regions together.

    Raises:
        ValueError: no region.
    """
    if not regions:
        raise ValueError("there is no region to compare")
    pairs = {name: _ious(boxes) for name, boxes in regions.items()}
    rows = [_row(name, len(regions[name].predicted), *pair) for name, pair in pairs.items()]
    together = [[iou for pair in pairs.values() for iou in pair[kind]] for kind in (0, 1)]
    return [*rows, _row(ALL, sum(row.images for row in rows), *together)]


def _ious(boxes: RegionBoxes) -> tuple[list[float], list[float]]:
    """Of the predicted and of the prior box, in the images whose pseudo box is known."""
    if boxes.pseudo is None or boxes.known is None:
        return [], []
    pseudo = boxes.pseudo[boxes.known]
    return box_iou(boxes.predicted[boxes.known], pseudo).tolist(), box_iou(boxes.prior, pseudo).tolist()


def _row(name: str, images: int, predicted: Sequence[float], prior: Sequence[float]) -> Overlap:
    if not predicted:
        return Overlap(name, images, 0)
    means = [sum(ious) / len(ious) for ious in (predicted, prior)]
    found = [sum(iou > GOOD for iou in ious) / len(ious) for ious in (predicted, prior)]
    return Overlap(name, images, len(predicted), *means, *found)


def overlap_table(rows: Sequence[Overlap]) -> str:
    """Draw the rows in Markdown; a dash stands where nothing is known."""
    cells = [
        (r.region, r.images, r.known, *map(_share, (r.predicted, r.prior, r.predicted_found, r.prior_found)))
        for r in rows
    ]
    headers = ("region", "images", "known", "IoU", "IoU of the prior box", f"IoU > {GOOD:g}", f"prior > {GOOD:g}")
    return tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=("left", *["right"] * 6))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def overlap_record(rows: Sequence[Overlap], **about: object) -> str:
    """Return the rows, and what they are about, as JSON text; null where nothing is known."""
    return json.dumps({**about, "regions": [asdict(row) for row in rows]}, indent=2) + "\n"
