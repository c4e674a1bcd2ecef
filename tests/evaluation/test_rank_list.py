"""Pictures of rank lists: order, what is left out, and the colour of every frame."""

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.evaluation import rank_list
from fastreid_ext.evaluation.rank_list import (
    CAPTION,
    FRAME,
    GAP,
    GREEN,
    GREY,
    PAPER,
    RED,
    UNDER,
    RankedQuery,
    draw_rank_lists,
    rank_queries,
    save_rank_lists,
)

CELL = (16, 24)
COLOURS = {"blue": (10, 20, 200), "yellow": (220, 210, 30), "grey": (90, 90, 90)}


@pytest.fixture
def pictures(tmp_path):
    """Name -> path of a picture of one colour, each of another size and mode."""
    paths = {}
    for number, (name, colour) in enumerate(COLOURS.items()):
        image = Image.new("RGB", (20 + 7 * number, 50), colour)
        paths[name] = str(tmp_path / f"{name}.png")
        (image.convert("L") if name == "grey" else image).save(paths[name])
    return paths


def rank(distances, topk=10, pids=((1,), (1, 2, 1, 3)), camids=((0,), (1, 1, 2, 0))):
    gallery = [f"g{i}" for i in range(len(distances[0]))]
    queries = [f"q{i}" for i in range(len(distances))]
    pairs = [tuple(np.array(part) for part in both) for both in (pids, camids)]
    return rank_queries(np.array(distances), (queries, gallery), *pairs, topk)


# ---- order ----------------------------------------------------------------------------------------------------------


def test_nearest_first():
    (ranked,) = rank([[0.3, 0.1, 0.2, 0.4]])
    assert ranked == RankedQuery("q0", ["g1", "g2", "g0", "g3"], [False, True, True, False])


def test_ties_keep_the_gallerys_order():
    (ranked,) = rank([[0.5, 0.5, 0.1, 0.5]])
    assert ranked.gallery == ["g2", "g0", "g1", "g3"]
    count = 200  # enough for a sort that is not stable to show itself
    far = np.random.RandomState(0).randint(0, 2, count).tolist()
    (ranked,) = rank([far], count, ((1,), [2] * count), ((0,), [0] * count))
    assert ranked.gallery == [f"g{i}" for value in (0, 1) for i in range(count) if far[i] == value]


def test_own_identity_and_camera_are_left_out():
    (ranked,) = rank([[0.1, 0.2, 0.3, 0.4]], camids=((1,), (1, 1, 2, 0)))
    assert ranked.gallery == ["g1", "g2", "g3"]  # not g0: same person, same camera; g1 is another person
    assert ranked.right == [False, True, False]


def test_only_the_first_are_kept():
    (ranked,) = rank([[0.1, 0.2, 0.3, 0.4]], topk=2, camids=((1,), (1, 1, 2, 0)))
    assert ranked.gallery == ["g1", "g2"] and ranked.right == [False, True]


def test_small_gallery():
    (ranked,) = rank([[0.1, 0.2, 0.3, 0.4]], topk=10)
    assert len(ranked.gallery) == 4


def test_every_query_has_its_row():
    first, second = rank(
        [[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]], pids=((1, 3), (1, 2, 1, 3)), camids=((0, 9), (1,) * 4)
    )
    assert (first.query, first.gallery[0], second.query, second.gallery[0]) == ("q0", "g0", "q1", "g3")
    assert second.right == [True, False, False, False]


# ---- picture --------------------------------------------------------------------------------------------------------


def corner(column, row):
    """Upper left pixel of a frame; the query's column stands a little apart."""
    step_x, step_y = CELL[0] + 2 * FRAME + GAP, CELL[1] + 2 * FRAME + UNDER + GAP
    return GAP + column * step_x + (2 * GAP if column else 0), 2 * CAPTION + GAP + row * step_y


def test_frames_and_pictures(pictures):
    rows = [
        RankedQuery(pictures["blue"], [pictures["yellow"], pictures["grey"]], [True, False]),
        RankedQuery(pictures["grey"], [pictures["blue"]], [False]),
    ]
    canvas = draw_rank_lists(rows, "title", topk=2, cell=CELL)
    expected = [["blue", "yellow", "grey"], ["grey", "blue", None]]
    frames = [[GREY, GREEN, RED], [GREY, RED, None]]
    for row, column in np.ndindex(2, 3):
        x, y = corner(column, row)
        right, bottom = x + CELL[0] + 2 * FRAME - 1, y + CELL[1] + 2 * FRAME - 1
        frame = frames[row][column] or PAPER
        inside = COLOURS.get(expected[row][column], PAPER)
        for pixel in (
            (x, y),
            (right, y),
            (x, bottom),
            (right, bottom),
            (x + FRAME - 1, y + 9),
            (right - FRAME + 1, y + 9),
        ):
            assert canvas.getpixel(pixel) == frame, (row, column, pixel)
        for pixel in ((x + FRAME, y + FRAME), (right - FRAME, bottom - FRAME), (x + FRAME + 5, y + FRAME + 5)):
            assert canvas.getpixel(pixel) == inside, (row, column, pixel)
        for pixel in ((x - 1, y), (x, y - 1), (right + 1, bottom), (right, bottom + 1)):  # no mark touches a frame
            assert canvas.getpixel(pixel) == PAPER, (row, column, pixel)


def under(canvas, column, row, lines=slice(0, UNDER)):
    """What stands below a picture: (h, w, 3)."""
    x, y = corner(column, row)
    top = y + CELL[1] + 2 * FRAME
    return np.asarray(canvas)[top : top + UNDER, x : x + CELL[0] + 2 * FRAME][lines]


def test_marks_differ_in_shape(pictures):
    rows = [
        RankedQuery(pictures["blue"], [pictures["yellow"], pictures["grey"], pictures["grey"]], [True, False, None])
    ]
    canvas = draw_rank_lists(rows, "title", topk=3, cell=CELL)
    query, right, wrong, unknown = ((under(canvas, column, 0) != PAPER).any(axis=2) for column in range(4))
    assert right.any() and wrong.any() and not query.any() and not unknown.any()
    drawn = wrong[:, : rank_list.MARK]
    box = drawn[drawn.any(axis=1)]
    assert np.array_equal(box, box[:, ::-1])  # a cross is its own mirror image, a tick is not
    drawn = right[:, : rank_list.MARK]
    box = drawn[drawn.any(axis=1)]
    assert not np.array_equal(box, box[:, ::-1])


def test_similarity_and_camera_stand_below(pictures):
    pids, camids = (np.array([1]), np.array([1, 2])), (np.array([4]), np.array([5, 6]))
    paths = [pictures["blue"]], [pictures["grey"], pictures["yellow"]]
    (entry,) = rank_queries(np.array([[0.25, 0.125]]), paths, pids, camids, 2, metric="cosine")
    assert entry.notes == [("camera 4",), ("0.875", "camera 6"), ("0.750", "camera 5")]
    (far,) = rank_queries(np.array([[2.5, 12345.678]]), paths, pids, camids, 2, metric="euclidean")
    assert [lines[0] for lines in far.notes] == ["camera 4", "2.5", "1.235e+04"]
    canvas = draw_rank_lists([entry], "title", topk=2, cell=(64, 24))
    plain = draw_rank_lists([RankedQuery(entry.query, entry.gallery, entry.right)], "title", topk=2, cell=(64, 24))
    ink = [np.asarray(picture.convert("L"), dtype=int) for picture in (canvas, plain)]
    assert canvas.size == plain.size and (ink[0] < ink[1] - 50).sum() > 50  # darker: the letters


def test_notes_do_not_run_into_the_next_image(pictures):
    notes = [("", "camera " + "M" * 40), ("W" * 40, "\n\x00" * 30)]
    row = RankedQuery(pictures["blue"], [pictures["grey"]], [True], notes)
    canvas = np.asarray(draw_rank_lists([row], "title", topk=2, cell=CELL))
    for column in range(2):
        x, y = corner(column, 0)
        gap = canvas[y + CELL[1] + 2 * FRAME :, x + CELL[0] + 2 * FRAME : x + CELL[0] + 2 * FRAME + GAP]
        assert (gap == PAPER).all()


def test_green_and_red_are_not_told_apart_by_hue_alone():
    brightness = [sum(np.array(colour) * (0.2126, 0.7152, 0.0722)) for colour in (GREEN, RED)]
    assert abs(brightness[0] - brightness[1]) > 20


def test_canvas_holds_all_columns(pictures):
    row = RankedQuery(pictures["blue"], [pictures["grey"]], [True])
    few, many = (draw_rank_lists([row], "title", topk=k, cell=CELL).size for k in (1, 5))
    assert many[0] - few[0] == 4 * (CELL[0] + 2 * FRAME + GAP) and many[1] == few[1]


def test_nobody_knows_who_it_is(pictures):
    rows = [RankedQuery(pictures["blue"], [pictures["grey"], pictures["yellow"]], [None, False])]
    canvas = draw_rank_lists(rows, "title", topk=2, cell=CELL)
    assert [canvas.getpixel(corner(column, 0)) for column in range(3)] == [GREY, GREY, RED]


def test_a_long_title_is_not_cut_off(pictures):
    row = RankedQuery(pictures["blue"], [pictures["grey"]], [True])
    short, long = (draw_rank_lists([row], title, topk=1, cell=CELL) for title in ("W", "W" * 60))
    assert long.size[0] > short.size[0] and long.size[1] == short.size[1]
    ink = np.array(long.convert("L"))[: CAPTION - 1] < 128
    assert ink.any(axis=0).nonzero()[0].max() < long.size[0] - GAP  # the last letter ends before the margin


def test_no_query():
    with pytest.raises(ValueError, match="at least one query"):
        draw_rank_lists([], "title")


def test_saving_makes_the_folder(pictures, tmp_path):
    path = tmp_path / "new" / "folder" / "ranks.png"
    save_rank_lists(draw_rank_lists([RankedQuery(pictures["blue"], [], [])], "title", cell=CELL), path)
    with Image.open(path) as picture:
        assert picture.getpixel(corner(0, 0)) == rank_list.GREY
