"""Indexes: their parameters, that they are repeatable, and that only our own files are parsed."""

import json
import shutil

import faiss
import numpy as np
import pytest

from fastreid_ext.search import index_files
from fastreid_ext.search.features import StoreError
from fastreid_ext.search.index import as_searched, build_index, describe, plan_index
from fastreid_ext.search.index_files import open_index

METRICS = ("cosine", "euclidean")


@pytest.fixture
def features():
    return np.random.RandomState(1).randn(300, 16).astype(np.float32) * 3


def test_parameters_follow_from_the_size():
    large = plan_index("ivfpq", 100_000, 512)
    assert large.build == {"nlist": 1265, "pq_m": 64, "pq_bits": 8} and large.search == {"nprobe": 79}  # 4 sqrt(1e5)
    assert large.notes == ()
    small = plan_index("ivfpq", 1100, 512)
    assert small.build == {"nlist": 28, "pq_m": 64, "pq_bits": 4}  # 1100 // 39 lists; 39 * 2^5 > 1100 >= 39 * 2^4
    assert small.notes == ("1100 images train codes of 4 bits instead of 8, which want 9984",)
    tiny = plan_index("ivfpq", 88, 10)
    assert tiny.build["pq_m"] == 1 and tiny.build["nlist"] == 2 and len(tiny.notes) == 2
    assert plan_index("ivfpq", 5000, 90).build["pq_m"] == 10  # the largest number up to 90 // 8 that divides 90
    assert plan_index("hnsw", 50, 8, fetched=100).search == {"ef_search": 200}
    assert plan_index("ivfpq", 1100, 512, {"nlist": 5, "nprobe": 9}).search == {"nprobe": 5}


@pytest.mark.parametrize(
    ("kind", "count", "wanted", "sentence"),
    [
        ("flat", 100, {"m": 4}, "flat index has no m; it has no parameters"),
        ("hnsw", 100, {"nlist": 4, "m": 4}, "HNSW index has no nlist; it has m, ef_construction, ef_search"),
        ("hnsw", 100, {"m": 1}, "two neighbours"),
        ("hnsw", 100, {"ef_search": 0}, "ef_search is 0 and must be 1 or more"),
        ("ivfpq", 63, {}, "63 images are too few to train IVF-PQ, which needs 64: --index flat"),
        ("ivfpq", 100, {"pq_m": 3}, "pq_m is 3 and must divide the features' length 16"),
        ("ivfpq", 100, {"nlist": 101}, "must not be above the 100 images"),
        ("ivfpq", 100, {"pq_bits": 8}, "must not be above the 100 images"),
    ],
)
def test_parameters_that_can_not_be(kind, count, wanted, sentence):
    with pytest.raises(ValueError, match=sentence):
        plan_index(kind, count, 16, wanted)


@pytest.mark.parametrize("metric", METRICS)
def test_flat_finds_what_float64_finds(features, make_store, metric):
    store = make_store(features, metric)
    index = build_index(store, plan_index("flat", *features.shape))
    found = index.search(as_searched(features[:20] + 0.1, metric), 5)[1]
    wide, queries = features.astype(np.float64), (features[:20] + 0.1).astype(np.float64)
    if metric == "cosine":
        distances = -(queries / np.linalg.norm(queries, axis=1)[:, None]) @ (wide.T / np.linalg.norm(wide, axis=1))
    else:
        distances = ((queries[:, None] - wide) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found, np.argsort(distances, axis=1)[:, :5])  # random numbers: no near ties


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
@pytest.mark.parametrize("metric", METRICS)
def test_the_same_index_every_time_whatever_the_block(features, make_store, monkeypatch, kind, metric):
    store = make_store(features, metric)
    plan = plan_index(kind, *features.shape)
    first = faiss.serialize_index(build_index(store, plan))
    monkeypatch.setattr("fastreid_ext.search.features.BLOCK_BYTES", 4 * 16 * 300)
    np.testing.assert_array_equal(first, faiss.serialize_index(build_index(store, plan)))
    if kind == "flat":
        monkeypatch.setattr("fastreid_ext.search.features.BLOCK_BYTES", 4 * 16 * 7)
        np.testing.assert_array_equal(first, faiss.serialize_index(build_index(store, plan)))
    if kind == "ivfpq":
        assert not np.array_equal(first, faiss.serialize_index(build_index(store, plan, seed=1)))


def test_training_rows_are_bounded_and_seeded(features, make_store, monkeypatch):
    store = make_store(features)
    monkeypatch.setattr("fastreid_ext.search.index.MOST_TRAINING_ROWS", 100)
    monkeypatch.setattr("fastreid_ext.search.index.MANY", 1)
    from fastreid_ext.search.index import _training_rows

    rows = _training_rows(store, 80, seed=0)
    assert rows.shape == (80, 16) and _training_rows(store, 200, seed=0).shape == (100, 16)
    np.testing.assert_array_equal(rows, _training_rows(store, 80, seed=0))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_what_an_order_is_called():
    assert describe(plan_index("flat", 100, 16), "euclidean") == "exact order, Euclidean distance"
    plan = plan_index("ivfpq", 100, 16, {"nprobe": 1})
    assert describe(plan, "cosine") == "order by IVF-PQ (approximate, nprobe 1), cosine distance"


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(features, make_store):
    """``opened(rebuild=..., wanted={...})`` opens the HNSW index of a store."""
    store = make_store(features)

    def open_it(at=store, rebuild=False, wanted=None, kind="hnsw"):
        wanted = wanted or {}
        return open_index(at, plan_index(kind, *at.features.shape, wanted), set(wanted), rebuild)

    open_it.store = store
    return open_it


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_saved_and_loaded(opened, features, kind):
    built, loaded = opened(kind=kind), opened(kind=kind)
    assert (built.loaded, loaded.loaded) == (False, kind != "flat") and built.build == loaded.build
    if kind == "hnsw":
        loaded.index.hnsw.efConstruction = 200  # of no use once it is built
    np.testing.assert_array_equal(faiss.serialize_index(built.index), faiss.serialize_index(loaded.index))
    queries = as_searched(features[:30], "cosine")
    for one, other in zip(built.index.search(queries, 5), loaded.index.search(queries, 5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_index_of_other_features(opened, features, make_store):
    opened()
    other = make_store(features + 1, name="other")
    for suffix in ("npz", "json"):
        shutil.copy(opened.store.folder / f"index_hnsw.{suffix}", other.folder)
    with pytest.raises(StoreError, match="is an index of other features than those beside it; use --rebuild"):
        opened(at=other)
    assert not opened(at=other, rebuild=True).loaded
    assert opened(at=other).loaded


def refuse(monkeypatch):
    """The file must not even be opened as arrays."""
    monkeypatch.setattr(index_files, "read_arrays", lambda *_: pytest.fail("the file was parsed"))


def test_a_damaged_index_is_not_parsed(opened, monkeypatch):
    path = opened().path
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    refuse(monkeypatch)
    with pytest.raises(StoreError, match="is damaged, or not the file that was written with"):
        opened()


@pytest.mark.parametrize("lost", [".npz", ".json"])
def test_what_a_stopped_run_left_is_built_again(opened, monkeypatch, caplog, lost):
    """An index without its record is not parsed either."""
    path = opened().path
    both = {each: each.read_bytes() for each in (path, path.with_suffix(".json"))}
    path.with_suffix(lost).unlink()
    with monkeypatch.context() as patch:
        refuse(patch)
        assert not opened().loaded
    assert "is alone, as a run leaves it that was stopped" in caplog.text
    assert both == {each: each.read_bytes() for each in both} and opened().loaded


def test_a_new_index_is_never_found_with_the_record_of_an_old_one(opened, monkeypatch):
    opened()
    with monkeypatch.context() as patch:
        patch.setattr(index_files, "write_text", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            opened(rebuild=True, wanted={"m": 8})
    assert not opened().loaded and opened().loaded


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"build": {"m": "x"}}'])
def test_a_record_that_is_none(opened, monkeypatch, text):
    opened().path.with_suffix(".json").write_text(text)
    refuse(monkeypatch)
    with pytest.raises(StoreError, match="is not a record of an index"):
        opened()


def test_an_index_of_another_kind_under_the_name(opened):
    """Record and hash fit, what is in the file does not."""
    path, other = opened().path, opened(kind="ivfpq").path
    shutil.copy(other, path)
    record = json.loads(path.with_suffix(".json").read_text())
    record["file_sha256"] = index_files.file_hash(path)
    path.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match="is not the HNSW index of 300 features"):
        opened()


def test_other_parameters_need_a_rebuild(opened):
    assert opened(wanted={"m": 8}).build["m"] == 8
    assert opened().build["m"] == 8  # nothing asked for: what is there
    with pytest.raises(StoreError, match="was built with m 8; use --rebuild to build it again as asked for"):
        opened(wanted={"m": 16})
    assert opened(wanted={"m": 8, "ef_search": 99}).loaded


def test_features_changed_behind_our_back(opened):
    file = opened.store.folder / "features.npy"
    features = np.load(file)
    features[5, 3] += 1
    np.save(file, features)
    with pytest.raises(StoreError, match="are not those that were extracted"):
        opened()
