"""Occluded-REID, P-DukeMTMC and Partial-REID in their real naming."""

import pytest
import torch

from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.data.images import ImageError, ReIDImages
from fastreid_ext.data.published import PUBLISHED_COUNTS

TEST = ("query", "gallery")
OCCLUDED, WHOLE = "Occluded_REID/occluded_body_images", "Occluded_REID/whole_body_images"


@pytest.fixture
def occluded_reid(plant):
    plant(f"{OCCLUDED}/001/001_01.tif", f"{WHOLE}/002/002_01.tif", f"{WHOLE}/001/001_02.tif", f"{WHOLE}/001/001_01.tif")


def image_index(item):
    """The rule to avoid: what stands after ``_`` taken for a camera."""
    return int(item[0].rsplit(".", 1)[0].rsplit("_", 1)[1])


def test_occluded_reid(occluded_reid, root):
    data = load_dataset("OccludedREID", TEST)
    assert data.query == [(f"{root}/{OCCLUDED}/001/001_01.tif", 1, 0)]
    assert data.gallery == [
        (f"{root}/{WHOLE}/001/001_01.tif", 1, 1),
        (f"{root}/{WHOLE}/001/001_02.tif", 1, 1),
        (f"{root}/{WHOLE}/002/002_01.tif", 2, 1),
    ]


def test_occluded_reid_leaves_nothing_out(occluded_reid, rank1):
    """The nearest image has the query's image number: taken for a camera, it would be left out, and the score 0."""
    data = load_dataset("OccludedREID", TEST)
    order = ("001_01.tif", "002_01.tif", "001_02.tif")
    assert rank1(data.query, data.gallery, order) == 1
    assert rank1(data.query, data.gallery, order, image_index) == 0
    with pytest.raises(AssertionError, match="do not appear in gallery"):
        rank1(data.query, data.gallery, order, lambda item: 0)


def test_partial_reid(plant, root, rank1):
    whole = "Partial_REID/whole_body_images"
    plant(
        "Partial_REID/partial_body_images/001_001.jpg", *(f"{whole}/{n}.jpg" for n in ("001_001", "002_001", "001_002"))
    )
    data = load_dataset("PartialREID", TEST)
    assert [item[1:] for item in data.query] == [(1, 0)]
    assert [item[1:] for item in data.gallery] == [(1, 1), (1, 1), (2, 1)]
    order = ("001_001.jpg", "002_001.jpg", "001_002.jpg")
    assert rank1(data.query, data.gallery, order) == 1
    assert rank1(data.query, data.gallery, order, image_index) == 0


@pytest.fixture
def pduke(plant):
    base = "P-DukeMTMC-reid"
    plant(
        f"{base}/train/whole_body_images/0001/0001_c2_f0046182.jpg",
        f"{base}/train/occluded_body_images/0001/0001_c8_f0046302.jpg",
        f"{base}/train/occluded_body_images/0007/0007_c1_f0046302.jpg",
        f"{base}/test/occluded_body_images/0019/0019_c1_f0051230.jpg",
        f"{base}/test/whole_body_images/0019/0019_c1_f0051350.jpg",
        f"{base}/test/whole_body_images/0021/0021_c1_f0051736.jpg",
        f"{base}/test/whole_body_images/0019/0019_c5_f0060626.jpg",
    )


def test_p_duke_trains_on_occluded_and_whole(pduke):
    data = load_dataset("PDukeMTMC", ("train", *TEST))
    assert [item[1:] for item in data.train] == [
        ("pdukemtmc_1", "pdukemtmc_0"),
        ("pdukemtmc_7", "pdukemtmc_0"),
        ("pdukemtmc_1", "pdukemtmc_1"),
    ]
    assert [item[0] for item in data.train] == sorted(item[0] for item in data.train)


def test_p_duke_leaves_nothing_out(pduke, rank1):
    """The nearest image is of the query's own Duke camera: Duke's rule would leave it out and score 0."""
    data = load_dataset("PDukeMTMC", TEST)
    order = ("0019_c1_f0051350.jpg", "0021_c1_f0051736.jpg", "0019_c5_f0060626.jpg")
    assert rank1(data.query, data.gallery, order) == 1
    assert rank1(data.query, data.gallery, order, lambda item: int(item[0].rsplit("_c", 1)[1][0])) == 0


@pytest.mark.parametrize("name", ["OccludedREID", "PartialREID"])
def test_no_training_images(name, root):
    with pytest.raises(DataSetError) as raised:
        load_dataset(name, ("train",))
    assert "for testing only: train on another set" in str(raised.value) and "Market1501" in str(raised.value)


def test_a_test_set_can_still_be_combined(occluded_reid):
    data = load_dataset("OccludedREID", ("train",), combineall=True)
    assert {person for _, person, _ in data.train} == {"occludedreid_test_1", "occludedreid_test_2"}


def test_formats_may_mix(plant):
    plant(
        f"{OCCLUDED}/001/001_01.jpg", f"{OCCLUDED}/001/001_02.TIF", f"{WHOLE}/001/001_01.tif", f"{WHOLE}/002/002_01.jpg"
    )
    data = load_dataset("OccludedREID", TEST)
    assert len(data.query) == 2 and len(data.gallery) == 2
    images = ReIDImages(data.query + data.gallery, lambda image: torch.tensor(image.size), relabel=False)
    assert all(images[i]["images"].tolist() == [4, 8] for i in range(4))


def test_a_converted_copy_is_no_second_image(occluded_reid, plant, logged):
    plant(f"{OCCLUDED}/001/001_01.jpg")
    data = load_dataset("OccludedREID", TEST)
    assert [item[0][-4:] for item in data.query] == [".tif"]
    assert "1 images in" in logged.text and "another format" in logged.text


def test_counts(occluded_reid, logged, monkeypatch):
    load_dataset("OccludedREID", TEST)
    assert "1 identities and 1 images in its query split, published are 200 and 1000" in logged.text
    assert "2 identities and 3 images in its gallery split, published are 200 and 1000" in logged.text
    logged.clear()
    monkeypatch.setitem(PUBLISHED_COUNTS, "OccludedREID", {"query": (1, 1), "gallery": (2, 3)})
    load_dataset("OccludedREID", TEST)
    assert not logged.text


@pytest.mark.parametrize("name", ["001/abc/001_01.tif", "first/001_01.tif", "face_01.tif", "001.tif"])
def test_unreadable_names(name, occluded_reid, plant):
    plant(f"{OCCLUDED}/{name}")
    if name.count("/") == 2:  # deeper than the tree: not an image of the set
        assert len(load_dataset("OccludedREID", TEST).query) == 1
        return
    with pytest.raises(DataSetError, match="names of 1 images can't be read") as raised:
        load_dataset("OccludedREID", TEST)
    assert name in str(raised.value) and "001/001_01.tif" in str(raised.value)


def test_an_unreadable_image_is_named(occluded_reid, root):
    path = root / OCCLUDED / "001" / "001_01.tif"
    path.write_bytes(path.read_bytes()[:20])
    data = load_dataset("OccludedREID", TEST)
    with pytest.raises(ImageError, match="001_01.tif can't be read"):
        ReIDImages(data.query, lambda image: image, relabel=False)[0]


def test_missing_part(occluded_reid, root):
    (root / WHOLE).rename(root / "Occluded_REID" / "whole")
    with pytest.raises(DataSetError) as raised:
        load_dataset("OccludedREID", TEST)
    assert "Occluded_REID has no whole_body_images" in str(raised.value)
    assert "Occluded_REID/whole_body_images/001/001_01.tif" in str(raised.value)


def test_a_query_without_its_person_is_named(occluded_reid, plant, logged, root):
    plant(f"{OCCLUDED}/009/009_01.tif")
    load_dataset("OccludedREID", TEST)
    assert "1 of 2 queries of OccludedREID" in logged.text
    (root / OCCLUDED / "001" / "001_01.tif").unlink()
    with pytest.raises(DataSetError, match="no query of OccludedREID has its person in the gallery"):
        load_dataset("OccludedREID", TEST)
