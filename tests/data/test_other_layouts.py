"""The folders that other people unpack the sets into, and new sets of occluded people."""

import json

import pytest
from data_set_trees import BODY_TREES, CUHK03_NP, expected, write

from fastreid_ext.data.catalog import DataSetError, is_there, load_dataset
from fastreid_ext.data.datasets.folders import accepted_folders, find_layout

TEST = ("query", "gallery")
ICME = "ICME2018_Occluded-Person-Reidentification_datasets"


def check(name, root, rows):
    assert is_there(name)
    data = load_dataset(name, TEST)
    assert {split: getattr(data, split) for split in TEST} == {split: expected(root, rows, split) for split in TEST}
    assert data.train == expected(root, rows, "train", data.dataset_name)


@pytest.mark.parametrize("name", BODY_TREES)
def test_as_published(name, root):
    assert not is_there(name)
    write(root, BODY_TREES[name])
    check(name, root, BODY_TREES[name])


MOVED = [
    ("OccludedREID", {"Occluded_REID/": "Occluded_REID/Occluded_REID/"}),
    ("OccludedREID", {"Occluded_REID/": "occluded-reid/"}),
    ("OccludedREID", {"Occluded_REID/": f"{ICME}/Occluded_REID/"}),
    (
        "OccludedREID",
        {
            "Occluded_REID/occluded_body_images": "OccludedREID/query",
            "Occluded_REID/whole_body_images": "OccludedREID/gallery",
        },
    ),
    (
        "PartialREID",
        {
            "Partial_REID/partial_body_images": "PartialREID/query",
            "Partial_REID/whole_body_images": "PartialREID/gallery",
        },
    ),
    (
        "PartialREID",
        {"Partial_REID/partial": "Partial-REID_Dataset/occluded", "Partial_REID/": "Partial-REID_Dataset/"},
    ),
    ("PartialREID", {"Partial_REID/": "partial_reid/Partial_REID/"}),
    ("PartialILIDS", {"Partial_iLIDS/Probe": "PartialiLIDS/query", "Partial_iLIDS/Gallery": "PartialiLIDS/gallery"}),
    ("PartialILIDS", {"Partial_iLIDS/": "partial_ilids/Partial_iLIDS/"}),
    ("PartialiLIDS", {"Partial_iLIDS/": "Partial-iLIDS/"}),
    ("PDukeMTMC", {"P-DukeMTMC-reid/": "P-DukeMTMC-ReID/"}),
    ("PDukeMTMC", {"P-DukeMTMC-reid/": "P_DukeMTMC-reID/"}),
    ("PDukeMTMC", {"P-DukeMTMC-reid/": "P-DukeMTMC-reid/P-DukeMTMC-reid/"}),
    ("PETHZ", {"P_ETHZ/": "P-ETHZ/"}),
    ("PETHZ", {"P_ETHZ/": f"{ICME}/P_ETHZ/"}),
    *(
        ("OccludedDuke", {"Occluded_Duke/": f"{folder}/"})
        for folder in ("Occluded-Duke", "Occluded-DukeMTMC", "occluded_duke", "Occluded-DukeMTMC-Dataset/Occluded_Duke")
    ),
]


@pytest.mark.parametrize(("name", "moves"), MOVED)
def test_as_others_unpack_it(name, moves, root):
    rows = []
    for path, *rest in BODY_TREES["PartialILIDS" if name == "PartialiLIDS" else name]:
        for old, new in moves.items():
            if path.startswith(old):
                path = new + path.removeprefix(old)
                break
        rows.append((path, *rest))
    write(root, rows)
    check(name, root, sorted(rows))


def test_names_of_fastreids_partial_ilids(root):
    write(root, ["PartialiLIDS/query/7_1.jpg", "PartialiLIDS/gallery/7_2.jpg"])
    data = load_dataset("PartialILIDS", TEST)
    assert [item[1:] for item in (*data.query, *data.gallery)] == [(7, 0), (7, 1)]
    write(root, ["PartialiLIDS/gallery/x7.jpg"])
    with pytest.raises(DataSetError, match="x7.jpg: expected is a name like .*/1.jpg or .*/1_1.jpg"):
        load_dataset("PartialILIDS", TEST)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("PDukeMTMC", "P-DukeMTMC-reid/test/whole_body_images/0019/0020_c1_f0051350.jpg"),
        ("PDukeMTMC", "P-DukeMTMC-reid/train/occluded_body_images/0007/0001_c1_f0051350.jpg"),
        ("OccludedREID", "Occluded_REID/whole_body_images/002/001_05.tif"),
    ],
)
def test_folder_and_name_that_disagree(name, path, root):
    write(root, [*BODY_TREES[name], path])
    with pytest.raises(
        DataSetError, match="lies in the folder of person 0*[27]?1?9? and is named after person"
    ) as raised:
        load_dataset(name, TEST)
    assert f"{root}/{path}" in str(raised.value)


def test_a_half_unpacked_set_names_what_is_missing(root):
    write(root, ["OccludedREID/query/001_01.jpg"])
    assert is_there("OccludedREID")
    with pytest.raises(DataSetError, match="OccludedREID has no gallery"):
        load_dataset("OccludedREID", TEST)


def test_an_exact_name_goes_first(root):
    for folder in ("occludedreid", "Occluded-REID", "Occluded_REID"):
        write(root, [f"{folder}/query/001_01.jpg", f"{folder}/gallery/001_02.jpg"])
    assert load_dataset("OccludedREID", TEST).data_dir == root / "Occluded_REID"
    names = ("Occluded_REID", "Other")
    assert [folder.name for folder in accepted_folders(root, names)] == [
        "Occluded_REID",
        "Occluded-REID",
        "occludedreid",
    ]
    assert find_layout(root, names, [("Query", "gal-lery")])[2] == [
        root / "Occluded_REID/query",
        root / "Occluded_REID/gallery",
    ]


# ---- CUHK03 in the folders of its new protocol ----------------------------------------------------------------------


def test_cuhk03_of_one_kind_of_boxes(root):
    write(root, CUHK03_NP)
    assert load_dataset("CUHK03Labeled", TEST).query == [(f"{root}/cuhk03-np/labeled/query/0003_c1_10.png", 3, 0)]
    with pytest.raises(DataSetError, match="no folder cuhk03 or cuhk03-np/detected"):
        load_dataset("CUHK03Detected", TEST)


@pytest.mark.parametrize("folder", ["CUHK03-NP", "cuhk03", "cuhk03/cuhk03-np", "CUHK03-NP/cuhk03-np"])
def test_cuhk03_in_other_folders(folder, root):
    write(root, [(row[0].replace("cuhk03-np", folder), *row[1:]) for row in CUHK03_NP])
    data = load_dataset("CUHK03", ("train", *TEST))
    assert [item[1:] for item in data.train] == [("cuhk03_1", "cuhk03_0"), ("cuhk03_1", "cuhk03_1")]
    assert data.gallery[0] == (f"{root}/{folder}/labeled/bounding_box_test/0003_c2_11.png", 3, 1)


def test_half_of_cuhk03s_folders(root):
    write(root, [row for row in CUHK03_NP if "query" not in row[0]])
    with pytest.raises(DataSetError, match="cuhk03-np/labeled has no query"):
        load_dataset("CUHK03Labeled", TEST)


# ---- Occluded-PoseTrack-ReID ----------------------------------------------------------------------------------------

POSETRACK = "PoseTrack21/occluded_posetrack_reid"
CROPS = {  # detection -> image below images/<split>; None: no image was cut
    "train": {1: "000001/11_000001_10000010001.jpg", 2: "000002/11_000002_10000020001.jpg", 3: None},
    "val": {
        4: "000342/34203_000342_10003420034.jpg",
        5: "000342/34203_000342_10003420039.jpg",
        6: "000522/34203_000522_10005220039.JPG",
        7: "000522/9_000522_10005220039.jpg",
        8: "000522/8_000522_10005220039.jpg",
    },
}
CHOSEN = {
    "train": {1: "train", 2: "train", 3: "none"},
    "val": {4: "query", 5: "gallery", 6: "gallery", 7: "gallery", 8: "none"},
}


def posetrack(root, folder=POSETRACK):
    for split, crops in CROPS.items():
        write(root, [f"{folder}/images/{split}/{name}" for name in crops.values() if name])
        table = lambda rows: {str(place): value for place, value in enumerate(rows)}  # noqa: E731
        crop_table = {
            "id": table(crops),
            "reid_crop_path": table(crops.values()),
            "negative_kps": table([[]] * len(crops)),
        }
        choice = {"id": table(CHOSEN[split]), "split": table(CHOSEN[split].values())}
        write(
            root,
            [
                (f"{folder}/images/anns/{split}_reid_crops_anns.json", json.dumps(crop_table)),
                (f"{folder}/{split}_dataset_sampling.json", json.dumps(choice)),
            ],
        )


@pytest.mark.parametrize("folder", [POSETRACK, "Occluded-PoseTrack-ReID", "occluded_posetrack_reid"])
def test_posetrack_by_its_makers_files(folder, root):
    posetrack(root, folder)
    data = load_dataset("OccludedPoseTrack", ("train", *TEST))
    images = f"{root}/{folder}/images"
    assert data.train == [
        (f"{images}/train/000001/11_000001_10000010001.jpg", "occludedposetrack_11", "occludedposetrack_000001"),
        (f"{images}/train/000002/11_000002_10000020001.jpg", "occludedposetrack_11", "occludedposetrack_000002"),
    ]
    assert data.query == [(f"{images}/val/000342/34203_000342_10003420034.jpg", 34203, 0)]
    assert [item[1:] for item in data.gallery] == [(34203, 1), (34203, 1), (9, 1)]  # its own video too


def test_posetrack_in_markets_folders(root):
    base = "Occluded-PoseTrack-ReID"
    names = ["bounding_box_train/0001_c12_340.jpg", "query/0002_c3_9.jpg", "bounding_box_test/0002_c3_8.jpg"]
    write(root, [f"{base}/{name}" for name in names])
    data = load_dataset("OccludedPoseTrack", ("train", *TEST))
    assert [item[1:] for item in data.train] == [("occludedposetrack_1", "occludedposetrack_11")]
    assert [item[1:] for item in (*data.query, *data.gallery)] == [(2, 0), (2, 1)]


SAMPLING, ANNS = f"{POSETRACK}/val_dataset_sampling.json", f"{POSETRACK}/images/anns/val_reid_crops_anns.json"
BAD = {
    "no list": (SAMPLING, None, "there is no .*val_dataset_sampling.json: download"),
    "no images cut": (ANNS, None, "there is no .*val_reid_crops_anns.json.* cut the images out of PoseTrack21"),
    "no JSON": (SAMPLING, "{", "is not a JSON file"),
    "a list": (SAMPLING, "[]", "should have the columns id and split"),
    "other rows": (SAMPLING, '{"id": {"0": 4}, "split": {"1": "query"}}', "should have the columns id and split"),
    "odd ids": (SAMPLING, '{"id": {"0": []}, "split": {"0": "query"}}', "the column id .* should have a number"),
    "above": (ANNS, '{"id": {"0": 4}, "reid_crop_path": {"0": "../../a.jpg"}}', "should name images below"),
    "no name": (ANNS, '{"id": {"0": 4}, "reid_crop_path": {"0": 7}}', "should name images below .*, but has 7"),
    "odd name": (ANNS, '{"id": {"0": 4}, "reid_crop_path": {"0": "000342/x.jpg"}}', "names of 1 images can't be read"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_files_of_posetrack_are_named(bad, root):
    posetrack(root)
    file, text, sentence = BAD[bad]
    (root / file).unlink() if text is None else (root / file).write_text(text)
    with pytest.raises(DataSetError, match=sentence):
        load_dataset("OccludedPoseTrack", TEST)
