"""The rule of OPReID: an image that misses at least three sequential key points is occluded.

Reference: Yan et al., Occluded Person Re-Identification with Single-scale Global Representations, ICCV 2021, section 4.
The paper names the pose estimator, OpenPose (its reference 3), and neither the order of the key points nor what makes a
key point missing. Here:

- sequential is: next to each other in a stated order. By default it is OpenPose's own, without the neck, which COCO
  does not have: from the nose down the right arm, the left arm, the right leg and the left leg, and then eyes and ears.
  In COCO's order, nose and eyes are sequential, so that everybody seen from behind would be occluded; and in OpenPose's
  no more than two of each leg are below the hip, so that lower legs behind a car are not. Several orders can be given.
- missing is: a confidence not above a threshold, or a position outside the image.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from fastreid_ext.data.body import COCO_JOINTS, HEAD, OPENPOSE
from fastreid_ext.errors import ConfigError
from fastreid_ext.foreign_files import shown

SEQUENTIAL, CONFIDENCE = 3, 0.2
# Name of an order -> COCO's numbers of the key points, one after another.
ORDERS = {
    "openpose": tuple(sorted(range(len(COCO_JOINTS)), key=lambda joint: OPENPOSE[18][joint])),
    "coco": tuple(range(len(COCO_JOINTS))),
    "body": tuple(range(len(HEAD), len(COCO_JOINTS))),
}
DEFAULT_ORDER = "openpose"


def order_of(text: str) -> tuple[int, ...]:
    """Return the numbers of key points of an order's name, or of a list of key points by COCO's names, with commas.

    Raises:
        ConfigError: an unknown key point, one twice, or fewer than ``SEQUENTIAL``.
    """
    if text in ORDERS:
        return ORDERS[text]
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in COCO_JOINTS]
    if unknown:
        raise ConfigError(
            f"--order has {shown(unknown[0])}: it is {', '.join(ORDERS)} or names out of {', '.join(COCO_JOINTS)},"
            " with commas between them"
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"--order has a key point twice: {text}")
    if len(names) < SEQUENTIAL:
        raise ConfigError(f"--order has {len(names)} key points and needs {SEQUENTIAL} or more")
    return tuple(COCO_JOINTS.index(name) for name in names)


def missing_joints(joints: np.ndarray, sizes: np.ndarray, confidence: float = CONFIDENCE) -> np.ndarray:
    """Return which joints are missing (N, J): not surer than ``confidence``, or outside the image.

    Args:
        joints: (N, J, 3) x, y in pixels, (0, 0) the centre of the first one, and confidence.
        sizes: (N, 2) width and height.
        confidence: from 0 to below 1.
    """
    places = joints[..., :2]
    inside = ((places >= -0.5) & (places < sizes[:, None] - 0.5)).all(-1)
    return ~(inside & (joints[..., 2] > confidence))


def longest_runs(missing: np.ndarray, orders: Iterable[Sequence[int]]) -> np.ndarray:
    """Return the largest number of sequential missing joints (N,) in any of some orders of the joints (N, J)."""
    longest = np.zeros(len(missing), dtype=int)
    for order in orders:
        run = np.zeros(len(missing), dtype=int)
        for joint in order:
            run = np.where(missing[:, joint], run + 1, 0)
            longest = np.maximum(longest, run)
    return longest
