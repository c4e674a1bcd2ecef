"""Which image a pose is of, and which of several people it is."""

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.data.poses import PoseError
from fastreid_ext.pose.matching import ImageIndex, choose, image_size, import_poses
from fastreid_ext.pose.readers import Skeleton


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("train/0002_c1.jpg", "train/0002_c1.jpg"),
        ("./train/0002_c1.jpg", "train/0002_c1.jpg"),
        ("train\\0002_c1.jpg", "train/0002_c1.jpg"),
        ("0002_c1.jpg", "train/0002_c1.jpg"),
        ("/data/set/train/0002_c1.jpg", "train/0002_c1.jpg"),
        ("/data/set/query/0001_c1.jpg", "query/0001_c1.jpg"),
        ("train/0001_c1", "train/0001_c1.jpg"),  # OpenPose leaves the suffix out
        ("0003_c2", "train/0003_c2.png"),
        ("0003_c2.jpg", None),  # that is another file
        ("query/0002_c1.jpg", None),  # the same name in another folder may be another image
        ("../../0002_c1", None),
        ("nobody.jpg", None),
        ("", None),
        (".", None),
    ],
)
def test_names(root, given, found):
    assert ImageIndex(root).find(given) == found


@pytest.mark.parametrize("given", ["0001_c1.jpg", "0001_c1"])
def test_a_name_of_two_images(root, given):
    with pytest.raises(PoseError, match=f"{given} may be query/0001_c1.jpg or train/0001_c1.jpg: write the path"):
        ImageIndex(root).find(given)


def test_a_suffix_within_a_name(root):
    Image.new("RGB", (4, 8)).save(root / "train" / "0004.jpg.png")
    index = ImageIndex(root)
    assert index.find("0004.jpg") is None
    assert index.find("0004.jpg.png") == "train/0004.jpg.png"


def test_the_longest_common_end_wins(root):
    Image.new("RGB", (4, 8)).save(root / "0002_c1.jpg")
    index = ImageIndex(root)
    assert index.find("0002_c1.jpg") == "0002_c1.jpg"
    assert index.find("/data/train/0002_c1.jpg") == "train/0002_c1.jpg"
    assert index.find("/data/other/0002_c1.jpg") == "0002_c1.jpg"


def test_the_index_of_a_folder_that_is_linked(root, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "gallery").symlink_to(root / "query")
    assert ImageIndex(tmp_path / "linked").names == ["gallery/0001_c1.jpg", "gallery/0009_c3.jpg"]
    with pytest.raises(PoseError, match="there is no folder .*nowhere: --images"):
        ImageIndex(tmp_path / "nowhere")


def test_what_is_imported(root, upright):
    joints = upright()
    joints[9] = [-7.5, 85.25, 0.6]  # the wrist is outside the image, and stays there
    people = [
        Skeleton("train/0002_c1.jpg", joints, 1.0),
        Skeleton("0009_c3.jpg", upright(x=22), 1.0),
        Skeleton("0009_c3.jpg", upright(x=21), 1.0),
        Skeleton("gone.jpg", upright(), 1.0),
        Skeleton("gone.jpg", upright(), 1.0),
    ]
    imported = import_poses(people, root, 0.2)
    assert list(imported.poses.names) == ["query/0009_c3.jpg", "train/0002_c1.jpg"]
    assert np.array_equal(imported.poses.joints[1], joints.astype(np.float32))
    assert imported.poses.sizes.tolist() == [[40, 80]] * 2
    assert imported.poses.joints[0, 0, 0] == 21
    assert imported.missing == ["query/0001_c1.jpg", "train/0001_c1.jpg", "train/0003_c2.png"]
    assert (list(imported.unknown), imported.several, imported.rescaled) == (["gone.jpg"], 1, 0)


def test_joints_of_another_size_are_scaled(root, upright):
    imported = import_poses([Skeleton("0002_c1.jpg", upright(), 1.0, (80, 320))], root, 0.2)
    assert imported.poses.joints[0] == pytest.approx(upright() * [0.5, 0.25, 1])
    assert imported.rescaled == 1 and imported.poses.sizes.tolist() == [[40, 80]]
    assert import_poses([Skeleton("0002_c1.jpg", upright(), 1.0, (40, 80))], root, 0.2).rescaled == 0


def test_what_can_not_be_imported(root, upright):
    with pytest.raises(PoseError, match="no pose of any of the 5 images below .*set, the first is of gone.jpg"):
        import_poses([Skeleton("gone.jpg", upright(), 1.0)], root, 0.2)
    with pytest.raises(PoseError, match="no pose of any of the 5 images below .*set$"):
        import_poses([], root, 0.2)
    shares = upright() / [40, 80, 1]
    with pytest.raises(PoseError, match="in pixels, not as shares of the image"):
        import_poses([Skeleton("0002_c1.jpg", shares, 1.0)], root, 0.2)
    with pytest.raises(PoseError, match="a/0002_c1.jpg and b/0002_c1.jpg would both be 0002_c1.jpg"):
        Image.new("RGB", (4, 8)).save(root / "0002_c1.jpg")
        import_poses([Skeleton(f"{folder}/0002_c1.jpg", upright(), 1.0) for folder in "ab"], root, 0.2)
    (root / "train" / "0001_c1.jpg").write_bytes(b"no image")
    with pytest.raises(PoseError, match="0001_c1.jpg can't be read as an image"):
        import_poses([Skeleton("train/0001_c1.jpg", upright(), 1.0)], root, 0.2)


def test_the_size_of_a_turned_photograph(tmp_path):
    exif = Image.Exif()
    for orientation, size in ((1, (40, 80)), (6, (80, 40))):
        exif[0x0112] = orientation
        Image.new("RGB", (40, 80)).save(tmp_path / "a.jpg", exif=exif)
        assert image_size(tmp_path / "a.jpg") == size


class TestChoice:
    """In images 40 pixels wide; the upper edge's middle is (20, 0)."""

    def chosen(self, *people, threshold=0.2):
        return people.index(choose(people, 40, threshold))

    def test_the_head_nearest_the_top_centre(self, upright):
        # heads, the mean of joints 0 to 4, are 2 pixels below the top that is given
        low, high, aside = (Skeleton("a", upright(**at), 1.0) for at in ({"top": 30}, {"top": 4}, {"x": 36, "top": 0}))
        assert self.chosen(low, high) == 1 and self.chosen(high, low) == 0
        assert self.chosen(aside, high) == 1  # 16 and 2 pixels away against 0 and 6
        assert self.chosen(aside, low) == 0  # against 0 and 32

    def test_the_distance_is_taken_from_the_middle(self, upright):
        left, middle, right = (Skeleton("a", upright(x=x), 1.0) for x in (6, 22, 35))
        assert self.chosen(left, middle) == 1 and self.chosen(right, middle) == 1
        assert self.chosen(right, left) == 1  # 14 pixels away against 15

    def test_only_the_head_counts(self, upright):
        bent = upright(top=4)
        bent[5:, 1] = 70  # all but the head is far below
        assert self.chosen(Skeleton("a", upright(top=6), 9.0), Skeleton("a", bent, 1.0)) == 1

    def test_only_seen_joints_of_the_head_count(self, upright):
        joints = upright(top=30)
        joints[1:5] = [20, 0, 0.2]  # not above the threshold
        other = Skeleton("a", upright(top=20), 1.0)
        assert self.chosen(Skeleton("a", joints, 1.0), other) == 1
        assert self.chosen(Skeleton("a", joints, 1.0), other, threshold=0.1) == 0

    def test_without_a_head_the_seen_joints_count(self, upright):
        headless = upright(top=30)
        headless[:5, 2] = 0
        headless[5:, 1] = 10
        headless[5:, 0] = 20
        assert self.chosen(Skeleton("a", upright(top=9), 1.0), Skeleton("a", headless, 1.0)) == 1
        assert self.chosen(Skeleton("a", upright(top=7), 1.0), Skeleton("a", headless, 1.0)) == 0

    def test_equals_by_score(self, upright):
        people = [Skeleton("a", upright(), score) for score in (0.5, 0.9, 0.7)]
        assert self.chosen(*people) == 1

    def test_nobody_seen_comes_last(self, upright):
        faint = Skeleton("a", upright(top=0, confidence=0.1), 9.0)
        assert self.chosen(faint, Skeleton("a", upright(top=60), 0.1)) == 1
        assert self.chosen(faint) == 0
