"""Figures for print: every picture is on them, under its names, and rank lists say right and wrong twice."""

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.evaluation.rank_list import GREEN, RED, RankedQuery
from fastreid_ext.visual.labelled_grid import HEIGHT, INK, MARGIN, NARROWEST, PALE, Line, labelled_grid
from fastreid_ext.visual.lettering import broken, font, length
from fastreid_ext.visual.rank_grid import CELL, FRAME, rank_grid

LONG = "words that are many more than the figure has room for in a line " * 4


def block(colour):
    return np.full((HEIGHT, HEIGHT // 2, 3), colour, np.uint8)


def places(canvas, colour):
    """Where the canvas has a colour: (top, left, height, width)."""
    rows, columns = np.nonzero((np.asarray(canvas) == colour).all(axis=2))
    return rows.min(), columns.min(), np.ptp(rows) + 1, np.ptp(columns) + 1


def test_pictures_in_rows_and_columns():
    colours = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), None]]
    lines = [
        Line(f"row {number}", [None if colour is None else block(colour) for colour in row])
        for number, row in enumerate(colours)
    ]
    canvas = labelled_grid(lines, ["one", "a longer name"], "title", ["a note"], ("low", "high"))
    (red, green), (blue, _) = [[colour and places(canvas, colour) for colour in row] for row in colours]
    for found in (red, green, blue):
        assert found[2:] == (HEIGHT, HEIGHT // 2)
    assert red[0] == green[0] < blue[0] and red[1] == blue[1] < green[1]
    assert red[1] > length("row 0", font(16)) and canvas.width >= NARROWEST


def test_small_pictures_are_enlarged_and_long_words_have_room():
    small = np.full((16, 8, 3), (255, 0, 0), np.uint8)
    canvas = labelled_grid([Line("", [small])], ["c"], LONG, [LONG])
    assert places(canvas, (255, 0, 0))[2] == HEIGHT
    for colour in (INK, PALE):  # of the title and of the note: many lines, none cut off at the edge
        top, left, height, width = places(canvas, colour)
        assert height > 3 * 20 and left >= MARGIN and left + width <= canvas.width - MARGIN
    assert " ".join(broken(LONG, font(14), 300)) == LONG.strip()
    assert broken("Donaudampfschifffahrt is one", font(14), 20) == ["Donaudampfschifffahrt", "is", "one"]


def test_the_scale_has_all_colours_and_names_its_ends():
    plain, scaled = (
        labelled_grid([Line("", [block(200)])], ["c"], "t", scale=scale) for scale in (None, ("low", "hi"))
    )
    assert scaled.height > plain.height
    added = np.asarray(scaled)[plain.height - MARGIN :].astype(int)
    blue, red = (
        np.nonzero((added[..., one] - added[..., other] > 60).any(axis=0))[0] for one, other in ((2, 0), (0, 2))
    )
    assert len(blue) and len(red) and blue.mean() < red.mean()
    letters = np.nonzero(((added.max(axis=2) < 160) & (np.ptp(added, axis=2) < 5)).any(axis=0))[0]
    assert letters.min() < blue.min() and letters.max() > red.max()


def test_no_picture_or_too_few():
    for lines in ([], [Line("", [None])], [Line("", [block((1, 1, 1))] * 2)]):
        with pytest.raises(ValueError, match="one picture at least"):
            labelled_grid(lines, ["c"], "t")


def read(name):
    return Image.new("RGB", (32, 64), {"q": (0, 0, 200), "a": (200, 200, 0), "b": (200, 0, 200)}[name[0]])


def test_rank_lists_one_above_the_other():
    """One query for both models; frames and marks of each list in the model's own row."""
    first, second = RankedQuery("q", ["a1", "a2"], [True, False]), RankedQuery("q", ["b1", "b2"], [False, False])
    canvas = rank_grid([{"Ours": first, "A baseline with a long name": second}], "title", ["note"], read)
    upper, lower, query = (places(canvas, read(name).getpixel((0, 0))) for name in "abq")
    assert query[2:] == (CELL[1], CELL[0])  # once
    assert upper[1] == lower[1] > query[1] + CELL[0] and upper[0] + CELL[1] < lower[0]
    assert upper[0] < query[0] + CELL[1] // 2 < lower[0] + CELL[1]
    pixels = np.asarray(canvas)
    frame = FRAME + 1
    assert tuple(pixels[upper[0], upper[1] - frame + 1]) == GREEN and tuple(pixels[lower[0], lower[1] - 2]) == RED
    right = np.nonzero((pixels == GREEN).all(axis=2))
    assert right[0].max() < lower[0] - FRAME  # none in the second model's row
    below = pixels[upper[0] + CELL[1] + FRAME + 1 : lower[0] - FRAME]
    assert (below == GREEN).all(axis=2).any() and (below == RED).all(axis=2).any()  # a tick and a cross
    assert (pixels[lower[0] + CELL[1] + FRAME :] == PALE).all(axis=2).any()  # the note


def test_lists_of_two_queries_are_not_one_block():
    one, other = RankedQuery("q", ["a1"], [True]), RankedQuery("b", ["a1"], [True])
    for queries in ([], [{"A": one, "B": other}]):
        with pytest.raises(ValueError, match="one query for all models"):
            rank_grid(queries, "t", read=read)
