"""Colours over images, and the grid they stand in."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastreid_ext.visual import pictures
from fastreid_ext.visual.pictures import CAPTION, GAP, SHARE, darken, overlay, sheet


def image(height=12, width=8):
    return np.random.randint(0, 256, (height, width, 3)).astype(np.uint8)


def test_overlay_mixes_the_colour_of_the_heat():
    """Blue at 0, red at 1 (jet: half of the scale at its ends), 45 % of it; what lies outside is cut off."""
    grey = np.full((1, 4, 3), 100, np.uint8)
    mixed = overlay(grey, np.array([[0.0, 1.0, -3.0, 7.0]]))
    blue, red = mixed[0, 0], mixed[0, 1]
    kept, mixture = round(100 * (1 - SHARE)), round(100 * (1 - SHARE) + SHARE * 128)
    assert blue.tolist() == [kept, kept, mixture] and red.tolist() == [mixture, kept, kept]
    assert mixed[0, 2].tolist() == blue.tolist() and mixed[0, 3].tolist() == red.tolist()
    assert mixed.dtype == np.uint8 and mixed.shape == grey.shape


def test_overlay_of_white_does_not_wrap():
    white = overlay(np.full((3, 3, 3), 255, np.uint8), np.full((3, 3), 0.5))
    assert white.min() >= round(255 * (1 - SHARE)) - 1


def test_darken_is_a_product():
    pixels = image()
    keep = np.random.rand(12, 8)
    expected = [[[round(float(c) * keep[i, j]) for c in pixels[i, j]] for j in range(8)] for i in range(12)]
    assert darken(pixels, keep).tolist() == expected
    assert np.array_equal(darken(pixels, np.ones((12, 8))), pixels) and not darken(pixels, np.zeros((12, 8))).any()
    assert np.array_equal(darken(pixels, np.full((12, 8), 2.0)), pixels)  # never brighter


LONG = "a title that is much longer than all of the pictures beside each other are" * 3


@pytest.mark.parametrize("title", ["t", LONG])
@pytest.mark.parametrize(("count", "across"), [(1, 1), (2, 2), (5, 3), (6, 3), (7, 4)])
def test_sheet(title, count, across, monkeypatch):
    """Every picture is on it, whole; images stand in lines that are as full as each other."""
    columns = ["image", "a column with a long name", "c"]
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    step = GAP + int(pen.textlength(columns[1]))
    group = 3 * step + 2 * GAP
    monkeypatch.setattr(pictures, "WIDEST", 4 * group + 5)
    rows = [{name: image(40, 20) for name in columns} for _ in range(count)]
    before = [{name: picture.copy() for name, picture in row.items()} for row in rows]
    canvas = np.asarray(sheet(rows, title))
    down, each = -(-count // across), CAPTION + 40 + GAP
    assert canvas.shape[0] == CAPTION + down * each + GAP
    assert canvas.shape[1] == max(GAP + across * group - 2 * GAP, 2 * GAP + int(pen.textlength(title)))
    for r, row in enumerate(rows):
        for c, (name, picture) in enumerate(row.items()):
            top, left = CAPTION + r // across * each + CAPTION, GAP + r % across * group + c * step
            assert np.array_equal(canvas[top : top + 40, left : left + 20], picture)
            assert np.array_equal(picture, before[r][name])
            assert (canvas[top - CAPTION : top, left : left + 20] < 100).any(), "no name above"
    assert (canvas[:CAPTION] < 100).any() and (canvas[-GAP:] == 255).all()  # the title, and paper at the bottom


def test_a_dozen_images_are_no_strip():
    """What cam draws of twelve images: two pictures of 128x256 each."""
    rows = [{"image": image(256, 128), "backbone.layer4": image(256, 128)} for _ in range(12)]
    width, height = sheet(rows, "t", [f"{n}.jpg" for n in range(12)]).size
    assert 1 / 2 < width / height < 2 and width <= pictures.WIDEST


def test_labels_stand_below_and_within_their_group():
    rows = [{"a": image(10, 30)} for _ in range(2)]
    plain, short, long = (np.asarray(sheet(rows, "t", labels)) for labels in ((), ("x", "y"), ("x" * 99, "y" * 99)))
    assert short.shape == long.shape == (plain.shape[0] + CAPTION, plain.shape[1], 3)
    below = long[CAPTION + CAPTION + 10 : -GAP]
    assert (below[:, GAP : GAP + 30] < 100).any() and (below[:, GAP + 30 : 3 * GAP + 30] == 255).all()


def test_wide_pictures_stand_close():
    canvas = np.asarray(sheet([{"a": image(10, 90), "b": image(10, 90)}], "t"))
    assert canvas.shape == (2 * CAPTION + 10 + 2 * GAP, GAP + 2 * (90 + GAP), 3)


def test_no_row():
    with pytest.raises(ValueError, match="a sheet needs at least one row of pictures"):
        sheet([], "t")


@pytest.mark.parametrize("title", ["two\nlines", "\udcff", "\t\0\u2028", "人"])
def test_a_sheet_of_a_file_of_any_name(title):
    assert sheet([{title: image()}], title).height == 2 * CAPTION + 12 + 2 * GAP
