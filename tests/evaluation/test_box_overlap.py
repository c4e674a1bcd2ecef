"""Intersection over union by hand and against loops, and the table made of it."""

import json

import pytest
import torch

from fastreid_ext.evaluation.box_overlap import ALL, box_iou, overlap_record, overlap_table, overlaps
from fastreid_ext.modeling.regions import RegionBoxes

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 on both sides
UNIT = [0.0, 0.0, 1.0, 1.0]


def reference(a, b):
    """In Python's floats, side by side."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]) for box in (a, b)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


@pytest.mark.parametrize(
    ("box", "other", "expected"),
    [
        (UNIT, UNIT, 1.0),
        (UNIT, [0.5, 0.0, 1.5, 1.0], 1 / 3),  # half of each: 0.5 of 1.5
        (UNIT, [0.5, 0.5, 1.5, 1.5], 1 / 7),  # a quarter of each: 0.25 of 1.75
        (UNIT, [0.25, 0.0, 0.75, 0.5], 0.25),  # contained: its area
        (UNIT, [2.0, 0.0, 3.0, 1.0], 0.0),  # beside it
        (UNIT, [2.0, 2.0, 3.0, 3.0], 0.0),  # beside and below: two negative sides make no area
        (UNIT, [1.0, 0.0, 2.0, 1.0], 0.0),  # a common edge
        (UNIT, [0.5, 0.5, 0.5, 0.5], 0.0),  # a point
        (UNIT, [0.0, 0.5, 1.0, 0.5], 0.0),  # a line
        ([0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], 0.0),  # no area at all: 0, not 0 / 0
        (UNIT, [1.0, 1.0, 0.0, 0.0], 0.0),  # corners exchanged
        ([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], 0.0),
        ([-1.0, -1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], 0.25),  # what lies outside the image counts
    ],
)
def test_by_hand(box, other, expected):
    boxes = torch.tensor([box, other], dtype=torch.float64)
    assert box_iou(boxes[0], boxes[1]).item() == pytest.approx(expected, abs=1e-12)
    assert box_iou(boxes[1], boxes[0]).item() == pytest.approx(expected, abs=1e-12)


def test_against_loops():
    """Random corners, a quarter of the boxes with exchanged ones; some reach outside the image."""
    boxes, others = torch.rand(2, 60, 4, dtype=torch.float64) * 1.5 - 0.5
    for some in (boxes, others):
        some[15:, 2:] = some[15:, :2] + some[15:, 2:].abs() + 0.2
    expected = [reference(a, b) for a, b in zip(boxes.tolist(), others.tolist(), strict=True)]
    assert sum(value > 0.1 for value in expected) > 10 and 0.0 in expected
    torch.testing.assert_close(box_iou(boxes, others), torch.tensor(expected, dtype=torch.float64), **EXACT)
    # float32: a handful of roundings of sides of order one
    single = box_iou(boxes.float(), others.float())
    torch.testing.assert_close(single.double(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-5)


def test_shift_and_scale_change_nothing():
    boxes, others = torch.rand(2, 20, 4, dtype=torch.float64)
    boxes[:, 2:] += boxes[:, :2]
    others[:, 2:] += others[:, :2]
    move = torch.tensor([0.3, -2.0, 0.3, -2.0], dtype=torch.float64)
    torch.testing.assert_close(box_iou(7 * boxes + move, 7 * others + move), box_iou(boxes, others), **EXACT)


def test_one_box_against_many():
    boxes = torch.tensor([UNIT, [0.5, 0.0, 1.5, 1.0]])
    torch.testing.assert_close(box_iou(torch.tensor(UNIT), boxes), torch.tensor([1.0, 1 / 3]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_counted_in_float32(dtype):
    iou = box_iou(torch.tensor(UNIT, dtype=dtype), torch.tensor([0.5, 0.0, 1.5, 1.0], dtype=dtype))
    assert iou.dtype is torch.float32 and iou.item() == pytest.approx(1 / 3, abs=1e-6)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"expected boxes \(..., 4\), got \(2, 4\) and \(2, 3\)"):
        box_iou(torch.zeros(2, 4), torch.zeros(2, 3))


def regions():
    """Of three images; the prior is the left half of the image, the pseudo box all of it."""
    whole = torch.tensor([UNIT]).expand(3, 4)
    quarter = torch.tensor([0.0, 0.0, 0.25, 1.0])
    left = torch.tensor([0.0, 0.0, 0.5, 1.0])
    predicted = torch.stack([torch.tensor(UNIT), quarter, torch.full((4,), 9.0)])
    return {
        "a": RegionBoxes(predicted, left, whole, torch.tensor([True, True, False])),
        "b": RegionBoxes(predicted, left, whole, torch.tensor([False, True, False])),
        "c": RegionBoxes(predicted, left, whole, torch.zeros(3, dtype=torch.bool)),
    }


def test_only_what_is_known_is_measured():
    """a: (1 + 1/4) / 2, b: 1/4; together three boxes. A prior of exactly one half is not above one half."""
    a, b, c, everything = overlaps(regions())
    assert (a.region, a.images, a.known) == ("a", 3, 2) and (b.images, b.known) == (3, 1)
    assert (a.predicted, a.prior, a.predicted_found, a.prior_found) == pytest.approx((0.625, 0.5, 0.5, 0.0))
    assert (b.predicted, b.prior, b.predicted_found, b.prior_found) == pytest.approx((0.25, 0.5, 0.0, 0.0))
    assert (c.known, c.predicted, c.prior, c.predicted_found, c.prior_found) == (0, None, None, None, None)
    assert (everything.region, everything.images, everything.known) == (ALL, 9, 3)
    assert everything.predicted == pytest.approx(1.5 / 3) and everything.predicted_found == pytest.approx(1 / 3)


def test_without_joints():
    unknown = {"a": RegionBoxes(torch.rand(5, 4), torch.rand(4))}
    for row in overlaps(unknown):
        assert (row.images, row.known, row.predicted, row.prior) == (5, 0, None, None)
    assert overlap_table(overlaps(unknown)).count("-") > 8 and "nan" not in overlap_table(overlaps(unknown))


def test_no_region():
    with pytest.raises(ValueError, match="no region to compare"):
        overlaps({})


def test_table_and_record():
    rows = overlaps(regions())
    lines = overlap_table(rows).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["a", "3", "2", "0.625", "0.500", "0.500", "0.000"]
    assert [cell.strip() for cell in lines[4].split("|")[1:-1]] == ["c", "3", "0", "-", "-", "-", "-"]
    record = json.loads(overlap_record(rows, weights="w.pth"))
    assert record["weights"] == "w.pth" and record["regions"][0]["predicted"] == pytest.approx(0.625)
    assert record["regions"][2]["predicted"] is None
