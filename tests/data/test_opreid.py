"""OPReID in the layouts that it may come in."""

import pytest

from fastreid_ext.data.catalog import DataSetError, load_dataset

ALL = ("train", "query", "gallery")


def labels(items):
    return [item[1:] for item in items]


def test_folders_of_market(plant, logged, rank1):
    plant(
        "OPReID/bounding_box_train/0001_c6012_1.jpg",
        "OPReID/bounding_box_train/-1_c1_1.jpg",
        "OPReID/query/0002_c12_1.jpg",
        "OPReID/bounding_box_test/0002_c12_2.jpg",
        "OPReID/bounding_box_test/0002_c1_3.jpg",
        "OPReID/bounding_box_test/0003_c1_3.jpg",
    )
    data = load_dataset("OPReID", ALL)
    assert labels(data.train) == [("opreid_1", "opreid_6012")]
    assert labels(data.query) == [(2, 12)]
    assert labels(data.gallery) == [(2, 12), (2, 1), (3, 1)]
    # The nearest is of the query's own camera 12. A rule that reads one digit, 1, would leave out another image.
    order = ("0002_c12_2.jpg", "0003_c1_3.jpg", "0002_c1_3.jpg")
    assert rank1(data.query, data.gallery, order) == 0
    assert rank1(data.query, data.gallery, order, lambda item: "/query/" in item[0]) == 1
    assert "not documented" in logged.text and "folder bounding_box_test" in logged.text
    assert "published are 1744 and 27228" in logged.text


def test_without_cameras_nothing_is_left_out(plant, logged):
    plant(
        "OPReID/train/0001/a.png",
        "OPReID/query/0002/a_c3.jpg",
        "OPReID/gallery/0002/b.jpg",
        "OPReID/gallery/0003/c.jpg",
    )
    data = load_dataset("OPReID", ALL)
    assert labels(data.train) == [("opreid_1", "opreid_0")]
    assert labels(data.query) == [(2, 0)] and labels(data.gallery) == [(2, 1), (3, 1)]
    assert "assumed 0 for queries and 1 for the gallery" in logged.text


def test_list_files(plant, root, logged):
    plant(*(f"OPReID/images/{name}.jpg" for name in ("a", "b", "c", "d")), "OPReID/query/0005_c2_1.jpg")
    (root / "OPReID" / "list_train.txt").write_text("images/a.jpg 7 3\nimages/b.jpg,8,4\n\n")
    (root / "OPReID" / "query.txt").write_text("0005_c2_1.jpg\n")
    (root / "OPReID" / "gallery.list").write_text("images/d.jpg\t5\t9\nimages/c.jpg -1 9\n")
    data = load_dataset("OPReID", ALL)
    assert labels(data.train) == [("opreid_7", "opreid_3"), ("opreid_8", "opreid_4")]
    assert labels(data.query) == [(5, 2)] and labels(data.gallery) == [(5, 9)]
    assert "assumed to be those of list_train.txt" in logged.text


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("images/none.jpg 1 2", "line 2 .*none.jpg, which is not there"),
        ("images/a.jpg anna", "doesn't tell the person"),
    ],
)
def test_bad_lists(line, sentence, plant, root):
    plant("OPReID/images/a.jpg", "OPReID/query/0005_c2_1.jpg", "OPReID/gallery/0005_c3_1.jpg")
    (root / "OPReID" / "train.txt").write_text(f"images/a.jpg 1 2\n{line}\n")
    with pytest.raises(DataSetError, match=sentence):
        load_dataset("OPReID", ("train",))


def test_unreadable_names(plant):
    plant("OPReID/train/anna.jpg", "OPReID/query/0005_c2_1.jpg", "OPReID/gallery/0005_c3_1.jpg")
    with pytest.raises(DataSetError, match="train/anna.jpg.*0001_c12_3.jpg"):
        load_dataset("OPReID", ("train",))


def test_missing(plant):
    with pytest.raises(DataSetError, match="git.io/OPReID"):
        load_dataset("OPReID", ALL)
    plant("OPReID/query/0005_c2_1.jpg")
    with pytest.raises(DataSetError, match="for its train images neither a folder bounding_box_train or train nor a"):
        load_dataset("OPReID", ALL)
