"""Decodes the output of pose models to joints in the pixels of their input."""

import numpy as np

QUARTER = 0.25  # of a cell, from the highest one towards its higher neighbour


def decode_heat_maps(maps: np.ndarray, input_size: tuple[int, int], udp: bool = False) -> np.ndarray:
    """Return joints (B, J, 3), x and y in the model's pixels and confidence, of heat maps (B, J, h, w).

    A joint lies in the highest cell, a quarter of a cell towards the higher of the neighbours in x and in y; its
    confidence is the cell's value, cut to 0..1. Cell i is the pixel i W/w, as in HRNet, SimpleBaseline and MMPose's
    MSRAHeatmap, or i (W - 1)/(w - 1) in models trained with unbiased data processing (Huang et al., CVPR 2020).

    Args:
        maps: heat maps.
        input_size: width and height of the model's input.
        udp: whether the model was trained with unbiased data processing.
    """
    count, joints, height, width = maps.shape
    flat = maps.reshape(count, joints, height * width)
    best = flat.argmax(axis=2)
    y, x = np.divmod(best, width)
    rows = np.take_along_axis(maps, y[..., None, None], axis=2)[:, :, 0]  # (B, J, w), through the highest cell
    columns = np.take_along_axis(maps, x[..., None, None], axis=3)[..., 0]  # (B, J, h)
    cells = np.stack([x + _towards(rows, x), y + _towards(columns, y)], axis=-1)
    sizes = np.array(input_size, dtype=np.float64), np.array([width, height], dtype=np.float64)
    pixels = (sizes[0] - 1) / np.maximum(sizes[1] - 1, 1) if udp else sizes[0] / sizes[1]
    return _with_confidence(cells * pixels, flat.max(axis=2))


def decode_offsets(
    maps: np.ndarray, offsets: np.ndarray, weights: np.ndarray | None, input_size: tuple[int, int]
) -> np.ndarray:
    """Return joints (B, J, 3), x and y in the model's pixels and confidence, of heat maps (B, J, h, w) with offsets.

    A joint lies where the offset at the cell with the highest product of map and weight leads to from that cell's
    pixel, i W/w; its confidence is the map's value there, cut to 0..1. So does MoveNet, whose weights are higher near
    the joints of the person in the middle: another person's joint in the same image may have the higher map.

    Args:
        maps: heat maps.
        offsets: x and y (B, J, 2, h, w) from a cell's pixel to the joint, in cells.
        weights: (B, J, h, w), or None for equal ones.
        input_size: width and height of the model's input.
    """
    count, joints, height, width = maps.shape
    flat = maps.reshape(count, joints, height * width)
    best = (flat if weights is None else flat * weights.reshape(flat.shape)).argmax(axis=2)[..., None]  # (B, J, 1)
    shift = np.take_along_axis(offsets.reshape(count, joints, 2, -1), best[..., None], axis=3)[..., 0]
    cells = np.concatenate([best % width, best // width], axis=2) + shift.astype(np.float64)
    pixels = np.array(input_size, dtype=np.float64) / [width, height]
    return _with_confidence(cells * pixels, np.take_along_axis(flat, best, axis=2)[..., 0])


def decode_simcc(x: np.ndarray, y: np.ndarray, input_size: tuple[int, int]) -> np.ndarray:
    """Return joints (B, J, 3), x and y in the model's pixels and confidence, of SimCC's x (B, J, kW) and y (B, J, kH).

    Bin i is the pixel i/k (Li et al., ECCV 2022). The confidence is the smaller of the two highest values, as in
    RTMPose's own demo and MMPose, cut to 0..1.

    Args:
        x: a value for each of k parts of each column.
        y: likewise of each row.
        input_size: width W and height H of the model's input.
    """
    points = [axis.argmax(axis=2) * (pixels / axis.shape[2]) for axis, pixels in zip((x, y), input_size, strict=True)]
    return _with_confidence(np.stack(points, axis=-1), np.minimum(x.max(axis=2), y.max(axis=2)))


def _towards(line: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Return the shift (B, J) from the highest cells (B, J) of lines (B, J, n); 0 at the ends."""
    last = line.shape[2] - 1
    before, after = (
        np.take_along_axis(line, np.clip(best + step, 0, last)[..., None], axis=2)[..., 0] for step in (-1, 1)
    )
    return np.where((best > 0) & (best < last), QUARTER * np.sign(after - before), 0)


def _with_confidence(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.concatenate([points, values.clip(0, 1)[..., None]], axis=-1)
