"""COCO's body as data: its 17 joints, the limbs between them, and the mapping from other joint orders to COCO's."""

COCO_JOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
HEAD = (0, 1, 2, 3, 4)

# Joints that a mirrored image exchanges: the left and the right one of each pair.
FLIP_PAIRS = tuple((left, left + 1) for left in range(1, len(COCO_JOINTS), 2))

# COCO's skeleton: pairs of joints, in COCO's order but counted from 0.
COCO_SKELETON = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
    (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip
# By side: the limbs of the left, those of the right, and what joins the two. Left joints are odd, right ones even.
LEFT_LIMBS = tuple(limb for limb in COCO_SKELETON if all(joint % 2 for joint in limb))
RIGHT_LIMBS = tuple(limb for limb in COCO_SKELETON if all(joint and joint % 2 == 0 for joint in limb))
MIDDLE_LIMBS = tuple(limb for limb in COCO_SKELETON if limb not in (*LEFT_LIMBS, *RIGHT_LIMBS))

# OpenPose's orders, by the number of joints in them -> where each COCO joint stands. They hold the neck as joint 1 and
# the right side before the left; BODY_25 also has the middle of the hips as joint 8 and, from 19 on, the feet.
OPENPOSE = {
    18: (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10),
    25: (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11),
}

# Project -> region -> numbers of the joints that define it. A project that locates regions registers them here, and
# the coverage report says of how many images each can be located.
REGION_JOINTS: dict[str, dict[str, tuple[int, ...]]] = {}
