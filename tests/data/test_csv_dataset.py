"""Someone's own images: three CSV files."""

import pytest
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.data.datasets.csv_dataset import CSVDataset, register_csv_dataset
from fastreid_ext.data.published import DESCRIBED_AT, EXPECTED_TREES

TEST = ("query", "gallery")


@pytest.fixture
def write(root, plant):
    """Write CSV files, and the images a.jpg to d.jpg beside them."""

    def make(folder="CSVDataset", encoding="utf-8", **texts):
        plant(*(f"{folder}/images/{name}.jpg" for name in "abcd"))
        for part, text in texts.items():
            (root / folder / f"{part}.csv").write_text(text, encoding=encoding)

    return make


QUERY = "path,person,camera\nimages/a.jpg,anna,door\n"
GALLERY = "path,person,camera\nimages/d.jpg,bo,door\nimages/b.jpg,anna,door\nimages/c.jpg,anna,stairs\n"


def test_words(write, root):
    write(train=GALLERY, query=QUERY, gallery=GALLERY)
    data = load_dataset("CSVDataset", ("train", *TEST))
    base = f"{root}/CSVDataset/images"
    assert data.train == [
        (f"{base}/b.jpg", "csvdataset_anna", "csvdataset_door"),
        (f"{base}/c.jpg", "csvdataset_anna", "csvdataset_stairs"),
        (f"{base}/d.jpg", "csvdataset_bo", "csvdataset_door"),
    ]
    assert data.query == [(f"{base}/a.jpg", 0, 0)]
    assert data.gallery == [(f"{base}/b.jpg", 0, 0), (f"{base}/c.jpg", 0, 1), (f"{base}/d.jpg", 1, 0)]


def test_the_querys_own_camera_is_left_out(write, rank1):
    write(query=QUERY, gallery=GALLERY)
    data = load_dataset("CSVDataset", TEST)
    order = ("b.jpg", "d.jpg", "c.jpg")
    assert rank1(data.query, data.gallery, order) == 0
    assert rank1(data.query, data.gallery, order, lambda item: "a.jpg" in item[0]) == 1


def test_numbers_stay_and_junk_goes(write):
    gallery = "path,person,camera\nimages/b.jpg,0012,4\nimages/c.jpg,-1,3\n"
    write(query="path,person,camera\nimages/a.jpg,0012,3\n", gallery=gallery)
    data = load_dataset("CSVDataset", TEST)
    assert [item[1:] for item in data.query] == [(12, 3)] and [item[1:] for item in data.gallery] == [(12, 4)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", ", "])
def test_as_spreadsheets_write_it(encoding, delimiter, write, root):
    other = str(root / "CSVDataset" / "images" / "b.jpg")
    rows = [["Camera", "note", "PATH", " Person"], ["1", "x", other, "5"], ["2", "", "images/a.jpg", "jörg"]]
    write(encoding=encoding, train="\r\n".join(delimiter.join(row) for row in rows) + "\r\n\r\n")
    data = load_dataset("CSVDataset", ("train",))
    assert [item[1] for item in data.train] == ["csvdataset_jörg", "csvdataset_5"] and data.train[1][0] == other


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no column path and no person and no camera"),
        ("images/a.jpg,1,2\n", "names no column path"),
        ("path,person\nimages/a.jpg,1\n", "names no column camera: it should be path,person,camera"),
        ("path,person,camera\nimages/a.jpg,1\n", "line 2 of .*train.csv lacks"),
        ("path,person,camera\nimages/a.jpg,1,2\nimages/no.jpg,1,2\n", "1 of 2 images .*the first is .*images/no.jpg"),
        ("path,person,camera\n", "has no images for train"),
    ],
)
def test_bad_files(text, sentence, write):
    write(train=text)
    with pytest.raises(DataSetError, match=sentence):
        load_dataset("CSVDataset", ("train",))


def test_not_utf8(write):
    write(encoding="latin-1", train="path,person,camera\nimages/a.jpg,jörg,1\n")
    with pytest.raises(DataSetError, match="train.csv is not in UTF-8"):
        load_dataset("CSVDataset", ("train",))


def test_parts_that_are_not_there(write):
    write(query=QUERY)
    for parts, sentence in ((("train",), "no images for train"), (TEST, "no images for gallery")):
        with pytest.raises(DataSetError, match=sentence) as raised:
            load_dataset("CSVDataset", parts)
        assert "CSVDataset/gallery.csv (path,person,camera)" in str(raised.value)


def test_one_camera_for_all_is_explained(write):
    write(query=QUERY, gallery="path,person,camera\nimages/b.jpg,anna,door\n")
    with pytest.raises(DataSetError, match="seen by another camera, so nothing could be scored"):
        load_dataset("CSVDataset", TEST)


@pytest.fixture
def shop():
    yield register_csv_dataset("MyShop", "my/shop")
    for table in (DATASET_REGISTRY._obj_map, EXPECTED_TREES, DESCRIBED_AT):
        table.pop("MyShop")


def test_a_name_of_its_own(shop, write):
    with pytest.raises(DataSetError, match="my/shop/train.csv"):
        load_dataset("MyShop", ("train",))
    write("my/shop", train=GALLERY)
    data = load_dataset("MyShop", ("train",))
    assert issubclass(shop, CSVDataset) and {item[1] for item in data.train} == {"myshop_anna", "myshop_bo"}
    assert register_csv_dataset("MyShop", "my/shop") is shop
    for name in ("MyShop", "Market1501"):
        with pytest.raises(ValueError, match="already registered"):
            register_csv_dataset(name, "other")
