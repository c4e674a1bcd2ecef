"""The kinds of an index and the names of their parameters; plain values, so that the command line needs no faiss."""

NAMES = {"flat": "flat", "hnsw": "HNSW", "ivfpq": "IVF-PQ"}
# kind -> what is fixed when it is built / what may change with every search
BUILD = {"flat": (), "hnsw": ("m", "ef_construction"), "ivfpq": ("nlist", "pq_m", "pq_bits")}
SEARCH = {"flat": (), "hnsw": ("ef_search",), "ivfpq": ("nprobe",)}
