"""Decoding and resizing by PIL, by torchvision and by ours: images per second, and how far the pixels are from PIL's.

JPEG files of several sizes are decoded and resized with bicubic interpolation, as FastReID's transforms do. One thread;
the libraries take turns, file by file, so that a slow moment of the machine hits all of them. Seconds are those of the
processor.

    python benchmarks/pixels.py
    python benchmarks/pixels.py --images 64 --rounds 1
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from loading import SIZES, write_images
from PIL import Image
from record import write_record
from tabulate import tabulate
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.v2 import functional as v2

from fastreid_ext.data.pixels import resampling
from fastreid_ext.data.pixels.decoding import read_rgb
from fastreid_ext.data.synthetic import generate

Size = tuple[int, int]


def by_pil(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def by_torchvision(path: str) -> torch.Tensor:
    return decode_jpeg(read_file(path), mode=ImageReadMode.RGB)


def torchvisions_resize(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return v2.resize(image, [height, width], interpolation=v2.InterpolationMode.BICUBIC, antialias=True)


def rows_first(image: Any) -> np.ndarray:
    return image.permute(1, 2, 0).numpy() if isinstance(image, torch.Tensor) else image


# who: how a file is decoded, how an image is resized
LIBRARIES: dict[str, tuple[Callable, Callable]] = {
    "PIL": (by_pil, resampling.by_pil),
    "torchvision": (by_torchvision, torchvisions_resize),
    "ours": (read_rgb, resampling.resize),
}


def seconds_of(path: str, size: Size) -> dict[str, tuple[float, float, np.ndarray, np.ndarray]]:
    """Return library -> seconds of decoding and of resizing, and both images."""
    found = {}
    for who, (decode, resize) in LIBRARIES.items():
        begin = time.process_time()
        image = decode(path)
        decoded = time.process_time()
        small = resize(image, *size)
        end = time.process_time()
        found[who] = decoded - begin, end - decoded, rows_first(image), rows_first(small)
    return found


def compared(images: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Return the share of equal bytes, and the largest difference in levels of 0 to 255."""
    gaps = [np.abs(ours.astype(int) - pils) for ours, pils in images]
    equal, count = sum(int((gap == 0).sum()) for gap in gaps), sum(gap.size for gap in gaps)
    return {"equal": round(equal / count, 6), "largest": max(int(gap.max()) for gap in gaps)}


def measure(files: list[str], size: Size, rounds: int) -> dict[str, dict[str, Any]]:
    """Return library -> images per second of decoding, of resizing and of both, and its pixels beside PIL's."""
    times: dict[str, list[tuple[float, float]]] = {who: [] for who in LIBRARIES}
    for _ in range(rounds):
        sums = {who: [0.0, 0.0] for who in LIBRARIES}
        kept = []
        for path in files:
            found = seconds_of(path, size)
            kept.append({who: values[2:] for who, values in found.items()})
            for who, (decoding, resizing, *_) in found.items():
                sums[who][0] += decoding
                sums[who][1] += resizing
        for who, (decoding, resizing) in sums.items():
            times[who].append((decoding, resizing))
    rows = {}
    for who, of_rounds in times.items():
        decoding, resizing = (statistics.median(values) for values in zip(*of_rounds, strict=True))
        rows[who] = {
            "decoded_per_s": round(len(files) / decoding),
            "resized_per_s": round(len(files) / resizing),
            "images_per_s": round(len(files) / (decoding + resizing)),
            "decoded": compared([(one[who][0], one["PIL"][0]) for one in kept]),
            "resized": compared([(one[who][1], one["PIL"][1]) for one in kept]),
        }
    return rows


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return a Markdown table."""
    lines = [
        [
            name if who == "PIL" else "",
            who,
            *(f"{row[key]}" for key in ("decoded_per_s", "resized_per_s", "images_per_s")),
            f"{row['images_per_s'] / rows['PIL']['images_per_s']:.2f}",
            *(f"{100 * row[step]['equal']:.2f} %, {row[step]['largest']}" for step in ("decoded", "resized")),
        ]
        for name, rows in results.items()
        for who, row in rows.items()
    ]
    headers = ["images", "", "decoded/s", "resized/s", "both/s", "times PIL's", "equal bytes, largest gap", "resized"]
    return tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512, help="of each size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="instead of results/pixels.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), size="tiny", workers=1, progress=False)
        sources = sorted(Path(folder).rglob("*.jpg"))
        for place, (name, (of_files, size)) in enumerate(SIZES.items()):
            items = write_images(Path(folder) / str(place), sources, of_files, args.images)
            results[name] = measure([path for path, *_ in items], size, args.rounds)
    versions = {"pillow": Image.__version__, "torchvision": torchvision.__version__}
    print(f"written to {write_record('pixels', results, args.output, images=args.images, **versions)}")
    print(table(results))


if __name__ == "__main__":
    main()
