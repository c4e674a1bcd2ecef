"""Images of a data set as the input of a pose model, read by several threads while the model runs."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np

from fastreid_ext.pose.crops import Crop

AHEAD = 2  # batches that are read before they are asked for

Prepare = Callable[[str], tuple[Crop, np.ndarray]]


def read_batches(
    names: Sequence[str], batch_size: int, prepare: Prepare, workers: int
) -> Iterator[tuple[Sequence[str], list[Crop], np.ndarray]]:
    """Yield (names, their crops, the model's input (B, 3, H, W)) in the order of the names, whatever the workers.

    The workers are threads: decoding and resizing release Python's lock, and a process that was forked beside
    onnxruntime's threads may wait for them for ever.

    Args:
        names: of the images.
        batch_size: names in each batch, but for the last one.
        prepare: name -> (crop, input (3, H, W)); called by the workers.
        workers: number of threads.

    Raises:
        Exception: what ``prepare`` raises of the first image that it raises of, when its batch is asked for.
    """
    waiting = iter(names)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pose image")
    try:
        running: deque[Future[tuple[Crop, np.ndarray]]] = deque()
        for start in range(0, len(names), batch_size):
            wanted = (AHEAD + 1) * batch_size - len(running)
            running.extend(pool.submit(prepare, name) for name in islice(waiting, wanted))
            batch = names[start : start + batch_size]
            crops, inputs = zip(*(running.popleft().result() for _ in batch), strict=True)
            yield batch, list(crops), np.stack(inputs)
    finally:
        pool.shutdown(cancel_futures=True)
