"""COCO's body: joints and skeleton as COCO publishes them, sides and mirrored pairs by the joints' names."""

from fastreid_ext.config import get_cfg
from fastreid_ext.data.body import COCO_JOINTS, COCO_SKELETON, FLIP_PAIRS, LEFT_LIMBS, MIDDLE_LIMBS, RIGHT_LIMBS

# As person_keypoints_val2017.json has them; the skeleton counts joints from 1.
KEYPOINTS = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist"
    " right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
)
SKELETON = (
    [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9]]
    + [[8, 10], [9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]]
)  # fmt: skip


def test_joints_and_skeleton_are_cocos():
    assert " ".join(COCO_JOINTS) == KEYPOINTS
    assert [[start + 1, end + 1] for start, end in COCO_SKELETON] == SKELETON


def test_every_limb_is_on_its_side():
    for limbs, side in ((LEFT_LIMBS, "left_"), (RIGHT_LIMBS, "right_")):
        assert len(limbs) == 7
        assert all(COCO_JOINTS[joint].startswith(side) for limb in limbs for joint in limb)
    assert sorted((*LEFT_LIMBS, *RIGHT_LIMBS, *MIDDLE_LIMBS)) == sorted(COCO_SKELETON)
    for limb in MIDDLE_LIMBS:
        assert len({COCO_JOINTS[joint].split("_")[0] for joint in limb}) == 2


def test_mirrored_pairs_are_left_and_right_of_the_same_joint():
    assert {joint for pair in FLIP_PAIRS for joint in pair} == set(range(1, 17))
    for left, right in FLIP_PAIRS:
        assert COCO_JOINTS[left].replace("left_", "right_") == COCO_JOINTS[right]
    assert get_cfg().INPUT.JOINTS.FLIP_PAIRS == [list(pair) for pair in FLIP_PAIRS]
