"""The report's numbers, derived by hand, and the check of left and right."""

import numpy as np
import pytest

import fastreid_ext
from fastreid_ext.data.body import REGION_JOINTS
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.mgre import TABLE_1
from fastreid_ext.pose.report import Coverage, Sides, TrunksSeen

EXCHANGED = [0, *(joint for left in range(1, 17, 2) for joint in (left + 1, left))]


def poses(*joints):
    return Poses([f"{n}.jpg" for n in range(len(joints))], np.stack(joints), np.full((len(joints), 2), [40, 80]))


@pytest.fixture
def people(upright):
    """People who face the camera, and people seen from behind."""

    def make(facing, away):
        behind = upright()
        behind[1:, 0] = 40 - behind[1:, 0]
        behind[:3, 2] = 0.1
        return [upright()] * facing + [behind] * away

    return make


def test_mgre_registers_its_regions():
    assert "mgre" in fastreid_ext.__all__  # so that the report knows them
    assert REGION_JOINTS["MGRe"] == {row[0]: row[-1] for row in TABLE_1}


def test_numbers_by_hand(upright):
    whole, head, weak = upright(), upright(), upright()
    head[5:, 2] = 0  # the head alone
    head[5, :2] = -9  # outside, but not seen
    weak[:, 2] = 0.2  # not above the threshold
    weak[15:, 2] = 0.21  # but for the ankles
    whole[9] = [-1, 5, 0.9]
    whole[10] = [5, 81, 0.9]
    regions = {
        "MGRe": {"head": (0, 1, 2, 3, 4), "legs": (13, 14, 15, 16), "ankle": (15, 13)},
        "Mine": {"all": range(17)},
    }
    coverage = Coverage.of(poses(whole, head, weak), 0.2, regions)
    assert coverage.images == 3
    assert coverage.joints == [2] * 5 + [1] * 10 + [2] * 2
    # one joint, as of the ankle in `weak`, spans no box
    assert coverage.regions == {"MGRe": {"head": 2, "legs": 2, "ankle": 1}, "Mine": {"all": 3}}
    assert (coverage.seen, coverage.outside) == (17 + 5 + 2, 2)
    assert Coverage.of(poses(whole, head, weak), 0.1, regions).joints == [3] * 5 + [2] * 12


def test_lines(people):
    lines = Coverage.of(poses(*people(9, 3)), 0.2, {"MGRe": {"head": (0, 1, 2)}}).lines()
    assert lines == [
        "12 images with a pose; a joint is seen if its confidence is above 0.2",
        "joints seen, share of the images:",
        "  nose       75.0%",
        "  eye        75.0% left   75.0% right",
        *(
            f"  {name:<10}100.0% left  100.0% right"
            for name in ("ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        ),
        "shoulders and hips seen: 100%",
        "regions of MGRe, images with 2 or more of the joints seen:",
        "  head              9   75.0%",
        "0 of 195 seen joints lie outside their image",
        "left shoulder on the image's right: 9 of 9 people who face the camera, 0 of 3 seen from behind",
        "left and right: as they should be in 100% of 12 images",
    ]


@pytest.mark.parametrize(("facing", "away"), [(12, 0), (0, 12), (7, 6)])
def test_exchanged_sides_are_seen(people, facing, away):
    joints = np.stack(people(facing, away))
    right = Coverage.of(poses(*joints), 0.2)
    assert right.sides == Sides(facing, facing, away, away)
    assert not any("WARNING" in line for line in right.lines())
    wrong = Coverage.of(poses(*joints[:, EXCHANGED]), 0.2)
    assert wrong.sides == Sides(facing, 0, away, 0)
    assert wrong.lines()[-1] == (
        f"left and right: WARNING: left and right joints look exchanged: only 0% of {facing + away} images agree"
    )


def test_who_says_nothing_about_sides(upright):
    aside, hidden, eyes, edge = upright(), upright(), upright(), upright()
    aside[5:7, 0] = 20, 18.5  # 1.5 of 40 pixels apart: seen from the side
    hidden[5, 2] = 0.2  # a shoulder is not seen
    eyes[0, 2] = 0  # eyes without a nose
    edge[5:7, 0] = 20, 17.5  # 2.5 of 40 pixels are enough
    assert Coverage.of(poses(aside, hidden, eyes), 0.2).sides == Sides(0, 0, 0, 0)
    assert Coverage.of(poses(edge), 0.2).sides == Sides(1, 1, 0, 0)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((9, 0, 0, 0), "too few images (9)"),
        ((10, 3, 0, 0), "WARNING: left and right joints look exchanged: only 30% of 10 images agree"),
        ((0, 0, 10, 3), "WARNING"),
        ((10, 4, 0, 0), "can't be told (40% of 10 images agree)"),
        ((10, 5, 0, 0), "can't be told"),
        ((10, 6, 0, 0), "as they should be in 60% of 10 images"),
        ((10, 9, 10, 1), "can't be told (50% of 20"),  # noses seen everywhere: half of the people are seen from behind
    ],
)
def test_verdicts(counts, verdict):
    assert Sides(*counts).verdict().startswith(verdict)


def test_joints_of_another_size_are_suspicious(upright):
    lines = Coverage.of(poses(upright() * [2, 8, 1]), 0.2).lines()
    assert any(line.startswith("WARNING: ") and "joints lie outside their image" in line for line in lines)


def test_other_joints_than_cocos():
    with pytest.raises(PoseError, match="have 21 joints an image"):
        Coverage.of(poses(np.ones((21, 3))), 0.2)


@pytest.mark.parametrize(("few", "warned"), [(64, True), (65, False)])
def test_few_shoulders_and_hips_are_a_warning(few, warned):
    joints = np.zeros((25, 17, 3))
    joints[:, [5, 6, 11, 12], 2] = np.where(np.arange(100) < few, 0.5, 0.2).reshape(25, 4)
    joints[:, :5, 2] = 1  # heads don't count
    line = Coverage.of(poses(*joints), 0.2).lines()[11]
    if warned:
        assert line.startswith("WARNING: only 64% of shoulders and hips are seen: --mean or --std of pose run")
    else:
        assert line == "shoulders and hips seen: 65%"


def test_a_warning_needs_images_and_cocos_joints():
    assert TrunksSeen(0.2).warning() == TrunksSeen(0.2).count(np.zeros((9, 5, 3))).warning() == ""
    assert TrunksSeen(0.2).count(np.zeros((9, 17, 3))).warning() != ""
