"""A gallery in LanceDB: the shards of ``fastreid-ext shards`` go in, the nearest images of queries come out.

LanceDB (Apache-2.0) is a library, without a server. It gets an environment of its own: ``pip install lancedb pyarrow``.

    fastreid-ext extract --config-file demo/deepminer.yml --images people --output features/gallery MODEL.WEIGHTS FILE
    fastreid-ext shards features/gallery shards
    python examples/lancedb_gallery.py import shards gallery_db
    python examples/lancedb_gallery.py search gallery_db features/query/features.npy --topk 10
"""

import argparse
import json
from pathlib import Path

import lancedb
import numpy as np
import pyarrow.dataset

TABLE = "gallery"
DISTANCES = {"cosine": "cosine", "euclidean": "l2"}  # TEST.METRIC -> LanceDB's name


def import_shards(shards: Path, database: Path) -> lancedb.table.Table:
    """Make the table of all rows of the shards, batch by batch."""
    manifest = json.loads((shards / "manifest.json").read_text())
    files = [str(shards / name) for shard in manifest["shards"] for name in shard["files"]]
    rows = pyarrow.dataset.dataset(files)
    table = lancedb.connect(database).create_table(TABLE, rows.to_batches(), schema=rows.schema, mode="overwrite")
    if table.count_rows() != manifest["count"]:
        raise SystemExit(f"{table.count_rows()} of {manifest['count']} rows arrived")
    (database / "metric.txt").write_text(DISTANCES[manifest["metric"]])
    return table


def build_index(
    table: lancedb.table.Table, database: Path, partitions: int | None, bytes_per_vector: int, **training: int
) -> None:
    """Build an IVF-PQ index: lists of near vectors, and a code of so many bytes for each.

    Args:
        table: of :func:`import_shards`.
        database: its folder.
        partitions: how many lists; None = as LanceDB thinks.
        bytes_per_vector: it divides the numbers of a vector.
        training: ``max_iterations`` and ``sample_rate``, vectors of a list that it is trained on.
    """
    table.create_index(
        metric=(database / "metric.txt").read_text(),
        vector_column_name="vector",
        index_type="IVF_PQ",
        num_partitions=partitions,
        num_sub_vectors=bytes_per_vector,
        **training,
    )


def search(
    table: lancedb.table.Table, database: Path, query: np.ndarray, topk: int, lists: int | None, refine: int | None
) -> pyarrow.Table:
    """Return id, path, person, camera and _distance of the nearest rows; without ``lists`` those of all rows."""
    found = table.search(query, vector_column_name="vector").distance_type((database / "metric.txt").read_text())
    if lists is None:
        found = found.bypass_vector_index()
    else:
        found = found.nprobes(lists).refine_factor(refine or 1)
    return found.select(["id", "path", "person", "camera", "_distance"]).limit(topk).to_arrow()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    importing = actions.add_parser("import", help="make the table and its index")
    importing.add_argument("shards", type=Path, help="folder of fastreid-ext shards")
    importing.add_argument("database", type=Path, help="folder of the database")
    importing.add_argument("--no-index", action="store_true", help="every search compares with all rows")
    importing.add_argument("--partitions", type=int, help="lists of the index (default: LanceDB's)")
    importing.add_argument("--bytes", type=int, default=64, help="of a vector's code (default: 64)")
    searching = actions.add_parser("search", help="print the nearest rows of each query")
    searching.add_argument("database", type=Path)
    searching.add_argument("queries", type=Path, help="features.npy of a feature store")
    searching.add_argument("--topk", type=int, default=10)
    searching.add_argument("--lists", type=int, help="of the index that are looked at (default: all rows, no index)")
    searching.add_argument("--refine", type=int, default=10, help="times topk candidates are compared exactly")
    args = parser.parse_args()
    if args.action == "import":
        table = import_shards(args.shards, args.database)
        if not args.no_index:
            build_index(table, args.database, args.partitions, args.bytes)
        print(f"{table.count_rows()} rows in {args.database}")
        return
    table = lancedb.connect(args.database).open_table(TABLE)
    for number, query in enumerate(np.load(args.queries, mmap_mode="r")):
        for row in search(table, args.database, query, args.topk, args.lists, args.refine).to_pylist():
            print(number, row["path"], row["person"], f"{row['_distance']:.4f}")


if __name__ == "__main__":
    main()
