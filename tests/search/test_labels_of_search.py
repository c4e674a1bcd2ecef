"""What a search makes of labels: the text decides, and a query's own image counts only where nothing is left out."""

import numpy as np
import pytest

from fastreid_ext.search.nearest import own_rows
from fastreid_ext.search.searching import SearchOptions, search

FEATURES = np.eye(4, dtype=np.float32) + 0.1
GALLERY = [("a.jpg", "1", "7"), ("b.jpg", "1", "8"), ("c.jpg", "0001", "8"), ("d.jpg", "", "8")]


@pytest.fixture
def searched(make_store, tmp_path):
    """``searched(queries)``: the lines of a search for images, each of which is nearest to itself."""
    gallery = make_store(FEATURES, rows=GALLERY, name="gallery")

    def run(queries, **options):
        names = [row[0] for row in GALLERY]
        features = np.stack([FEATURES[names.index(row[0].removeprefix("./"))] for row in queries])
        store = make_store(features, rows=queries, name="query")
        return search(gallery, (store.images, store.features), SearchOptions(topk=1, show=0, **options), tmp_path)

    return run


def test_queries_that_are_in_the_gallery(searched):
    lines = searched([("a.jpg", "1", "9"), ("./b.jpg", "1", "9")])
    said = "(images by the query's camera included, and so are 2 queries themselves, which are in the gallery too)"
    assert f"Rank-1 100.00 of the 2 queries whose person is in the gallery {said}" in lines


def test_they_are_left_out_with_their_camera(searched):
    """Of c.jpg's person no other image is left; a.jpg's other image is as near as c.jpg, and comes first."""
    lines = searched([("a.jpg", "1", "9"), ("c.jpg", "0001", "9")], drop_same_camera=True)
    assert "Rank-1 100.00 of the 1 queries whose person is in the gallery" in lines


def test_own_rows_by_path(make_store, tmp_path):
    gallery = make_store(FEATURES, rows=GALLERY, name="gallery").images
    rows = [("x/../a.jpg", "1", "7"), (str(tmp_path / "b.jpg"), "1", "7"), ("e.jpg", "1", "7")]
    queries = make_store(FEATURES[:3], rows=rows, name="query").images
    assert [found.tolist() for found in own_rows(queries, gallery)] == [[0], [1], []]


def test_persons_that_are_nearly_the_same(searched):
    lines = searched([("a.jpg", "1", "9"), ("d.jpg", "", "9")])
    (note,) = [line for line in lines if "several ways" in line]
    assert "'0001' (1 image in the gallery) and '1' (1 image in the queries and 2 images in the gallery)" in note
