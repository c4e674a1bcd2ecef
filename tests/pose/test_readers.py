"""Each format in its real layout, joint by joint, and what is none of them."""

import json
import pickle

import numpy as np
import pytest

from fastreid_ext.data.body import COCO_JOINTS
from fastreid_ext.data.poses import PoseError
from fastreid_ext.pose.options import FORMATS
from fastreid_ext.pose.readers import read_skeletons

# As OpenPose's documentation lists them, in our spelling of the names.
BODY_25 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip right_knee"
    " right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe left_small_toe"
    " left_heel right_big_toe right_small_toe right_heel"
)
COCO_18 = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee"
    " right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear"
)


def ramp(count=17):
    """x, y, confidence of joint j: 10 + j, 20 + j, (j + 1) / 100."""
    return [value for j in range(count) for value in (10.0 + j, 20.0 + j, (j + 1) / 100)]


def coco(keypoints, **more):
    """COCO annotations of one image."""
    return {
        "images": [{"id": 7, "file_name": "train/a.jpg", "width": 40, "height": 80}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "keypoints": keypoints, **more}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_JOINTS)}],
    }


def test_coco_results(write):
    path = write([{"image_id": 7, "category_id": 1, "keypoints": ramp(), "score": 2.5, "file_name": "train/a.jpg"}])
    (person,) = read_skeletons(path)
    assert (person.image, person.score, person.size) == ("train/a.jpg", 2.5, None)
    assert np.array_equal(person.joints, np.array(ramp()).reshape(17, 3))


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"image_id": 7, "image_name": "b.jpg"}, "b.jpg"),
        ({"image_id": 7}, "train/a.jpg"),
        ({"image_id": "c.jpg"}, "c.jpg"),
        ({"image_id": 7, "file_name": "d.jpg"}, "d.jpg"),
    ],
)
def test_the_name_of_an_image(write, entry, name):
    people = write([{**entry, "keypoints": ramp(), "score": 1}])
    (person,) = read_skeletons(people, annotations=write({"images": coco([])["images"]}, "images.json"))
    assert person.image == name
    assert person.size == ((40, 80) if entry["image_id"] == 7 else None)


def test_alphapose(write):
    entry = {
        "image_id": "0001_c1.jpg",
        "category_id": 1,
        "keypoints": ramp(),
        "score": 3.1,
        "box": [0, 0, 9, 9],
        "idx": [0.0],
    }
    for form in (None, "alphapose"):
        (person,) = read_skeletons(write([entry]), form)
        assert (person.image, person.score) == ("0001_c1.jpg", 3.1)
        assert np.array_equal(person.joints, np.array(ramp()).reshape(17, 3))


def test_a_confidence_beyond_one_is_one(write):
    keypoints = ramp()
    keypoints[2], keypoints[5] = 5.7, -0.2  # an older AlphaPose goes to 6
    (person,) = read_skeletons(write([{"image_id": "a.jpg", "keypoints": keypoints}]))
    assert person.joints[:3, 2].tolist() == [1, 0, 0.03]


def test_visibility_becomes_confidence(write):
    keypoints = [1, 2, 0, 3, 4, 1, 5, 6, 2, *[0] * 42]
    (person,) = read_skeletons(write(coco(keypoints)))
    assert (person.image, person.size) == ("train/a.jpg", (40, 80))
    assert person.joints[:3].tolist() == [[1, 2, 0], [3, 4, 0.5], [5, 6, 1]]
    assert person.score == pytest.approx(1.5 / 17)  # there is none in ground truth


@pytest.mark.parametrize("names", [BODY_25, COCO_18], ids=["BODY_25", "COCO_18"])
def test_openpose_joint_by_joint(write, names):
    names = names.split()
    people = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": ramp(len(names))}]}
    folder = write(people, "out/train/0001_c1_keypoints.json").parents[1]
    write({"version": 1.3, "people": []}, "out/train/0002_c1_keypoints.json")
    (person,) = read_skeletons(folder)
    assert person.image == "train/0001_c1"
    for name, joint in zip(COCO_JOINTS, person.joints, strict=True):
        there = names.index(name)
        assert joint.tolist() == [10 + there, 20 + there, (there + 1) / 100], name
    assert person.score == pytest.approx(np.mean([(names.index(name) + 1) / 100 for name in COCO_JOINTS]))
    (alone,) = read_skeletons(folder / "train" / "0001_c1_keypoints.json")
    assert alone.image == "0001_c1" and np.array_equal(alone.joints, person.joints)


def test_older_openpose(write):
    (person,) = read_skeletons(write({"version": 0.1, "people": [{"pose_keypoints": ramp(18)}]}, "a_keypoints.json"))
    assert person.joints[1].tolist() == [25, 35, 0.16]  # the left eye, OpenPose's joint 15


def test_nobody_is_read_where_no_joint_is_seen(write):
    content = coco([0] * 51)
    content["annotations"].append({"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]})
    assert read_skeletons(write(content)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a JSON file"),
        ("[" * 100_000, "is not a JSON file"),
        ({}, "none of the known pose files"),
        (3, "none of the known pose files"),
        ([1], "none of the known pose files"),
        ([{"image_id": "a.jpg"}], "none of the known pose files"),
        ([{"image_id": 3, "keypoints": ramp()}], "entry 1 numbers its image .3.: add --annotations"),
        ([{"image_id": "a", "keypoints": ramp()}, 5], "it should be a list of objects"),
        ([{"image_id": "a", "keypoints": ramp(26)}], "entry 1: keypoints should be .* not 78 entries"),
        ([{"image_id": "a", "keypoints": "x"}], "entry 1: keypoints should be .* not str"),
        ([{"image_id": "a", "keypoints": ["1"] * 51}], "not a number"),
        ([{"image_id": "a", "keypoints": [True] * 51}], "not a number"),
        ([{"image_id": "a", "keypoints": [float("nan")] * 51}], "not a number"),
        ([{"image_id": "a", "keypoints": [10**400] * 51}], "too large for a pixel"),
        ([{"image_id": "a", "keypoints": ramp(), "score": "high"}], "the score 'high' is not a number"),
        (coco([1, 2, 3] * 17), "visibility that is none of 0, 1, 2"),
        (coco(ramp()), "visibility that is none of 0, 1, 2"),
        (coco([1, 2, 2] * 17, image_id=8), "image 8, which its images do not list"),
        (coco([]) | {"images": [{"id": 1}]}, "image 1 has no id or no file_name"),
        (coco([]) | {"images": [{"id": 1, "file_name": "a"}] * 2}, "two images have the id 1"),
        (coco([]) | {"categories": [{"name": "dog", "keypoints": ["ear"]}]}, "'dog' does not have COCO's 17 joints"),
        ({"people": [{"pose_keypoints_2d": ramp(15)}]}, "person 1 has 15 joints: BODY_25"),
        ({"people": [{}]}, "person 1 has 0 joints"),
        ({"people": None}, "people should be a list of objects"),
    ],
)
def test_what_is_not_as_a_format_says(write, content, message):
    with pytest.raises(PoseError, match=message) as error:
        read_skeletons(write(content))
    assert "\n" not in str(error.value)


def test_a_format_that_is_forced(write, tmp_path):
    with pytest.raises(PoseError, match="should hold an object: see --format"):
        read_skeletons(write([]), "coco")
    with pytest.raises(PoseError, match="it should be a list of objects"):
        read_skeletons(tmp_path, "coco-results")
    assert read_skeletons(write([]), "alphapose") == []


def test_no_file_is_run_and_a_folder_may_be_empty(tmp_path):
    (tmp_path / "evil.json").write_bytes(pickle.dumps([{"keypoints": []}]))
    for form in (None, *FORMATS):
        with pytest.raises(PoseError, match="is not a JSON file"):
            read_skeletons(tmp_path / "evil.json", form)
    with pytest.raises(PoseError, match="no file named like <image>_keypoints.json"):
        read_skeletons(tmp_path)
    (tmp_path / "bom.json").write_bytes(json.dumps([{"image_id": "ä.jpg", "keypoints": ramp()}]).encode("utf-8-sig"))
    assert read_skeletons(tmp_path / "bom.json")[0].image == "ä.jpg"
