"""JSON, CSV and the sheet of what was found."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.evaluation.rank_list import GREEN, GREY, RED
from fastreid_ext.search.image_list import ImageList
from fastreid_ext.search.nearest import Neighbours
from fastreid_ext.search.results import SearchResult, draw_sheet, sheet_title, write_csv, write_json


@pytest.fixture
def result(tmp_path):
    for name in ("q0", "q1", "g0", "g1", "g2"):
        Image.new("RGB", (8, 16), "white").save(tmp_path / f"{name}.png")
    queries = ImageList(tmp_path, [("q0.png", "a", "1"), ("q1.png", "", "")], "queries")
    gallery = ImageList(tmp_path, [("g0.png", "a", "2"), ('g,"1.png', "b", "1"), ("g2.png", "", "")], "gallery")
    gallery.rows[1] = ("g1.png", "b", "1")
    found = Neighbours(np.array([[1, 0, 2], [2, -1, -1]]), np.array([[0.1, 0.2, 1 / 3], [0.5, np.inf, np.inf]]))
    return SearchResult(
        queries, gallery, found, "exact order, cosine distance", {"metric": "cosine", "topk": 3, "recall": None}
    )


def test_json(result, tmp_path):
    write_json(result, tmp_path / "r.json")
    read = json.loads((tmp_path / "r.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert read["order"] == "exact order, cosine distance" and read["topk"] == 3 and read["recall"] is None
    assert read["gallery_root"] == str(tmp_path)
    first, second = read["results"]
    assert (first["query"], first["person"], first["camera"]) == ("q0.png", "a", "1")
    assert [m["path"] for m in first["matches"]] == ["g1.png", "g0.png", "g2.png"]
    assert [m["rank"] for m in first["matches"]] == [1, 2, 3]
    assert [m["same_person"] for m in first["matches"]] == [False, True, None]
    assert first["matches"][2]["distance"] == 1 / 3
    assert [m["path"] for m in second["matches"]] == ["g2.png"]


def test_csv(result, tmp_path):
    write_csv(result, tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["query"], r["rank"], r["gallery"], r["same_person"]) for r in rows] == [
        ("q0.png", "1", "g1.png", "0"),
        ("q0.png", "2", "g0.png", "1"),
        ("q0.png", "3", "g2.png", ""),
        ("q1.png", "1", "g2.png", ""),
    ]
    assert float(rows[2]["distance"]) == 1 / 3


def test_sheet(result, tmp_path):
    picture = Image.open(draw_sheet(result, tmp_path / "sheet.png", 8))
    colours = {colour for _, colour in picture.getcolors(1 << 20)}
    assert {GREEN, RED, GREY} <= colours
    with pytest.raises(OSError, match="g0.png"):
        (tmp_path / "g0.png").unlink()
        draw_sheet(result, tmp_path / "sheet.png", 8)


def test_the_title_says_what_there_is():
    assert sheet_title("exact order", [[True, False]]) == "Exact order; green: same person, red: another one"
    assert sheet_title("order by HNSW", [[None]]) == "Order by HNSW; grey: person unknown"
    assert sheet_title("exact order", [[]]) == "Exact order"
