"""A gallery of a million features in LanceDB: recall against the exact search, and the time of a query.

The features are drawn: 45,000 persons with 20 images each, and 100,000 images of nobody else. A person is a direction
in 256 dimensions whose variance falls with the dimension, as that of trained features does; an image is that direction
plus noise of 1.2 of its length, so that two images of a person have a cosine of about 0.4. 500 further images are the
queries. They go the way that a gallery goes: a feature store, the Parquet shards of ``fastreid-ext shards``, and
examples/lancedb_gallery.py, in an environment that has lancedb and pyarrow.

    python benchmarks/vector_database.py --python lancedb_env/bin/python
    python benchmarks/vector_database.py --python lancedb_env/bin/python --scale 0.01 --output result.json
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PERSONS, IMAGES, ALONE, QUERIES, DIM = 45_000, 20, 100_000, 500, 256
NOISE, FALL = 1.2, 32  # length of the noise; dimension at which the variance is half
TOPK, SEED = 10, 0
LISTS, REFINE = (10, 50, 200), (1, 10)
BLOCK = 20_000
TRAINING = {
    "max_iterations": 20,
    "sample_rate": 64,
}  # of the index: less than LanceDB's 50 and 256, for a small machine


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def draw(rng: np.random.Generator, count: int) -> np.ndarray:
    """Directions (count, D) whose variance falls with the dimension."""
    spread = np.sqrt(1 / (1 + np.arange(DIM) / FALL))
    return unit(rng.standard_normal((count, DIM), dtype=np.float32) * spread)


def images_of(rng: np.random.Generator, persons: np.ndarray) -> np.ndarray:
    """One image (N, D), of length 1, of each person (N, D)."""
    return unit(persons + NOISE * unit(rng.standard_normal(persons.shape, dtype=np.float32)))


def make_shards(folder: Path, scale: float) -> dict[str, Any]:
    """Write shards, queries.npy and exact.npz (ids and persons) and return how long the exact search took."""
    from fastreid_ext.search.features import open_store
    from fastreid_ext.search.image_list import ImageList
    from fastreid_ext.search.shards import write_shards
    from fastreid_ext.search.writer import FeatureWriter

    rng = np.random.default_rng(SEED)
    persons = draw(rng, int(PERSONS * scale))
    owners = np.concatenate([np.repeat(np.arange(len(persons)), IMAGES), np.full(int(ALONE * scale), -1)])
    rng.shuffle(owners)
    rows = [(f"{n:07d}.jpg", "" if person < 0 else str(person), "") for n, person in enumerate(owners)]
    identity = {"architecture": "drawn", "model_sha256": "0" * 64, "config_sha256": "0" * 64}
    writer = FeatureWriter(
        folder / "store", ImageList(folder, rows, "drawn"), {**identity, "metric": "cosine", "flip": False}
    )
    for start in range(0, len(owners), BLOCK):
        block = owners[start : start + BLOCK]
        features = draw(rng, len(block))
        features[block >= 0] = images_of(rng, persons[block[block >= 0]])
        writer.add(features, len(block))
    writer.finish()
    wanted = rng.integers(0, len(persons), QUERIES)
    queries = images_of(rng, persons[wanted])
    np.save(folder / "queries.npy", queries)
    store = open_store(folder / "store")
    began = time.perf_counter()
    best = np.full((QUERIES, TOPK), -2.0, np.float32)
    ids = np.zeros((QUERIES, TOPK), np.int64)
    for first, block in store.blocks():
        similarity = np.concatenate([best, queries @ block.T], axis=1)
        names = np.concatenate([ids, np.broadcast_to(first + np.arange(len(block)), (QUERIES, len(block)))], axis=1)
        order = np.argpartition(-similarity, TOPK, axis=1)[:, :TOPK]
        best, ids = (np.take_along_axis(values, order, 1) for values in (similarity, names))
    seconds = time.perf_counter() - began
    order = np.argsort(-best, axis=1)
    ids = np.take_along_axis(ids, order, 1)
    np.savez(folder / "exact.npz", ids=ids, owners=owners, wanted=wanted)
    write_shards(store, folder / "shards")
    return {
        "gallery": len(store),
        "dim": DIM,
        "queries": QUERIES,
        "exact_ms_per_query_in_one_batch": round(1000 * seconds / QUERIES, 3),
        "exact_rank1": round(float((owners[ids[:, 0]] == wanted).mean()), 4),
    }


def measure(folder: Path) -> dict[str, Any]:
    """Import the shards, build the index and search, in this process, which has lancedb."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
    import lancedb
    import lancedb_gallery as gallery

    database = folder / "database"
    clock = time.perf_counter()
    table = gallery.import_shards(folder / "shards", database)
    imported = time.perf_counter()
    gallery.build_index(table, database, round(table.count_rows() ** 0.5), DIM // 4, **TRAINING)
    indexed = time.perf_counter()
    exact, queries = np.load(folder / "exact.npz"), np.load(folder / "queries.npy")
    settings = [(None, None, 20), *((lists, refine, QUERIES) for lists in LISTS for refine in REFINE)]
    return {
        "lancedb": lancedb.__version__,
        "import_seconds": round(imported - clock, 1),
        "index_seconds": round(indexed - imported, 1),
        "index_training": TRAINING,
        "index": f"IVF_PQ, {round(table.count_rows() ** 0.5)} lists, {DIM // 4} bytes a vector",
        "searches": [searched(gallery, table, database, queries[:count], exact, *how) for *how, count in settings],
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "database_mb": sum(file.stat().st_size for file in database.rglob("*") if file.is_file()) >> 20,
    }


def searched(
    gallery: Any, table: Any, database: Path, queries: np.ndarray, exact: Any, lists: int | None, refine: int | None
) -> dict[str, Any]:
    """Search query by query; recall is the share of the exact search's TOPK that is found."""
    gallery.search(table, database, queries[0], TOPK, lists, refine)  # what is loaded once
    times, shared, hits = [], [], []
    for query, ids, person in zip(queries, exact["ids"], exact["wanted"], strict=False):
        began = time.perf_counter()
        found = gallery.search(table, database, query, TOPK, lists, refine)["id"].to_numpy()
        times.append(time.perf_counter() - began)
        shared.append(len(np.intersect1d(found, ids)) / TOPK)
        hits.append(len(found) > 0 and exact["owners"][found[0]] == person)
    return {
        "lists": lists or "all rows, no index",
        "refine": refine,
        f"recall@{TOPK}": round(float(np.mean(shared)), 4),
        "rank1": round(float(np.mean(hits)), 4),
        "ms_median": round(1000 * float(np.median(times)), 2),
        "ms_95_percent": round(1000 * float(np.quantile(times, 0.95)), 2),
        "queries": len(queries),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, required=True, help="interpreter of the environment with lancedb")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the million features")
    parser.add_argument("--output", type=Path, help="JSON (default: benchmarks/results/vector_database.json)")
    args = parser.parse_args()
    from record import write_record

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = make_shards(folder, args.scale)
        command = [str(args.python), __file__, "--measure", name]
        measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    results = drawn | measured
    for row in results["searches"]:
        print(*(f"{key} {value}" for key, value in row.items()), sep=", ")
    print("written to", write_record("vector_database", results, args.output, seed=SEED))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]))))
    else:
        main()
