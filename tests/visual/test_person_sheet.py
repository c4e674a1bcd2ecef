"""The contact sheet of a data set: who is on it, in which order, and in which frames."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastreid_ext.visual import person_sheet as sheets
from fastreid_ext.visual.person_sheet import FRAMES, Cell, person_sheet


@pytest.fixture
def cell(tmp_path):
    def make(name, split, person, camera, size=(8, 16)):
        path = tmp_path / f"{name}.png"
        Image.new("RGB", size, (1, 2, 3)).save(path)
        return Cell(str(path), split, person, camera)

    return make


@pytest.fixture
def drawn(monkeypatch):
    """The rows that a sheet of some cells is drawn of."""

    def lines_of(cells, **kwargs):
        seen = []
        monkeypatch.setattr(sheets, "_draw", lambda lines, title: seen.append((lines, title)))
        person_sheet(cells, "all", **kwargs)
        ((lines, title),) = seen
        return title, [(line.person, line.kind, line.count) for line in lines], lines

    return lines_of


def test_half_of_the_rows_are_training_persons(cell, drawn):
    train = [cell(f"t{n}", "train", f"t{n}", "1") for n in range(5)]
    test = [cell(f"q{n}", "query", f"q{n}", "1") for n in range(5)]
    title, rows, _ = drawn([*train, *test], rows=4)
    assert title == "all (4 of 10 persons)"
    assert rows == [
        (name, kind, 1) for name, kind in (("t0", "train"), ("t4", "train"), ("q0", "test"), ("q4", "test"))
    ]
    assert [row[1] for row in drawn([*train, test[0]], rows=4)[1]] == ["train"] * 3 + ["test"]
    assert [row[1] for row in drawn([train[0], *test], rows=4)[1]] == ["train"] + ["test"] * 3


def test_queries_first_and_then_every_camera(cell, drawn):
    cells = [cell(f"g{camera}{n}", "gallery", "p", camera) for camera in "12" for n in range(3)]
    _, _, (line,) = drawn([*cells, cell("z", "query", "p", "3")], columns=5)
    assert [(c.split, c.camera) for c in line.cells] == [
        ("query", "3"),
        *(("gallery", camera) for camera in "1212"),
    ]
    _, _, (line,) = drawn([*cells, cell("z", "query", "p", "3")], columns=1)
    assert [c.split for c in line.cells] == ["query"]


def test_the_frames(cell):
    cells = [cell("a", "train", "anna", "1"), cell("b", "query", "Jürgen", "1"), cell("c", "gallery", "Jürgen", "2")]
    cells.append(cell("d", "train", "wide", "3", size=(900, 30)))
    pixels = np.asarray(person_sheet(cells, "title"))
    below = pixels[60:]  # the legend has all three colours
    counts = {split: int((below == colour).all(-1).sum()) for split, colour in FRAMES.items()}
    assert counts["query"] == counts["gallery"] > 500
    assert counts["train"] > counts["query"] and person_sheet([], "none").width > 100


def test_images_that_are_not_shown_are_counted(cell, monkeypatch):
    """And names are in a font with the letters of Europe's languages."""
    written = {}
    text = ImageDraw.ImageDraw.text
    monkeypatch.setattr(
        ImageDraw.ImageDraw,
        "text",
        lambda pen, at, words, **how: (written.update({words: how}), text(pen, at, words, **how)),
    )
    cells = [cell(f"{n}", "train", person, "1") for person, count in (("many", 3), ("few", 2)) for n in range(count)]
    person_sheet(cells, "title", columns=2)
    assert "train, 3 images, 2 here" in written and "train, 2 images" in written
    assert {written[name]["font"].getname()[0] for name in ("many", "few")} == {"DejaVu Sans"}
