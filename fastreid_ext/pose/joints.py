"""COCO's 17 joints, and how other orders of joints become them, as data."""

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

# Pairs of joints to draw; the limbs of the two sides, and what joins them.
LEFT_LIMBS = ((1, 3), (3, 5), (5, 7), (7, 9), (5, 11), (11, 13), (13, 15))
RIGHT_LIMBS = tuple((start + 1, end + 1) for start, end in LEFT_LIMBS)
MIDDLE_LIMBS = ((0, 1), (0, 2), (5, 6), (11, 12))

# OpenPose's orders, by the number of joints in them -> where each COCO joint stands. They hold the neck as joint 1 and
# the right side before the left; BODY_25 also has the middle of the hips as joint 8 and, from 19 on, the feet.
OPENPOSE = {
    18: (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10),
    25: (0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11),
}

# Project -> region -> numbers of the joints that define it. A project that locates regions registers them here, and
# the coverage report says of how many images each can be located.
REGION_JOINTS: dict[str, dict[str, tuple[int, ...]]] = {}
