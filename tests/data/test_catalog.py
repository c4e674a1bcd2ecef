"""Registered data sets, their tables, and the versions of MSMT17."""

import pytest
from data_set_trees import write
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from fastreid.data.datasets.msmt17 import MSMT17 as HostMSMT17

from fastreid_ext.data.catalog import DataSetError, is_public, load_dataset
from fastreid_ext.data.datasets.files import LayoutError
from fastreid_ext.data.datasets.msmt17 import VERSIONS, msmt17_version
from fastreid_ext.data.published import DESCRIBED_AT, EXPECTED_TREES, PUBLISHED_COUNTS
from fastreid_ext.model_zoo import get_config, list_config_files

TEST = ("query", "gallery")


@pytest.mark.parametrize("name", EXPECTED_TREES)
def test_a_missing_set_shows_its_tree_and_where_it_is_described(name, root):
    parts = TEST if getattr(DATASET_REGISTRY.get(name), "test_only", False) else ("train",)
    with pytest.raises(DataSetError) as raised:
        load_dataset(name, parts)
    text = str(raised.value)
    assert all(f"{root}/{part}" in text for part in EXPECTED_TREES[name])
    assert DESCRIBED_AT[name] in text and "Found there: nothing" in text


def test_the_tables_name_registered_sets():
    assert set(PUBLISHED_COUNTS) <= set(EXPECTED_TREES) == set(DESCRIBED_AT)
    for name in EXPECTED_TREES:
        assert DATASET_REGISTRY.get(name).__doc__


def test_an_unknown_name(root):
    with pytest.raises(DataSetError, match="no data set is registered as 'Market'; there are .*OccludedDuke"):
        load_dataset("Market", ("train",))


def test_a_set_that_takes_nothing_but_the_root(root, monkeypatch):
    """As the data sets of FastReID's projects/PartialReID."""

    class RootOnly(ImageDataset):
        def __init__(self, root="datasets"):
            super().__init__([], [(f"{root}/q.jpg", 1, 0)], [(f"{root}/g.jpg", 1, 1)])

    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "RootOnly", RootOnly)
    assert load_dataset("RootOnly", TEST).query == [(f"{root}/q.jpg", 1, 0)]


# ---- MSMT17 ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def msmt17(plant, root):
    def make(version, folder=None):
        name, (train, test) = VERSIONS[version]
        folder = folder or name
        image = "{0}/{0}_000_{1:02d}_0303morning_0015_0.jpg"
        plant(
            f"{folder}/{train}/{image.format('0000', 1)}",
            *(f"{folder}/{test}/{image.format('0000', camera)}" for camera in (1, 2)),
        )
        for split, cameras in (("train", [1]), ("val", []), ("query", [1]), ("gallery", [2])):
            lines = "".join(f"{image.format('0000', camera)} 0\n" for camera in cameras)
            (root / folder / f"list_{split}.txt").write_text(lines)

    return make


@pytest.mark.parametrize("version", VERSIONS)
def test_msmt17_says_its_version(version, msmt17, logged):
    msmt17(version)
    data = load_dataset("MSMT17", ("train", *TEST))
    assert VERSIONS[version][1][0] in data.train[0][0]
    assert f"MSMT17 is {version}; results on V1 and V2 differ" in logged.text


def test_both_versions(msmt17, logged):
    msmt17("V2")
    msmt17("V1")
    assert "MSMT17_V1/train" in load_dataset("MSMT17", TEST).train_dir  # what the host takes
    assert "V1 is used" in logged.text


def test_msmt17_in_wrong_folders(msmt17, root):
    msmt17("V2", folder="MSMT17_V1")
    with pytest.raises(DataSetError, match="has the images of V2: rename it to MSMT17_V2"):
        load_dataset("MSMT17", TEST)
    (root / "MSMT17_V1").rename(root / "MSMT17-V3")
    with pytest.raises(DataSetError, match="no folder MSMT17_V1 or MSMT17_V2 or MSMT17") as raised:
        load_dataset("MSMT17", TEST)
    assert "Found there: MSMT17-V3." in str(raised.value)
    (root / "MSMT17_V2" / "mask_train_v2").mkdir(parents=True)
    with pytest.raises(LayoutError, match="MSMT17_V2 has no mask_test_v2"):
        msmt17_version(root)


@pytest.mark.parametrize(
    ("version", "folder"),
    [("V1", "MSMT17"), ("V2", "MSMT17"), ("V1", "MSMT17/MSMT17_V1"), ("V2", "MSMT17/MSMT17_V2"), ("V1", "msmt17-v1")],
)
def test_msmt17_in_other_folders(version, folder, msmt17, root):
    msmt17(version, folder)
    assert msmt17_version(root) == version
    assert load_dataset("MSMT17", TEST).query[0][0].startswith(f"{root}/{folder}/{VERSIONS[version][1][1]}/")


# The miniature: two lines in list_train, two in list_val, one in list_query and one in list_gallery.
LINES = {
    "train": ["0000/0000_000_01_0303morning_0015_0.jpg 0", "0001/0001_000_15_0303noon_0015_0.jpg 1"],
    "val": ["0000/0000_001_12_0303morning_0015_0.jpg 0", "0001/0001_001_02_0303noon_0015_0.jpg 1"],
    "query": ["0005/0005_000_11_0303morning_0015_0.jpg 5"],
    "gallery": ["0005/0005_001_01_0303morning_0015_0.jpg 5"],
}


@pytest.fixture
def lists(root):
    def make(end="\n", folder="MSMT17_V2"):
        for split, lines in LINES.items():
            images = "mask_train_v2" if split in ("train", "val") else "mask_test_v2"
            write(root, [f"{folder}/{images}/{line.split()[0]}" for line in lines])
            write(root, [(f"{folder}/list_{split}.txt", "".join(f"{line}{end}" for line in lines) + end)])
        return root / folder

    return make


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"], ids=["unix", "windows", "blank lines"])
def test_msmt17_trains_on_val_too_as_papers_do(end, lists, root):
    folder = lists(end)
    test = {}
    for name, count in (("MSMT17", 2), ("MSMT17TrainVal", 4)):
        data = load_dataset(name, ("train", *TEST))
        assert len(data.train) == count and data.get_num_pids(data.train) == 2
        test[name] = data.query, data.gallery
    assert test["MSMT17"] == test["MSMT17TrainVal"]
    assert test["MSMT17"][0] == [(f"{folder}/mask_test_v2/0005/0005_000_11_0303morning_0015_0.jpg", 7, 10)]
    assert sorted(item[1:] for item in data.train) == [
        ("msmt17_0", "msmt17_0"),
        ("msmt17_0", "msmt17_11"),
        ("msmt17_1", "msmt17_1"),
        ("msmt17_1", "msmt17_14"),
    ]


@pytest.mark.parametrize("combineall", [False, True])
def test_on_lists_as_published_msmt17_is_fastreids(combineall, lists, root):
    folder = lists()
    for split, lines in LINES.items():
        (folder / f"list_{split}.txt").write_text("\n".join(lines) + "\n")
    theirs = HostMSMT17(root=str(root), combineall=combineall)
    ours = DATASET_REGISTRY.get("MSMT17")(root=str(root), combineall=combineall)
    assert isinstance(ours, HostMSMT17)
    assert (ours.train, ours.query, ours.gallery) == (theirs.train, theirs.query, theirs.gallery)


def test_every_msmt17_config_trains_as_papers_do():
    files = [file for file in list_config_files() if "MSMT17" in file]
    assert len(files) == 4
    for file in files:
        node = get_config(file).DATASETS
        assert (node.NAMES, node.TESTS) == (("MSMT17TrainVal",), ("MSMT17",))


def test_msmt17s_counts_are_checked(lists, logged):
    lists()
    load_dataset("MSMT17TrainVal", ("train", *TEST))
    assert (
        "MSMT17TrainVal has 2 identities and 4 images in its train split, published are 1041 and 32621" in logged.text
    )
    load_dataset("MSMT17", ("train", *TEST))
    assert "MSMT17 has 2 identities and 2 images in its train split, published are 1041 and 30248" in logged.text
    assert PUBLISHED_COUNTS["MSMT17"]["query"][1] == 11659 and PUBLISHED_COUNTS["MSMT17"]["gallery"][1] == 82161


BAD_LINES = [
    "0000/0000_000_01_x.jpg",
    "0000/0000_000_00_x.jpg 3",
    "0000/x.jpg 3",
    "../0000_000_01_x.jpg 3",
    "0000_000_01_x.jpg -1",
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_of_msmt17_is_named(line, lists):
    folder = lists()
    (folder / "list_query.txt").write_text(f"{LINES['query'][0]}\n\n{line}\n")
    with pytest.raises(DataSetError, match=r"line 3 of .*list_query.txt can't be read, it is .*: expected is an image"):
        load_dataset("MSMT17", TEST)


def test_a_missing_list_of_msmt17_is_named(lists):
    (lists() / "list_val.txt").unlink()
    with pytest.raises(DataSetError, match="MSMT17_V2 has no list_val.txt"):
        load_dataset("MSMT17", TEST)


# ---- sets that others have too --------------------------------------------------------------------------------------


class OfUsers(ImageDataset):
    """As a user of FastReID registers one."""

    def __init__(self, query=()):
        super().__init__([], list(query), [])


def test_a_set_is_public_if_it_has_the_published_images(monkeypatch):
    three = [("a", 1, 0), ("b", 1, 1), ("c", 2, 0)]
    monkeypatch.setitem(PUBLISHED_COUNTS, "OfUsers", {"query": (2, 3)})
    assert is_public("OfUsers", OfUsers(three), ("query",))
    assert not is_public("OfUsers", OfUsers(three[:2]), ("query",))  # one's own under that name
    monkeypatch.delitem(PUBLISHED_COUNTS, "OfUsers")
    assert not is_public("OfUsers", OfUsers(three), ("query",))


def test_drawn_sets_are_public_and_csv_sets_are_not(synth_tiny, plant, root, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(synth_tiny))
    assert is_public("SynthReIDTiny", load_dataset("SynthReIDTiny", TEST), TEST)
    plant("CSVDataset/a.jpg")
    (root / "CSVDataset/train.csv").write_text("path,person,camera\na.jpg,1,0\n")
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    assert not is_public("CSVDataset", load_dataset("CSVDataset", ("train",)), ("train",))
