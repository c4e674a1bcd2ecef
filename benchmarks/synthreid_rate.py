"""How fast SynthReID is drawn: images per second of one process, all in (drawing, JPEG, annotations, file).

    python benchmarks/synthreid_rate.py --sizes bench wide

The sizes are drawn alternately, a chunk of a worker at a time, so that a slow moment of the machine hits both. The time
is that of the processor, so that other processes matter less; they still share its caches.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
from record import write_record

from fastreid_ext.data.synthetic import SIZES, splits, writer


def main() -> None:
    """Measure and write ``results/synthreid_rate.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=["bench", "wide"])
    parser.add_argument("--rounds", type=int, default=12, help="chunks of each size; the first two are not counted")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    plans = {name: splits.plan(SIZES[name], 0, True) for name in arguments.sizes}
    seconds: dict[str, list[float]] = {name: [] for name in plans}
    with tempfile.TemporaryDirectory() as folder:
        for name in plans:
            for directory in splits.directories(SIZES[name]):
                (Path(folder) / name / directory).mkdir(parents=True)
        for turn in range(arguments.rounds + 2):
            for name, shots in plans.items():
                chunk = shots[turn * writer.CHUNK : (turn + 1) * writer.CHUNK]
                start = time.process_time()
                writer.draw_chunk(Path(folder) / name, SIZES[name], 0, chunk)
                seconds[name].append((time.process_time() - start) / len(chunk))
    results = {}
    for name, each in seconds.items():
        middle = statistics.median(each[2:])
        results[name] = {"ms_per_image": round(1000 * middle, 2), "images_per_second_a_core": round(1 / middle, 1)}
        print(f"{name}: {1000 * middle:.1f} ms an image, {1 / middle:.0f} images/s a core")
    print(write_record("synthreid_rate", results, opencv=cv2.__version__, rounds=arguments.rounds))


if __name__ == "__main__":
    main()
