"""Shards: every row once, with its labels, whatever the format."""

import builtins
import csv
import json

import numpy as np
import pytest

from fastreid_ext.cli import main
from fastreid_ext.files import file_hash
from fastreid_ext.search.features import StoreError
from fastreid_ext.search.shards import write_shards


@pytest.fixture
def store(make_store):
    rows = [(f'{n},"é".jpg', "" if n == 3 else f"p{n}", "" if n == 4 else str(n)) for n in range(10)]
    return make_store(np.random.RandomState(0).randn(10, 4), rows=rows)


def check_manifest(folder, store, files):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["count"], manifest["dim"], manifest["metric"]) == (10, 4, "cosine")
    assert [(s["first_id"], s["rows"]) for s in manifest["shards"]] == [(0, 4), (4, 4), (8, 2)]
    assert [name for shard in manifest["shards"] for name in shard["files"]] == files
    assert all(file_hash(folder / name) == sha for s in manifest["shards"] for name, sha in s["files"].items())
    assert manifest["features_sha256"] == store.fingerprint and manifest["model_sha256"] == "a" * 64


def test_parquet(store, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    write_shards(store, tmp_path / "out", "parquet", rows=4)
    check_manifest(tmp_path / "out", store, [f"shard-{n:05d}.parquet" for n in range(3)])
    tables = [parquet.read_table(file) for file in sorted((tmp_path / "out").glob("*.parquet"))]
    kind = tables[0].schema.field("vector").type
    assert (kind.list_size, str(kind.value_type)) == (4, "float")
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["id"] for row in rows] == list(range(10))
    np.testing.assert_array_equal(np.array([row["vector"] for row in rows], np.float32), store.features)
    assert [(r["path"], r["person"] or "", r["camera"] or "") for r in rows] == list(store.images.rows)
    assert rows[3]["person"] is None and rows[4]["camera"] is None


def test_npy(store, tmp_path):
    assert main(["shards", str(store.folder), str(tmp_path / "out"), "--format", "npy", "--rows", "4"]) == 0
    names = [f"shard-{n:05d}{suffix}" for n in range(3) for suffix in (".npy", ".csv")]
    check_manifest(tmp_path / "out", store, names)
    arrays = [np.load(file, allow_pickle=False) for file in sorted((tmp_path / "out").glob("*.npy"))]
    np.testing.assert_array_equal(np.concatenate(arrays), store.features)
    rows = []
    for file in sorted((tmp_path / "out").glob("*.csv")):
        with open(file, encoding="utf-8", newline="") as text:
            rows += list(csv.reader(text))[1:]
    assert [tuple(row) for row in rows] == [(str(n), *row) for n, row in enumerate(store.images.rows)]


def test_names_of_another_encoding(make_store, tmp_path):
    """As the system gives a name in Latin-1: NumPy's table keeps its bytes, Parquet has no such text."""
    store = make_store(np.ones((2, 4)), rows=[("\udce9.jpg", "", ""), ("é.jpg", "", "")])
    write_shards(store, tmp_path / "npy", "npy")
    assert b"\xe9.jpg" in (tmp_path / "npy" / "shard-00000.csv").read_bytes()
    pytest.importorskip("pyarrow")
    with pytest.raises(StoreError, match=r"Parquet holds UTF-8 alone, and '.udce9.jpg' is not: use --format npy"):
        write_shards(store, tmp_path / "parquet")


def test_without_pyarrow(store, tmp_path, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["shards", str(store.folder), str(tmp_path / "out")]) == 1
    assert "pip install fastreid-ext[parquet]; --format npy needs nothing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_its_own(store, tmp_path, capsys):
    arguments = ["shards", str(store.folder), str(tmp_path / "out"), "--format", "npy", "--rows", "4"]
    assert main(arguments) == 0
    assert main(arguments) == 1  # it is whole already
    assert "holds manifest.json: shards go into a folder of their own" in capsys.readouterr().err
    (tmp_path / "out" / "manifest.json").unlink()  # an interrupted run
    assert main(arguments) == 0
    assert main([*arguments[:-1], "0"]) == 1
    assert "--rows is 0 and must be 1 or more" in capsys.readouterr().err
