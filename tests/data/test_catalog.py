"""Registered data sets, their tables, and the versions of MSMT17."""

import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.catalog import DataSetError, is_public, load_dataset
from fastreid_ext.data.datasets.files import LayoutError
from fastreid_ext.data.datasets.msmt17 import VERSIONS, msmt17_version
from fastreid_ext.data.published import DESCRIBED_AT, EXPECTED_TREES, PUBLISHED_COUNTS

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
    (root / "MSMT17_V1").rename(root / "MSMT17")
    with pytest.raises(DataSetError, match="no folder MSMT17_V1 or MSMT17_V2") as raised:
        load_dataset("MSMT17", TEST)
    assert "Found there: MSMT17." in str(raised.value)
    (root / "MSMT17_V2" / "mask_train_v2").mkdir(parents=True)
    with pytest.raises(LayoutError, match="MSMT17_V2 has no mask_test_v2"):
        msmt17_version(root)


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
