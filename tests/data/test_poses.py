"""The pose file: what goes in comes out, and everything else is one sentence."""

import pickle

import numpy as np
import pytest

from fastreid_ext.data.poses import PoseError, Poses


def poses(count=3):
    rng = np.random.RandomState(0)
    return Poses(
        [f"train/{n:04d}_c1.jpg" for n in range(count)], rng.rand(count, 17, 3), np.full((count, 2), [64, 128])
    )


def test_round_trip(tmp_path):
    path = tmp_path / "below" / "poses.npz"
    poses().save(path)
    loaded = Poses.load(path)
    assert list(loaded.names) == list(poses().names) and len(loaded) == 3
    assert loaded.joints.dtype == np.float32 and np.array_equal(loaded.joints, poses().joints)
    joints, size = loaded.of("train/0001_c1.jpg")
    assert np.array_equal(joints, poses().joints[1]) and size == (64, 128)
    assert "train/0001_c1.jpg" in loaded and "0001_c1.jpg" not in loaded
    assert [p.name for p in path.parent.iterdir()] == ["poses.npz"]


def test_an_image_without_a_row():
    with pytest.raises(PoseError, match="no row for nobody.jpg"):
        poses().of("nobody.jpg")


@pytest.mark.parametrize(
    ("names", "joints", "sizes", "message"),
    [
        (["a"], np.zeros((2, 17, 3)), np.ones((1, 2)), "1 images need joints"),
        (["a"], np.zeros((1, 17, 2)), np.ones((1, 2)), "1 images need joints"),
        (["a"], np.zeros((1, 17, 3)), np.ones((1, 3)), "sizes"),
        (["a", "a"], np.zeros((2, 17, 3)), np.ones((2, 2)), "two rows of joints"),
        (["a"], np.full((1, 17, 3), np.nan), np.ones((1, 2)), "finite"),
        (["a"], np.zeros((1, 17, 3)), np.zeros((1, 2)), "1 pixel or more"),
    ],
)
def test_what_does_not_fit(names, joints, sizes, message):
    with pytest.raises(PoseError, match=message):
        Poses(names, joints, sizes)


def test_files_that_are_no_pose_files(tmp_path):
    with pytest.raises(PoseError, match="there is no pose file .*fastreid-ext pose"):
        Poses.load(tmp_path / "nowhere.npz")
    for name, content in {
        "text.npz": b"no archive",
        "pickle.npz": pickle.dumps({"names": []}),
        "empty.npz": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PoseError, match=f"{name} is not a pose file"):
            Poses.load(tmp_path / name)
    np.savez(tmp_path / "other.npz", names=np.array(["a"]))
    with pytest.raises(PoseError, match=r"is not a pose file .* no item named 'joints.npy' in the archive\)"):
        Poses.load(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", names=np.array([{}], dtype=object), joints=np.zeros(0), sizes=np.zeros(0))
    with pytest.raises(PoseError, match="is not a pose file"):
        Poses.load(tmp_path / "objects.npz")


@pytest.mark.parametrize("kind", [">f4", "float16", "int64", "uint8"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", "CF")
def test_any_numbers_are_joints(kind, save, order, tmp_path):
    """As other programs write them."""
    joints = np.asarray(np.arange(102).reshape(2, 17, 3), dtype=kind, order=order)
    save(tmp_path / "a.npz", names=["a.jpg", "b.jpg"], joints=joints, sizes=np.full((2, 2), 99, ">i4"))
    assert np.array_equal(Poses.load(tmp_path / "a.npz").joints, np.arange(102).reshape(2, 17, 3))


# ---- shares of the images -------------------------------------------------------------------------------------------


def test_shares_count_from_the_edges_of_the_image():
    """Pixel 0 of 10 is from 0 to 1/10, its centre at 1/20; pixel 9's is at 19/20."""
    labels = Poses(["a.jpg"], [[[0, 0, 0.5], [9, 19, 1], [4.5, 9.5, 0]]], [[10, 20]])
    shares = labels.shares_of(["a.jpg"])["a.jpg"]
    np.testing.assert_allclose(shares, [[0.05, 0.025, 0.5], [0.95, 0.975, 1], [0.5, 0.5, 0]], atol=1e-7)
    assert shares.dtype == np.float32


def test_a_row_is_found_by_the_longest_end_of_the_path():
    names = ["1.jpg", "train/1.jpg", "set/train/1.jpg", "query/2.jpg"]
    labels = Poses(names, [[[n, 0, 1]] for n in range(4)], [[10, 10]] * 4)
    paths = ["/data/set/train/1.jpg", "/data/other/train/1.jpg", "/data/3/1.jpg", "set/query/2.jpg", "/query/x2.jpg"]
    shares = labels.shares_of(paths)
    rows = {path: round(float(joints[0, 0]) * 10 - 0.5) for path, joints in shares.items()}
    assert rows == dict(zip(paths[:4], [2, 1, 0, 3], strict=True))
