"""The text of a label decides, in every split; what is nearly the same is reported."""

import os

import pytest

from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.data.datasets.csv_dataset import register_csv_dataset
from fastreid_ext.data.labels import MARKET_NAME, alike, numbered
from fastreid_ext.errors import ConfigError

TEST = ("query", "gallery")
HEAD = "path,person,camera\n"
LONG = "9" * 25


@pytest.fixture
def write(root, plant):
    """``write(train="a.jpg,1,0\\nb.jpg,0001,0\\n")``: CSV files of images that are there."""

    def make(**splits):
        for split, text in splits.items():
            plant(*(f"CSVDataset/{line.split(',')[0]}" for line in text.splitlines()))
            (root / f"CSVDataset/{split}.csv").write_text(HEAD + text)

    return make


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ({"12", "3"}, {"12": 12, "3": 3}),
        ({"0012", "0003"}, {"0012": 12, "0003": 3}),
        ({"1", "0001"}, {"0001": 0, "1": 1}),
        ({"1", LONG}, {"1": 0, LONG: 1}),
        ({"anna", "Anna"}, {"Anna": 0, "anna": 1}),
        ({"1", "+1", "1_0", "10"}, {"+1": 0, "1": 1, "10": 2, "1_0": 3}),
        ({str(2**63), str(2**63 - 1)}, {str(2**63 - 1): 0, str(2**63): 1}),
    ],
)
def test_every_text_has_its_own_number(words, numbers):
    assert numbered(words) == numbers


@pytest.mark.parametrize(
    ("words", "groups"),
    [
        (["1", "0001", "2"], [["0001", "1"]]),
        (["p01", "P1", "p 1", "p10"], [["P1", "p 1", "p01"]]),
        (["1", "10", "100", "0", "00"], [["0", "00"]]),
        (["1_01", "1_1"], [["1_01", "1_1"]]),
        (["jo\u0308rg", "j\u00f6rg"], [["jo\u0308rg", "j\u00f6rg"]]),
        (["an na", "anna\u200b", "\u2003ANNA"], [["an na", "anna\u200b", "\u2003ANNA"]]),
        (["anna", "anne", "-1", "1"], []),
        (["20", "2", "200"], []),
        (["1.0", "1", "1.5", "10"], [["1", "1.0"]]),
        (["-1", "\u22121", "-1.00"], [["-1", "-1.00", "\u22121"]]),
        (["1.2.0", "1.2"], []),
    ],
)
def test_what_is_alike(words, groups):
    assert alike(words) == groups


def test_in_training_and_in_the_test(write, logged):
    """Two persons in either, and one sentence for each that names both texts, the file and the number of images."""
    write(train="a.jpg,1,0\nb.jpg,0001,0\nc.jpg,0001,1\n")
    write(query="q.jpg,1,0\n", gallery="g.jpg,0001,1\nh.jpg,1,1\n")
    data = load_dataset("CSVDataset", ("train", *TEST))
    assert {item[1] for item in data.train} == {"csvdataset_1", "csvdataset_0001"}
    assert data.query[0][1] != data.gallery[0][1] and data.query[0][1] == data.gallery[1][1]
    warnings = [record.getMessage() for record in logged.records if "several ways" in record.getMessage()]
    assert len(warnings) == 2
    assert "1 person may be written in several ways" in warnings[0]
    assert "'0001' (2 images in " in warnings[0] and "CSVDataset/train.csv) and '1' (1 image in " in warnings[0]
    assert "'1' (1 image in " in warnings[1] and "query.csv and 1 image in " in warnings[1]


def test_cameras_too(write, logged):
    write(query="q.jpg,1,Door\n", gallery="g.jpg,1,door\n")
    data = load_dataset("CSVDataset", TEST)
    assert data.query[0][2] != data.gallery[0][2]
    assert "1 camera may be written in several ways" in logged.text


def test_junk_is_minus_one_and_nothing_else(write, logged):
    write(train="a.jpg,-1,0\nb.jpg,-01,0\nc.jpg,7,0\n")
    assert {item[1] for item in load_dataset("CSVDataset", ("train",)).train} == {"csvdataset_-01", "csvdataset_7"}
    assert "CSVDataset/train.csv) and '-1' (junk, which is ignored)" in logged.text


def test_nothing_is_said_of_plain_labels(write, logged):
    write(train="a.jpg,1,0\nb.jpg,10,1\n")
    load_dataset("CSVDataset", ("train",))
    assert "several ways" not in logged.text


def test_long_numbers(write):
    write(train=f"a.jpg,{LONG},0\nb.jpg,{LONG}1,0\n", query=f"q.jpg,{LONG},0\n", gallery=f"g.jpg,{LONG},{LONG}\n")
    data = load_dataset("CSVDataset", ("train", *TEST))
    assert {item[1] for item in data.train} == {f"csvdataset_{LONG}", f"csvdataset_{LONG}1"}
    assert data.query[0][1] == data.gallery[0][1] < 2**63


def test_combineall_keeps_a_person_one(write):
    write(train="a.jpg,1,0\n", query="q.jpg,1,0\n", gallery="g.jpg,2,1\nh.jpg,1,1\n")
    data = load_dataset("CSVDataset", ("train",), combineall=True)
    assert len(data.train) == 4 and {item[1] for item in data.train} == {"csvdataset_1", "csvdataset_2"}


def test_one_image_of_two_persons(write):
    write(train="a.jpg,1,0\nb.jpg,2,0\n./a.jpg,2,0\n")
    with pytest.raises(DataSetError, match=r"line 4 of .*train.csv gives ./a.jpg the person '2', an earlier line '1'"):
        load_dataset("CSVDataset", ("train",))


@pytest.mark.parametrize("name", ["csvdataset", "CsvDataSet", "MARKET1501"])
def test_a_name_that_would_mix_the_persons_of_two_sets(name):
    with pytest.raises(ConfigError, match="choose a name that differs in more than case"):
        register_csv_dataset(name, "folder")


def test_one_image_of_two_persons_by_another_path(write, root, monkeypatch):
    """A link, a hard link, and an absolute path beside a relative one, below a root that is relative."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("FASTREID_DATASETS", ".")
    for link in (os.symlink, os.link, None):
        write(train="a.jpg,1,0\nb.jpg,2,0\nc.jpg,3,0\n")
        folder = root / "CSVDataset"
        path = folder / "c.jpg"
        if link:
            path.unlink()
            link(folder / "a.jpg", path)
        else:
            path = folder / "a.jpg"
        (folder / "train.csv").write_text(f"{HEAD}a.jpg,1,0\nb.jpg,2,0\n{path},3,0\n")
        with pytest.raises(DataSetError, match="the person '3'.*'1'|the person '1'.*'3'"):
            load_dataset("CSVDataset", ("train",))


def test_images_that_are_listed_again_are_counted(write, logged):
    write(train="a.jpg,1,0\nb.jpg,2,0\n./a.jpg,1,0\nb.jpg,2,1\nc.jpg,3,0\n")
    assert len(load_dataset("CSVDataset", ("train",)).train) == 5
    assert "train.csv lists 2 images more than once, 1 of them under several cameras, the first is" in logged.text


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("0001_c2s1_000151_00.jpg", ("0001", "2")),
        ("0001_C12.JPG", ("0001", "12")),
        ("-1_c3_7.jpg", ("-1", "3")),
        ("0001_c1a2f.jpg", None),
        ("0001_x_c1.jpg", None),
    ],
)
def test_names_in_the_form_of_market1501(name, labels):
    """For extract --images and dataset alike; c1a2f is a hash and no camera."""
    match = MARKET_NAME.match(name)
    assert (match and match.groups()) == labels
