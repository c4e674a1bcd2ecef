"""Frames where the boxes are, cut at the image's edge, and a sheet that names its colours."""

import numpy as np
import pytest
from PIL import ImageChops

from fastreid_ext.visual.box_sheet import COLOURS, HEIGHT, THICK, BoxPicture, box_sheet, colours_of, draw_boxes
from fastreid_ext.visual.pictures import enlarge

GREY = np.full((100, 60, 3), 127, np.uint8)


def extent(canvas, colour):
    """First and last column and row that have a colour: x_min, y_min, x_max, y_max."""
    y, x = np.nonzero((canvas == np.array(colour)).all(axis=2))
    return (x.min(), y.min(), x.max(), y.max()) if len(x) else None


def test_a_frame_lies_on_its_box():
    colours = colours_of(["a"])
    canvas = draw_boxes(GREY, {"a": (0.25, 0.3, 0.75, 0.8)}, colours)
    # pixels 15 to 44 and 30 to 79; a line of THICK pixels is that near
    assert np.abs(np.array(extent(canvas, colours["a"])) - (15, 30, 44, 79)).max() <= THICK
    assert (canvas[45:65, 22:38] == 127).all() and (GREY == 127).all()  # a frame, not a field; a copy
    assert (canvas[:25] == 127).all() and (canvas[85:] == 127).all()


@pytest.mark.parametrize(
    "box",
    [(-0.5, -0.5, 1.5, 1.5), (0.0, 0.0, 1.0, 1.0), (-1e6, -3.0, 1e6, 3.0)],
)
def test_what_reaches_outside_is_cut_at_the_edge(box):
    """Two regions over the whole image: both frames are seen whole."""
    colours = colours_of(["a", "b"])
    canvas = draw_boxes(GREY, {"a": box, "b": box}, colours)
    outer, inner = extent(canvas, colours["a"]), extent(canvas, colours["b"])
    assert max(outer[:2]) <= THICK and outer[2] >= 60 - 1 - THICK and outer[3] >= 100 - 1 - THICK
    assert inner[0] > outer[0] and inner[1] > outer[1] and inner[2] < outer[2] and inner[3] < outer[3]
    for x in (outer[0] + THICK // 2, inner[0] + THICK // 2):
        assert (canvas[30:70, x] == canvas[30, x]).all() and not (canvas[30, x] == 127).all()


def test_equal_boxes_are_drawn_into_each_other():
    """The two torsos are equal before training: three equal boxes show three frames, the first region's innermost."""
    colours = colours_of(["a", "b", "c"])
    canvas = draw_boxes(GREY, dict.fromkeys(colours, (0.25, 0.3, 0.75, 0.8)), colours)
    found = [extent(canvas, colours[region]) for region in "abc"]
    for inner, outer in zip(found, found[1:], strict=False):
        assert (np.subtract(inner, outer) == np.array([1, 1, -1, -1]) * (THICK + 1)).all()


def test_only_the_edge_that_is_outside_moves():
    canvas = draw_boxes(GREY, {"b": (0.05, 0.5, 3.0, 0.6)}, colours_of(["a", "b"]))
    found = extent(canvas, COLOURS[1])
    assert np.abs(np.array(found)[[0, 1, 3]] - (3, 50, 59)).max() <= THICK and found[2] >= 59 - 3 * THICK


@pytest.mark.parametrize(
    "box",
    [(1.0, 0.2, 2.0, 0.4), (-1.0, 0.2, 0.0, 0.4), (0.2, 1.5, 0.4, 2.5), (0.5, 0.5, 0.5, 0.5), (0.8, 0.2, 0.3, 0.6)],
)
def test_nothing_to_see(box):
    """Wholly outside, no area, corners exchanged."""
    assert np.array_equal(draw_boxes(GREY, {"a": box}, colours_of(["a"])), GREY)


def test_colours_differ():
    for count in (1, 7, 30):
        colours = colours_of([str(i) for i in range(count)])
        assert len(colours) == count
        assert len(set(colours.values())) == count


def picture(columns, size=(64, 32), title="a.jpg"):
    return BoxPicture(np.random.randint(100, 140, (*size, 3)).astype(np.uint8), title, columns)


def test_sheet():
    """Every region of any column is in the legend, and the image is enlarged."""
    boxes = {"head": (0.2, 0.1, 0.6, 0.3), "legs": (0.1, 0.5, 0.9, 0.9)}
    pictures = [picture({"predicted": boxes, "from joints": {"head": (0.3, 0.1, 0.7, 0.3)}}) for _ in range(3)]
    canvas = np.asarray(box_sheet(pictures, "title", ["a note"]))
    for region in range(2):
        places = np.nonzero((canvas == np.array(COLOURS[region])).all(axis=2))
        assert places[0].min() < 80  # in the legend
        assert places[0].max() > 80 and places[1].max() > HEIGHT // 2
    large = enlarge(pictures[0].pixels, HEIGHT)
    assert large.shape == (HEIGHT, HEIGHT // 2, 3)
    found = [y for y in range(60, 140) if np.array_equal(canvas[y : y + HEIGHT, 8 : 8 + HEIGHT // 2], large)]
    assert len(found) == 1  # the image itself, unaltered, first in its line


def test_what_is_not_known_is_said():
    known, unknown = ({"predicted": {"a": (0.1, 0.1, 0.5, 0.5)}, "from joints": x} for x in ({}, None))
    sheets = []
    for columns in (known, unknown):
        np.random.seed(0)
        sheets.append(box_sheet([picture(columns)], "t"))
    assert sheets[0].size == sheets[1].size
    left, top, right, bottom = ImageChops.difference(*sheets).getbbox()
    assert right - left >= HEIGHT // 2 and bottom - top == HEIGHT  # words in place of the picture


def test_a_large_image_is_not_made_smaller():
    tall = picture({"predicted": {"a": (0, 0, 1, 1)}}, size=(500, 200))
    assert enlarge(tall.pixels, HEIGHT) is tall.pixels
    assert box_sheet([tall], "t").size[1] > 500


def test_no_picture():
    with pytest.raises(ValueError, match="a sheet needs at least one picture"):
        box_sheet([], "t")
