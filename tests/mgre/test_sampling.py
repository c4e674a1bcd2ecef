"""The sampler against eq. 5 as an explicit loop, and crops that must come out exactly."""

import math

import numpy as np
import pytest
import torch

from fastreid_ext.mgre import sample_regions

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 on both sides


def reference(maps, boxes, size):
    """Eq. 5 with the places of eq. 4 at the middles of cells; pixel (n, m) has its middle at (m + 1/2, n + 1/2)."""
    batch, channels, height, width = maps.shape
    rows, columns = size
    output = np.zeros((batch, channels, rows, columns))
    for b in range(batch):
        x_min, y_min, x_max, y_max = boxes[b]
        for i in range(rows):
            for j in range(columns):
                x = (x_min + (j + 0.5) / columns * (x_max - x_min)) * width
                y = (y_min + (i + 0.5) / rows * (y_max - y_min)) * height
                for n in range(height):
                    for m in range(width):
                        weight = max(0.0, 1 - abs(x - (m + 0.5))) * max(0.0, 1 - abs(y - (n + 0.5)))
                        output[b, :, i, j] += weight * maps[b, :, n, m]
    return output


BOXES = torch.tensor(
    [[0.1, 0.2, 0.7, 0.9], [-0.3, 0.5, 0.4, 1.6], [0.0, 0.0, 1.0, 1.0], [0.45, 0.45, 0.45, 0.45]], dtype=torch.float64
)


@pytest.mark.parametrize("size", [(3, 2), (1, 1), (7, 5)])
def test_against_the_loop(size):
    maps = torch.randn(4, 3, 6, 5, dtype=torch.float64)
    sampled = sample_regions(maps, BOXES, size)
    torch.testing.assert_close(sampled.numpy(), reference(maps.numpy(), BOXES.numpy(), size), **EXACT)


@pytest.mark.parametrize(("top", "left", "rows", "columns"), [(0, 0, 6, 4), (2, 1, 3, 2), (5, 3, 1, 1)])
def test_an_integer_crop_comes_out_exactly(top, left, rows, columns):
    maps = torch.randn(2, 3, 6, 4)
    box = torch.tensor([[left / 4, top / 6, (left + columns) / 4, (top + rows) / 6]]).expand(2, 4)
    crop = maps[:, :, top : top + rows, left : left + columns]
    # float32 shares of 6 rows are rounded: 1e-6 of a pixel
    torch.testing.assert_close(sample_regions(maps, box, (rows, columns)), crop, rtol=0, atol=1e-5)


def test_outside_is_zero():
    maps = torch.ones(1, 1, 4, 4)
    assert not sample_regions(maps, torch.tensor([[1.5, 1.5, 2.0, 2.0]]), (2, 2)).any()
    half = sample_regions(maps, torch.tensor([[0.5, 0.0, 1.5, 1.0]]), (4, 4))
    assert half[..., :2].eq(1).all() and not half[..., 2:].any()


def test_gradcheck():
    maps = torch.randn(2, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.13, 0.21, 0.72, 0.93], [-0.2, 0.1, 0.6, 1.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, b: sample_regions(x, b, (3, 2)), (maps, boxes))


def test_a_mirrored_map_and_box_give_the_mirrored_sample():
    maps, box = torch.randn(1, 2, 6, 4, dtype=torch.float64), BOXES[:1]
    mirrored = torch.stack([1 - box[:, 2], box[:, 1], 1 - box[:, 0], box[:, 3]], dim=1)
    torch.testing.assert_close(
        sample_regions(maps.flip(3), mirrored, (3, 4)), sample_regions(maps, box, (3, 4)).flip(3), **EXACT
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_places_are_float32(dtype):
    """A wide map of its own column numbers: bfloat16 places would be off by half a pixel at column 100."""
    columns = torch.arange(128, dtype=torch.float32).expand(1, 1, 2, 128)
    box = torch.tensor([[100 / 128, 0.0, 108 / 128, 1.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sampled = sample_regions(columns.to(dtype), box, (2, 8))
    assert sampled.dtype == dtype
    assert sampled[0, 0, 0].tolist() == list(range(100, 108))


def test_the_arguments_are_left_alone():
    maps, boxes = torch.randn(4, 3, 6, 5), BOXES.float()
    before = maps.clone(), boxes.clone()
    sample_regions(maps, boxes, (3, 2))
    assert torch.equal(maps, before[0]) and torch.equal(boxes, before[1])


@pytest.mark.parametrize(
    ("maps", "boxes", "size", "message"),
    [
        ((2, 3, 4), (2, 4), (2, 2), r"expected features \(B, C, H, W\) and boxes \(B, 4\)"),
        ((2, 3, 4, 4), (3, 4), (2, 2), r"got \(2, 3, 4, 4\) and \(3, 4\)"),
        ((2, 3, 4, 4), (2, 4), (0, 2), "must be 1 x 1 or more"),
    ],
)
def test_bad_shapes(maps, boxes, size, message):
    with pytest.raises(ValueError, match=message):
        sample_regions(torch.zeros(maps), torch.zeros(boxes), size)


def test_a_box_of_no_size_is_one_place():
    maps = torch.randn(1, 2, 4, 4)
    box = torch.tensor([[0.375, 0.625, 0.375, 0.625]])  # the middle of pixel (2, 1)
    sampled = sample_regions(maps, box, (3, 3))
    torch.testing.assert_close(sampled, maps[:, :, 2:3, 1:2].expand(1, 2, 3, 3), rtol=0, atol=1e-6)
    assert math.isfinite(sampled.sum())
