"""The store: whole or refused, resumed where it was, never of two models."""

import json
import os

import numpy as np
import pytest

from fastreid_ext.errors import FileError
from fastreid_ext.search.features import META, StoreError, only_writer, open_store
from fastreid_ext.search.image_list import ImageList
from fastreid_ext.search.writer import FeatureWriter


@pytest.fixture
def features():
    return np.random.RandomState(0).randn(7, 4).astype(np.float32)


def test_a_store_gives_back_what_was_written(features, make_store, listed):
    store = make_store(features)
    np.testing.assert_array_equal(store.features, features)
    assert isinstance(store.features, np.memmap) and not store.features.flags.writeable
    assert store.images.rows == listed(7).rows and store.metric == "cosine" and len(store) == 7
    np.testing.assert_array_equal(np.load(store.folder / "features.npy", allow_pickle=False), features)


def test_half_is_rounded_once(features, make_store):
    store = make_store(features, dtype="float16")
    np.testing.assert_array_equal(store.features, features.astype(np.float16))
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in store.blocks()]), store.features)


def test_it_goes_on_from_the_last_save(features, tmp_path, identity, listed):
    writer = FeatureWriter(tmp_path / "s", listed(7), identity())
    writer.add(features[:3], 3)
    writer.save()
    writer.add(np.zeros((2, 4), np.float32), 2)  # on the disk perhaps, but not saved: killed here
    with pytest.raises(StoreError, match="has 3 of 7 images: run the same fastreid-ext extract command again"):
        open_store(tmp_path / "s")
    writer = FeatureWriter(tmp_path / "s", listed(7), identity())
    assert writer.done == 3
    writer.add(features[3:], 4)
    writer.finish()
    np.testing.assert_array_equal(open_store(tmp_path / "s").features, features)
    assert FeatureWriter(tmp_path / "s", listed(7), identity()).complete


def test_killed_before_the_first_save(features, tmp_path, identity, listed):
    writer = FeatureWriter(tmp_path / "s", listed(7), identity())
    writer.add(features[:3], 3)  # has written meta.json with nothing done, then the array
    again = FeatureWriter(tmp_path / "s", listed(7), identity())
    assert again.done == 0
    again.add(features, 7)
    again.finish()
    np.testing.assert_array_equal(open_store(tmp_path / "s").features, features)


def test_unreadable_images_leave_no_rows(features, tmp_path, identity, listed):
    writer = FeatureWriter(tmp_path / "s", listed(9), identity())
    writer.add(features[:3], 4, [(1, "broken")])
    writer.add(features[3:], 5, [(8, "gone")])
    writer.finish()
    store = open_store(tmp_path / "s")
    np.testing.assert_array_equal(store.features, features)
    assert [path for path, *_ in store.images.rows] == [f"{n}.jpg" for n in (0, 2, 3, 4, 5, 6, 7)]
    assert store.meta["skipped"] == [{"path": "1.jpg", "reason": "broken"}, {"path": "8.jpg", "reason": "gone"}]


def test_killed_while_finishing_with_unreadable_images(features, tmp_path, identity, listed, monkeypatch):
    writer = FeatureWriter(tmp_path / "s", listed(9), identity())
    writer.add(features, 9, [(1, "broken"), (8, "gone")])
    monkeypatch.setattr("fastreid_ext.search.writer.features_hash", lambda _: 1 / 0)  # after the rows were cut off
    with pytest.raises(ZeroDivisionError):
        writer.finish()
    monkeypatch.undo()
    writer = FeatureWriter(tmp_path / "s", listed(9), identity())
    assert writer.done == 9 and not writer.complete
    writer.finish()
    np.testing.assert_array_equal(open_store(tmp_path / "s").features, features)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"model_sha256": "c" * 64}, "other weights"),
        ({"config_sha256": "c" * 64}, r"another config \(MODEL, .*\)"),
        ({"metric": "euclidean"}, "another TEST.METRIC"),
    ],
)
def test_features_of_two_models_never_mix(features, tmp_path, identity, listed, changed, sentence):
    writer = FeatureWriter(tmp_path / "s", listed(7), identity())
    writer.add(features[:3], 3)
    writer.save()
    with pytest.raises(StoreError, match=f"can't be compared: {sentence}; choose another folder"):
        FeatureWriter(tmp_path / "s", listed(7), identity(**changed))


def test_another_list_or_type_is_refused(features, make_store, identity, listed):
    store = make_store(features)
    with pytest.raises(StoreError, match="was begun with the 7 images of the list of a test, and .* now lists others"):
        FeatureWriter(store.folder, listed(8), identity())
    rows = [(path, person, "9") for path, person, _ in listed(7).rows]
    with pytest.raises(StoreError, match="now lists others"):
        FeatureWriter(store.folder, ImageList(listed(7).root, rows, "labels"), identity())
    with pytest.raises(StoreError, match="begun in float32, asked for is float16"):
        FeatureWriter(store.folder, listed(7), identity(), "float16")


def test_a_moved_root_is_the_same_list(features, make_store, identity, listed, tmp_path):
    store = make_store(features)
    moved = ImageList(tmp_path / "elsewhere", listed(7).rows, "moved")
    assert FeatureWriter(store.folder, moved, identity()).complete


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e20])
def test_features_that_have_no_length(value, tmp_path, identity, listed, features):
    """A cosine to a row of 1e20 would be 0: float32 does not have its length."""
    writer = FeatureWriter(tmp_path / "s", listed(7), identity())
    features[2, 1] = value
    with pytest.raises(FloatingPointError, match=r"the feature of 3\.jpg has NaN, inf or too large numbers$"):
        writer.add(features[:4], 5, [(0, "broken")])
    writer = FeatureWriter(tmp_path / "h", listed(7), identity(), "float16")
    with pytest.raises(
        FloatingPointError, match=r"0\.jpg has NaN, inf or too large numbers as float16: leave --half out"
    ):
        writer.add(np.full((1, 4), 1e6, np.float32), 1)


def test_features_of_another_length(tmp_path, identity, listed, features):
    writer = FeatureWriter(tmp_path / "s", listed(7), identity())
    writer.add(features[:1], 1)
    with pytest.raises(StoreError, match="length 5 after some of length 4"):
        writer.add(np.zeros((1, 5), np.float32), 1)


def test_unfinished_is_not_finished(tmp_path, identity, listed, features):
    writer = FeatureWriter(tmp_path / "s", listed(7), identity())
    writer.add(features[:1], 1)
    with pytest.raises(StoreError, match="6 images have no features yet"):
        writer.finish()
    writer = FeatureWriter(tmp_path / "none", listed(2), identity())
    writer.add(np.zeros((0, 4), np.float32), 2, [(0, "x"), (1, "x")])
    with pytest.raises(StoreError, match="none of the 2 images"):
        writer.finish()


def test_a_folder_of_something_else_is_left_alone(tmp_path, identity, listed):
    np.save(tmp_path / "features.npy", np.zeros(3))
    with pytest.raises(StoreError, match=r"holds features\.npy, but no store"):
        FeatureWriter(tmp_path, listed(7), identity())
    with pytest.raises(StoreError, match="is not a feature store"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda meta: meta | {"format": "another"}, "says 'another'"),
        (lambda meta: {k: v for k, v in meta.items() if k != "dim"}, "lacks dim"),
        *(
            (lambda meta, skipped=skipped: meta | {"skipped": skipped}, "skipped images without a path or a reason")
            for skipped in (
                3,
                [3],
                [{"reason": "gone"}],
                [{"path": "a.jpg"}],
                [{"path": "a.jpg", "reason": 3}],
                [{"path": [], "reason": "gone"}],
            )
        ),
        (lambda meta: {k: v for k, v in meta.items() if k != "features_sha256"}, "lacks features_sha256"),
        (lambda meta: meta | {"root": 5}, "has the root 5"),
        (lambda meta: meta | {"dim": 5}, r"holds \(7, 4\) float32, and not \(7, 5\)"),
        (lambda meta: meta | {"metric": "jaccard"}, "the metric 'jaccard'"),
        (lambda meta: [meta], "does not describe a feature store"),
    ],
)
def test_a_damaged_description(features, make_store, edit, sentence):
    folder = make_store(features).folder
    (folder / META).write_text(json.dumps(edit(json.loads((folder / META).read_text()))))
    with pytest.raises(StoreError, match=sentence):
        open_store(folder)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_no_pickle_is_read(features, make_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = make_store(features).folder
    np.save(folder / "features.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    with pytest.raises(StoreError, match=r"features\.npy can't be read"):
        open_store(folder)
    assert not (tmp_path / "exploded").exists()


def test_labels_that_do_not_fit(features, make_store):
    folder = make_store(features).folder
    lines = (folder / "images.csv").read_text().splitlines()
    (folder / "images.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(StoreError, match="does not have 7 rows of path, person, camera"):
        open_store(folder)


def test_one_writer_at_a_time(tmp_path):
    with (
        only_writer(tmp_path),
        pytest.raises(FileError, match="another process writes into"),
        only_writer(tmp_path),
    ):
        pass
    with only_writer(tmp_path):  # it was let go
        pass
