"""People in a frame: boxes of a detector, clipped to the frame and cut out."""

from typing import Any

import numpy as np
from torch import Tensor

from fastreid_ext.foreign_files import shown
from fastreid_ext.inference.inputs import InputError, has_plain_numbers

EXAMPLE = "boxes must be (N, 4): x1, y1, x2, y2 in pixels of the frame"


def crops_of(frame: np.ndarray, boxes: Any) -> list[np.ndarray]:
    """Return what is in the boxes: every pixel that a box touches.

    Args:
        frame: (H, W, 3).
        boxes: (N, 4), x1, y1, x2, y2 in pixels of the frame, x to the right and y down from its upper left corner; they
            may reach beyond it.

    Returns:
        N views of the frame (h, w, 3).

    Raises:
        InputError: no such boxes, or one that is not finite, inverted, empty or outside of the frame; names it by its
            index.
    """
    found = _numbers(boxes)
    height, width = frame.shape[:2]
    faults = [(index, fault) for index, box in enumerate(found) if (fault := _fault(box, height, width))]
    if faults:
        index, fault = faults[0]
        more = f"; so are {len(faults) - 1} more of the {len(found)} boxes unusable" if len(faults) > 1 else ""
        raise InputError(f"box {index} {tuple(float(f'{n:g}') for n in found[index])} {fault}{more}")
    limits = np.array([width, height, width, height])
    left, top = np.floor(np.clip(found, 0, limits)).astype(int)[:, :2].T
    right, bottom = np.ceil(np.clip(found, 0, limits)).astype(int)[:, 2:].T
    return [frame[top[n] : bottom[n], left[n] : right[n]] for n in range(len(found))]


def _numbers(boxes: Any) -> np.ndarray:
    """Return boxes as float64 (N, 4)."""
    if isinstance(boxes, Tensor):
        if not has_plain_numbers(boxes):
            raise InputError(
                f"{EXAMPLE}, and these are a tensor without plain numbers ({boxes.layout}, {boxes.device})"
            )
        boxes = boxes.detach().cpu().double().numpy()
    try:
        found = np.asarray(boxes)
    except ValueError as error:  # rows of several lengths
        raise InputError(f"{EXAMPLE}, and these have rows of several lengths") from error
    if found.size == 0 and found.shape in ((0,), (0, 4)):
        return np.zeros((0, 4))
    if found.dtype.kind not in "fiu" or found.ndim != 2 or found.shape[1] != 4:
        single = ": for one box, give [box], not box" if found.shape == (4,) else ""
        raise InputError(f"{EXAMPLE}, and these are {found.dtype} {shown(found.shape)}{single}")
    return found.astype(np.float64)


def _fault(box: np.ndarray, height: int, width: int) -> str:
    """Return what is wrong with a box; "" = nothing."""
    left, top, right, bottom = box
    if not np.isfinite(box).all():
        return "has numbers that are not finite"
    if right < left or bottom < top:
        return "is inverted: it must be x1, y1, x2, y2 with x1 < x2 and y1 < y2, not x, y, width, height"
    if right == left or bottom == top:
        return "is empty: it has no area"
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return f"lies outside of the frame, which is {width} wide and {height} high"
    return ""
