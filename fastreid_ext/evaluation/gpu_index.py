"""Indexes of faiss searched on the GPU, where faiss-gpu is installed and there is one.

Written after faiss's documented functions and tested with stand-ins for them: not run on a GPU here.
"""

import functools
import logging
from typing import Any

import faiss
import numpy as np
import torch

from fastreid_ext.errors import first_line

MOST_FOUND = 2048  # images of a query: faiss finds no more on a GPU
MOVED = (faiss.IndexFlat, faiss.IndexIVFPQ)  # faiss has no HNSW on a GPU

logger = logging.getLogger(__name__)


def gpu_count() -> int:
    """Return how many GPUs faiss can search on: none with faiss-cpu, or without a CUDA device.

    torch is asked first, because faiss-gpu may end the process where there is no driver.
    """
    if not hasattr(faiss, "StandardGpuResources") or not torch.cuda.is_available():
        return 0
    return faiss.get_num_gpus()


def search_on_gpu(index: faiss.Index, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Search a copy of an index on the current GPU.

    Args:
        index: on the CPU.
        queries: (Q, D) float32, as the index takes them.
        count: how many images of each.

    Returns:
        distances or products (Q, count) and rows (Q, count), as ``index.search`` has them; None where the CPU has to
        do it: there is no GPU, or it can't (too little memory, a kind of index or a count that it does not have).
    """
    if count > MOST_FOUND or not isinstance(index, MOVED) or not gpu_count():
        return None
    try:
        return faiss.index_cpu_to_gpu(_resources(), torch.cuda.current_device(), index).search(queries, count)
    except RuntimeError as error:  # of faiss, whatever the reason
        logger.warning("searched on the CPU, because faiss can't on the GPU: %s", first_line(error))
        return None


@functools.cache
def _resources() -> Any:
    """Return faiss's streams and scratch memory, of which one process needs one."""
    return faiss.StandardGpuResources()
