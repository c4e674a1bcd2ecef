"""Sets in Market1501's form: labels from the names alone, any suffix, any root, and odd names refused by name."""

import re

import pytest
from data_set_trees import MARKET, MARKET_TREES, expected, write
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.dukemtmcreid import DukeMTMC as HostDukeMTMC
from fastreid.data.datasets.market1501 import Market1501 as HostMarket1501
from fastreid.data.datasets.veri import VeRi as HostVeRi

from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.data.datasets.market_tree import FOLDERS

ALL = ("train", "query", "gallery")
ROOTS = ["plain", "exp2024_c1", "[reid] data", "7_c3 *?", "p1_s1"]


def lists_of(data):
    return {split: sorted(getattr(data, split)) for split in ALL}


def right(root, rows, name):
    return {split: expected(root, rows, split, name if split == "train" else "") for split in ALL}


@pytest.mark.parametrize("folder", ROOTS)
@pytest.mark.parametrize("name", MARKET_TREES)
def test_every_image_is_read_right(name, folder, root, monkeypatch):
    rows, dataset = MARKET_TREES[name]
    monkeypatch.setenv("FASTREID_DATASETS", str(root / folder))
    write(root / folder, rows)
    assert lists_of(load_dataset(name, ALL)) == right(root / folder, rows, dataset)


PUBLISHED = {
    HostMarket1501: "Market-1501-v15.09.15/{}/{:04d}_c{}s1_000451_03.jpg",
    HostDukeMTMC: "DukeMTMC-reID/{}/{:04d}_c{}_f0046182.jpg",
    HostVeRi: "veri/{}/{:04d}_c00{}_00016450_0.jpg",
}


@pytest.mark.parametrize("host", PUBLISHED)
def test_on_names_as_published_the_lists_are_fastreids(host, root):
    folders = ("image_train", "image_query", "image_test") if host is HostVeRi else FOLDERS
    write(root, [PUBLISHED[host].format(folder, n, c) for n, folder in enumerate(folders) for c in (1, 3, 6)])
    if host is HostMarket1501:
        write(root, ["Market-1501-v15.09.15/bounding_box_test/-1_c3s1_000451_03.jpg"])
    theirs, ours = host(root=str(root)), load_dataset(host.__name__, ("train",))
    assert isinstance(ours, host) and lists_of(ours) == lists_of(theirs)
    assert [len(items) for items in lists_of(ours).values()] == [3, 3, 3]


def test_renamed_cameras_are_other_cameras_of_the_same_images(root, plant):
    """The issue's case: cameras 2, 3 and 4 renamed to 12, 13 and 14."""
    names = [f"000{person}_c{camera}s1_{camera:06d}_00.jpg" for person in (1, 2) for camera in (1, 2, 3, 4)]
    plant(*(f"Market-1501-v15.09.15/{folder}/{name}" for folder in FOLDERS for name in names))
    before = lists_of(load_dataset("Market1501", ALL))
    for path in root.glob("*/*/*_c[234]s*.jpg"):
        path.rename(path.with_name(re.sub(r"_c(\d)s", r"_c1\1s", path.name)))
    after = lists_of(load_dataset("Market1501", ALL))
    renamed = {0: 0, 1: 11, 2: 12, 3: 13}
    for split in ("query", "gallery"):
        assert sorted((person, renamed[camera]) for _, person, camera in before[split]) == sorted(
            item[1:] for item in after[split]
        )
    assert {camera for _, _, camera in after["train"]} == {f"market1501_{camera}" for camera in renamed.values()}


ODD = {
    "camera 0": "0001_c0s1_000001_00.jpg",
    "camera 00": "0001_c00s1_000001_00.JPG",
    "a hash": "0001_c1a2f.jpg",
    "no camera": "0001_000001.jpg",
    "no person": "_c1s1_000001.jpg",
    "a name": "anna_c1.webp",
    "-2": "-2_c1s1_000001_00.jpg",
    "something before": "copy of 0001_c1s1_000001_00.jpg",
    "no number": "0001_cx.jpg",
    "a person beyond int64": f"{'9' * 19}_c1.jpg",
}


@pytest.mark.parametrize("split", ["bounding_box_train", "query", "bounding_box_test"])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_name_is_refused_by_name(odd, split, root):
    write(root, MARKET)
    write(root, [f"Market-1501-v15.09.15/{split}/{odd}"])
    with pytest.raises(
        DataSetError, match=r"the names of 1 images can't be read, the first is .*, with cameras from 1"
    ) as raised:
        load_dataset("Market1501", ALL)
    assert "half unpacked" not in str(raised.value) and "Found there" not in str(raised.value)
    assert f"{split}/{odd}: expected is a name like 0001_c1s1_000151_01.jpg" in str(raised.value)


@pytest.mark.parametrize(
    "folder",
    ["Market-1501-v15.09.15", "market1501", "Market1501", "Market_1501", "market1501/Market-1501-v15.09.15", "."],
)
def test_market_in_other_folders(folder, root):
    rows = [(row[0].replace("Market-1501-v15.09.15", folder), *row[1:]) for row in MARKET]
    write(root, rows)
    found = {split: [item[1:] for item in items] for split, items in lists_of(load_dataset("Market1501", ALL)).items()}
    assert found == {split: [item[1:] for item in items] for split, items in right(root, MARKET, "market1501").items()}


def test_the_folders_of_a_set_may_be_in_any_case(root):
    write(
        root,
        [
            (row[0].replace("bounding_box_test", "Bounding-Box-Test").replace("query", "Query"), *row[1:])
            for row in MARKET
        ],
    )
    assert len(load_dataset("Market1501", ALL).gallery) == 5


def test_distractors_are_added_on_request(root):
    write(root, MARKET)
    kind = DATASET_REGISTRY.get("Market1501")
    with pytest.raises(Exception, match="has no images"):
        kind(root=str(root), market1501_500k=True)
    write(root, ["Market-1501-v15.09.15/images/0000_c1s1_000001_00.JPG"])
    gallery = kind(root=str(root), market1501_500k=True).gallery
    assert gallery[-1] == (f"{root}/Market-1501-v15.09.15/images/0000_c1s1_000001_00.JPG", 0, 0)
    assert len(gallery) == len(kind(root=str(root)).gallery) + 1


def test_a_half_unpacked_market(root):
    write(root, [row for row in MARKET if "/query/" not in row[0]])
    with pytest.raises(DataSetError, match="Market-1501-v15.09.15 has no query"):
        load_dataset("Market1501", ALL)


def test_combined_with_its_own_test_images(root):
    write(root, MARKET)
    data = load_dataset("Market1501", ("train",), combineall=True)
    assert {item[1] for item in data.train} == {
        *(
            "market1501_2",
            "market1501_7",
            "market1501_1600",
            "market1501_test_3",
            "market1501_test_4",
            "market1501_test_9",
        )
    }


def test_one_number_in_two_ways(root, plant, logged):
    """Two persons of a tree of one's own would be one."""
    plant("query/0001_c1.jpg", "query/1_c2.jpg", "query/0002_c1.jpg", "bounding_box_test/1_c3.jpg")
    plant("bounding_box_train/0009_c1.jpg", "bounding_box_train/-1_c1.jpg")
    data = load_dataset("Market1501", ("query", "gallery"))
    assert sorted(item[1] for item in data.query) == [1, 1, 2]
    said = [record.getMessage() for record in logged.records if "in two ways" in record.getMessage()]
    assert len(said) == 1 and said[0].startswith("1 person may be two, since the number decides")
    assert "'0001' in " in said[0] and "'1' in " in said[0] and "query/1_c2.jpg" in said[0]


def test_one_number_in_two_ways_by_folders(root, plant, logged):
    plant("P_ETHZ/occluded_body_images/001/a.png", "P_ETHZ/whole_body_images/001/b.png")
    plant("P_ETHZ/whole_body_images/1/c.png")
    load_dataset("PETHZ", ("query", "gallery"))
    assert "1 person may be two, since the number decides" in logged.text
