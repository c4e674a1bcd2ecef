"""Occluded images by their key points, the file that says so, and OPReID's recipe."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.data.body import COCO_JOINTS
from fastreid_ext.data.datasets.csv_dataset import CSVDataset
from fastreid_ext.data.datasets.occluded_duke import OccludedDuke
from fastreid_ext.data.occlusion.file import read_occlusions
from fastreid_ext.data.occlusion.making import cameras_known
from fastreid_ext.data.occlusion.photos import Photo, Source, judged, source_of
from fastreid_ext.data.occlusion.recipe import Recipe, draw
from fastreid_ext.data.occlusion.rule import ORDERS, longest_runs, missing_joints, order_of
from fastreid_ext.data.own_images.entries import Entry
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.errors import ConfigError, FileError
from fastreid_ext.pose.occlusion_sheet import HOLISTIC, OCCLUDED, occlusion_sheet

# ---- the rule -------------------------------------------------------------------------------------------------------


def runs(order, *names):
    missing = np.array([[joint in names for joint in COCO_JOINTS]])
    return longest_runs(missing, [order_of(text) for text in order.split()]).item()


def test_the_orders():
    """OpenPose's 18 without the neck, written down from its documentation."""
    right, left = ([f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist")] for side in ("right", "left"))
    legs = [f"{side}_{joint}" for side in ("right", "left") for joint in ("hip", "knee", "ankle")]
    names = ["nose", *right, *left, *legs, "right_eye", "left_eye", "right_ear", "left_ear"]
    assert [COCO_JOINTS[joint] for joint in ORDERS["openpose"]] == names


@pytest.mark.parametrize(
    ("order", "missing", "run"),
    [
        ("openpose", ["right_hip", "right_knee", "right_ankle"], 3),
        ("openpose", ["right_knee", "right_ankle", "left_hip"], 3),
        ("openpose", ["right_hip", "right_ankle", "left_hip"], 2),
        ("openpose", ["left_knee", "left_ankle", "right_knee", "right_ankle"], 2),
        ("openpose body", ["left_knee", "left_ankle", "right_knee", "right_ankle"], 4),
        ("openpose", ["nose", "left_eye", "right_eye"], 2),  # seen from behind
        ("coco", ["nose", "left_eye", "right_eye"], 3),
        ("openpose", [], 0),
        ("nose,left_ankle,right_ankle,left_eye", ["nose", "left_eye", "left_ankle"], 2),
    ],
)
def test_sequential(order, missing, run):
    assert runs(order, *missing) == run


def test_missing_is_unsure_or_outside():
    joints = np.array(
        [[[0, 0, 1], [0, 0, 0.2], [0, 0, 0.21], [-0.5, 0, 1], [-0.6, 0, 1], [3.4, 7, 1], [3.5, 7, 1], [3, 7.5, 1]]]
    )
    missing = missing_joints(joints, np.array([[4, 8]]), 0.2)
    assert missing.tolist() == [[False, True, False, False, True, False, True, True]]


@pytest.mark.parametrize("text", ["side", "nose,left_hip", "nose,nose,left_hip", "", "nose,,left_hip"])
def test_orders_that_are_refused(text):
    with pytest.raises(ConfigError, match="--order has"):
        order_of(text)


# ---- images of a set ------------------------------------------------------------------------------------------------


def poses_of(**hidden):
    """``a=3``: the three joints of the right arm are missing in a.jpg; 17: all."""
    joints = np.ones((len(hidden), 17, 3), np.float32)
    for row, count in enumerate(hidden.values()):
        joints[row, list(ORDERS["openpose"][1 : 1 + count] if count < 17 else range(17)), 2] = 0
    return Poses([f"{name}.jpg" for name in hidden], joints, np.full((len(hidden), 2), 8))


def source_with(*names):
    return Source("own", [Entry(Path(f"/x/{n}.jpg"), n, "p", "1") for n in names], None)


def test_an_image_without_a_pose_is_no_holistic_one():
    source = source_with("a", "b", "c", "d", "e")
    photos = judged(source, poses_of(a=3, b=2, c=17, e=4), [ORDERS["openpose"]], 3, 0.2)
    assert [(p.entry.name, p.missing, p.run, p.occluded) for p in photos] == [
        ("a", 3, 3, True),
        ("b", 2, 2, False),
        ("e", 4, 4, True),
    ]
    assert dict(source.left_out) == {"no row in the pose file": ["d"], "no key point was found in it": ["c"]}
    assert [p.occluded for p in judged(source_with("a", "e"), poses_of(a=3, e=4), [ORDERS["openpose"]], 4, 0.2)] == [
        False,
        True,
    ]


def test_pose_files_that_do_not_fit():
    order = [ORDERS["openpose"]]
    with pytest.raises(PoseError, match="a row for none of the 1 images of own, such as z"):
        judged(source_with("z"), poses_of(a=0), order, 3, 0.2)
    two = Source("own", [Entry(Path(f"/x/{n}/a.jpg"), n, "p", "1") for n in "qg"], None)
    with pytest.raises(PoseError, match="the row a.jpg, and both q and g end like that"):
        judged(two, poses_of(a=0), order, 3, 0.2)
    few = Poses(["a.jpg"], np.zeros((1, 3, 3)), np.array([[4, 8]]))
    with pytest.raises(PoseError, match="has 3 joints an image: COCO's 17"):
        judged(source_with("a"), few, order, 3, 0.2)
    with pytest.raises(ConfigError, match="--sequential is 18 and must be from 1 to 17"):
        judged(source_with("a"), poses_of(a=0), order, 18, 0.2)


def test_a_registered_set(root, plant, monkeypatch):
    """Persons of training are texts behind the set's name; 0 and -1 are nobody."""
    tree = "Occluded_Duke"
    plant(*(f"{tree}/bounding_box_train/000{n}_c1_f1.jpg" for n in (1, 2)), f"{tree}/query/0003_c1_f1.jpg")
    plant(*(f"{tree}/bounding_box_test/{name}.jpg" for name in ("0003_c2_f1", "0000_c2_f2", "-1_c3_f1")))
    found = source_of("OccludedDuke")
    assert [(e.path.name, e.person, e.camera, e.split) for e in found.entries] == [
        ("0003_c2_f1.jpg", "3", "1", "gallery"),
        ("0001_c1_f1.jpg", "1", "0", "train"),
        ("0002_c1_f1.jpg", "2", "0", "train"),
        ("0003_c1_f1.jpg", "3", "0", "query"),
    ]
    assert [len(names) for names in found.left_out.values()] == [1]
    assert found.said == []
    plant(f"{tree}/query/0001_c5_f1.jpg", f"{tree}/bounding_box_test/0001_c6_f1.jpg")
    found = source_of("OccludedDuke")
    assert {e.person for e in found.entries} == {"1", "2", "3"} and found.said == []
    monkeypatch.setattr(OccludedDuke, "same_numbers", False)
    found = source_of("OccludedDuke")
    assert {e.person for e in found.entries} == {"1", "3", "train-1", "train-2"}
    assert "1 numbers of OccludedDuke are persons of its training and of its test set" in found.said[0]


def test_a_set_of_which_a_part_is_missing(root, plant):
    plant(*(f"Occluded_REID/{kind}_body_images/001/001_01.png" for kind in ("whole", "occluded")))
    found = source_of("OccludedREID")
    assert len(found.entries) == 2 and not cameras_known(found.entries)
    assert found.said[0].startswith("only its query and gallery images are used: OccludedREID has no training images")


def test_a_folder_with_lists(root, plant):
    plant("own/a.jpg", "own/b.jpg", "own/c.jpg")
    (root / "own" / "train.csv").write_text("path,person,camera\na.jpg,0001,door\n")
    (root / "own" / "gallery.csv").write_text("path,person,camera\nb.jpg,1,2\nc.jpg,0001,2\n")
    found = source_of(str(root / "own"))
    assert [(e.path.name, e.person, e.camera, e.split) for e in found.entries] == [
        ("a.jpg", "0001", "door", "train"),
        ("b.jpg", "1", "2", "gallery"),
        ("c.jpg", "0001", "2", "gallery"),
    ]


def test_cameras_that_only_tell_query_from_gallery():
    def of(*pairs):
        return [Entry(Path("x"), "x", "p", camera, split) for split, camera in pairs]

    assert not cameras_known(of(("train", "0"), ("query", "0"), ("gallery", "1")))
    assert not cameras_known(of(("train", "4"), ("query", "4"), ("gallery", "4")))
    assert cameras_known(of(("query", "0"), ("gallery", "1"), ("gallery", "0")))


# ---- the recipe -----------------------------------------------------------------------------------------------------


def photos_of(person, occluded="", holistic="", split="query"):
    """A photo for each camera that is named."""
    return [
        Photo(Entry(Path(name), name, person, camera, split), name, 0, 0, kind == "o")
        for kind, cameras in (("o", occluded), ("h", holistic))
        for number, camera in enumerate(cameras)
        for name in [f"{person}_{kind}{number}_c{camera}"]
    ]


def test_queries_and_their_gallery():
    """One occluded and one holistic image of a query's person, both by other cameras than the query."""
    test = [photo for n in range(40) for photo in photos_of(f"p{n}", "1234", "1234")]
    drawn = draw(test + photos_of("t", "1", "12345", "train"), Recipe(query_share=0.5))
    asked = {p.entry.person for p in drawn.query}
    assert len(asked) == 20 and all(p.occluded for p in drawn.query)
    assert set(Counter(p.entry.person for p in drawn.query).values()) == {1, 2}  # every fifth has two
    for person in asked:
        own = [p for p in drawn.gallery if p.entry.person == person]
        assert [p.occluded for p in sorted(own, key=lambda p: p.occluded)] == [False, True]
        for query in (p for p in drawn.query if p.entry.person == person):
            assert query not in own and all(p.entry.camera != query.entry.camera for p in own)
    others = Counter((p.entry.person, p.occluded) for p in drawn.gallery if p.entry.person not in asked)
    assert len(others) == 40 and set(others.values()) == {1, 2, 3}


def test_who_lacks_an_image_by_another_camera_is_no_query():
    test = photos_of("same", "11", "1") + photos_of("whole", "", "1234") + photos_of("one", "1", "234")
    with pytest.raises(
        ConfigError, match="none of the 3 tested persons has an occluded image for a query.*other cameras"
    ):
        draw(test, Recipe(train_share=0))
    drawn = draw(test, Recipe(train_share=0, cameras=False, query_share=1))
    assert {p.entry.person for p in drawn.query} == {"same"}
    assert any("3 persons were to be queries" in said for said in drawn.said)
    assert any("1 of them have images of one kind alone" in said for said in drawn.said)


def test_training_has_fifteen_percent_occluded():
    test = photos_of("q", "12", "12")
    train = [photo for n in range(20) for photo in photos_of(f"t{n}", "1" * 10, "1" * 17, "train")]
    drawn = draw(test + train, Recipe())
    assert sum(p.occluded for p in drawn.train) == 60 and len(drawn.train) == 400  # 3 and 17 of each
    few = photos_of("few", "1", "111", "train") + photos_of("many", "", "1" * 30, "train")
    rich = photos_of("rich", "1" * 40, "1" * 9, "train")
    drawn = draw(test + few + rich + photos_of("ok", "1", "1" * 5, "train"), Recipe())
    found = Counter(p.entry.person for p in drawn.train)
    assert "few" not in found and max(found.values()) <= 20 and min(found.values()) >= 5
    drawn = draw(test + photos_of("a", "", "1" * 17, "train") + photos_of("b", "1" * 9, "1" * 10, "train"), Recipe())
    occluded = Counter(p.entry.person for p in drawn.train if p.occluded)
    assert occluded == {"b": 5}  # what a lacks is made up by b: 5 of 32
    drawn = draw(test + photos_of("a", "", "1" * 17, "train"), Recipe())
    assert any("0.0% are (fewer than 15% are there)" in said for said in drawn.said)


def test_occluded_images_take_the_place_of_holistic_ones_where_others_lack_them():
    """Nobody has more than 20 images, so that what the whole ones lack can't be added to one who has 20."""
    whole = [photo for n in range(3) for photo in photos_of(f"t{n}", "", "1" * 17, "train")]
    train = [*whole, *photos_of("both", "1" * 30, "1" * 30, "train")]
    drawn = draw(photos_of("q", "12", "12") + train, Recipe())
    both = [photo.occluded for photo in drawn.train if photo.entry.person == "both"]
    assert (len(drawn.train), len(both), sum(both)) == (3 * 17 + 20, 20, 11)  # 0.15 of 71
    assert any("around 15% of all occluded: 15.5% are" in said and "fewer" not in said for said in drawn.said)


def test_a_share_that_small_numbers_do_not_allow_is_no_lack_of_images():
    drawn = draw(photos_of("q", "12", "12") + photos_of("a", "1" * 9, "1" * 8, "train"), Recipe())
    assert sum(photo.occluded for photo in drawn.train) == 1 and len(drawn.train) == 9
    assert any(said.endswith("11.1% are") for said in drawn.said)  # two would be 20%


def test_no_person_is_trained_on_and_tested():
    both = photos_of("both", "", "123456", "train") + photos_of("both", "78", "9", "query")
    drawn = draw(both + photos_of("q", "12", "12"), Recipe())
    trained = {p.entry.person for p in drawn.train}
    assert len(drawn.train) == 6 and all(p.entry.split == "train" for p in drawn.train)
    assert trained == {"both"} and not trained & {p.entry.person for p in drawn.query + drawn.gallery}
    assert len(drawn.left_out["a test image of a person who is trained on"]) == 3


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    test = [photo for n in range(30) for photo in photos_of(f"p{n}", "1234", "12345")]
    first = draw(test, Recipe())
    assert {part: first.of(part) for part in ("train", "query", "gallery")} == {
        part: draw(test[::-1], Recipe()).of(part) for part in ("train", "query", "gallery")
    }
    assert draw(test, Recipe(seed=1)).query != first.query
    persons = {p.entry.person for p in first.train}
    assert len(persons) == 7  # 1744 of 7918


# ---- the file -------------------------------------------------------------------------------------------------------


def test_the_file_of_occlusions(tmp_path):
    file = tmp_path / "lists" / "occlusion.csv"
    file.parent.mkdir()
    file.write_text("path,occlusion\n../people/a.jpg,1\nquery/b.jpg,0.25\nb.jpg,0\n/abs/c.jpg,0.5\n")
    found = read_occlusions(file)
    paths = [f"{tmp_path}/people/a.jpg", "/data/query/b.jpg", "/data/gallery/b.jpg", "/abs/c.jpg", "/data/d.jpg"]
    assert found.of_all(paths) == [1.0, 0.25, 0.0, 0.5, None]
    assert found.of(f"{file.parent}/../people/a.jpg") == 1.0 and found.of("/data/query/b.jpg") is None
    with pytest.raises(FileError, match="the row 'b.jpg', and both /x/b.jpg and /y/b.jpg end like that"):
        found.of_all(["/x/b.jpg", "/y/b.jpg"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,share\na.jpg,1\n", "names no column occlusion"),
        ("path,occlusion\na.jpg,1.5\n", "line 2 of .* has the occlusion '1.5': write a path and a share from 0 to 1"),
        ("path,occlusion\na.jpg,nan\n", "has the occlusion 'nan'"),
        ("path,occlusion\na.jpg,\n", "has the occlusion ''"),
        ("path,occlusion\n,1\n", "has no path"),
        ("path,occlusion\na.jpg,1\n./a.jpg,0\n", "line 3 of .* another occlusion than an earlier line"),
    ],
)
def test_files_of_occlusions_that_are_refused(text, said, tmp_path):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(FileError, match=said):
        read_occlusions(tmp_path / "x.csv")


def test_a_csv_set_knows_what_lies_beside_it(root, plant):
    plant("CSVDataset/a.jpg", "CSVDataset/b.jpg")
    for part in ("query", "gallery"):
        (root / "CSVDataset" / f"{part}.csv").write_text("path,person,camera\na.jpg,1,1\nb.jpg,1,2\n")
    data = CSVDataset(root=str(root))
    assert {data.occlusion_of(item[0]) for item in data.query} == {None}
    (root / "CSVDataset" / "occlusion.csv").write_text("path,occlusion\na.jpg,1\n")
    data = CSVDataset(root=str(root))
    assert [data.occlusion_of(item[0]) for item in data.query] == [1.0, None]


def test_the_picture_of_both_kinds(tmp_path):
    colours = {"a": (250, 0, 250), "b": (0, 250, 250)}
    for name, colour in colours.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    source = Source("own", [Entry(tmp_path / f"{n}.png", n, "p", "1") for n in "ab"], None)
    poses = poses_of(a=3, b=0)
    poses = Poses([f"{n}.png" for n in "ab"], poses.joints, poses.sizes)
    photos = judged(source, poses, [ORDERS["openpose"]], 3, 0.2)
    sheet = np.asarray(occlusion_sheet(photos, poses, 5, 0.2, "the rule"))
    shown = (OCCLUDED, colours["a"], HOLISTIC, colours["b"])  # a heading and its image, twice
    rows = [np.flatnonzero((sheet == colour).all(-1).any(1)) for colour in shown]
    assert all(above.max() < below.min() for above, below in zip(rows, rows[1:], strict=False))
    assert len(rows[1]) > 200 and len(rows[3]) > 200
