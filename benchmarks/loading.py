"""Images per second of our loaders and of FastReID's own, which give the same pixels.

The same files, transforms, batch size and number of workers; both end in float32 batches on the CPU, in one thread a
process. FastReID's loader and ours are timed in turn, round by round, so that a slow moment of the machine hits both;
the ratio is the median of the rounds' ratios. A test is timed as a whole, its workers' start included; of training,
the batches after the first three of each worker.

    python benchmarks/loading.py
    python benchmarks/loading.py --workers 0 --rounds 3 --kinds test
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image
from record import write_record
from torch.utils.data import DataLoader, SequentialSampler

from fastreid_ext.config import get_cfg
from fastreid_ext.data.batches import EpochBatches
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.data.loader import DeviceLoader, build_test_loader, build_train_loader
from fastreid_ext.data.synthetic import generate

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode
from fastreid.data import build_reid_test_loader, build_reid_train_loader, samplers
from fastreid.data.common import CommDataset
from fastreid.data.transforms import build_transforms

# name: width and height of the files, height and width of the batches
SIZES = {
    "64x128 to 128x64 (SynthReID)": ((64, 128), (128, 64)),
    "64x128 to 256x128 (Market-1501)": ((64, 128), (256, 128)),
    "128x256 to 256x128": ((128, 256), (256, 128)),
    "110x260 to 256x128": ((110, 260), (256, 128)),
}
KINDS = {"test": [], "train": ["INPUT.PADDING.ENABLED", True, "INPUT.FLIP.ENABLED", True]}
KINDS["train, mean erasing"] = [*KINDS["train"], "INPUT.REA.ENABLED", True]
QUALITY = 95
CPU = torch.device("cpu")
Items = list[tuple[str, int, int]]


def write_images(folder: Path, sources: list[Path], size: tuple[int, int], count: int) -> Items:
    """Write SynthReID's images as JPEG files of a size, and list them as often as it takes."""
    folder.mkdir()
    items = []
    for number, source in enumerate(sources):
        path = folder / f"{number}.jpg"
        Image.open(source).resize(size, Image.Resampling.BICUBIC).save(path, quality=QUALITY)
        items.append((str(path), number // 4, number % 2))
    return list(itertools.islice(itertools.cycle(items), count))


def settings(kind: str, size: tuple[int, int]) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.SIZE_TRAIN", list(size), "INPUT.SIZE_TEST", list(size), *KINDS[kind]])
    return cfg


def loaders(kind: str, items: Items, cfg: CfgNode, workers: int, batch: int) -> dict[str, Callable]:
    """Return what builds FastReID's loader and ours."""
    if kind == "test":
        transform = build_transforms(cfg, is_train=False)

        def host() -> DataLoader:
            return build_reid_test_loader(CommDataset(items, transform, False), batch, 0, num_workers=workers)[0]

        def ours() -> DeviceLoader:
            images = ReIDImages(items, transform, relabel=False)
            return build_test_loader(images, SequentialSampler(images), batch, workers, CPU)
    else:
        transform = build_transforms(cfg, is_train=True)

        def host() -> DataLoader:
            sampler = samplers.TrainingSampler(len(items), seed=0)
            images = CommDataset(items, transform, True)
            return build_reid_train_loader(images, sampler=sampler, total_batch_size=batch, num_workers=workers)

        def ours() -> DeviceLoader:
            batches = EpochBatches(items, "TrainingSampler", batch, 4, len(items) // batch, seed=0)
            return build_train_loader(ReIDImages(items, transform, relabel=True), batches, workers, CPU)

    return {"host": host, "ours": ours}


def images_per_second(kind: str, build: Callable, count: int, workers: int) -> float:
    loader, seen = build(), 0
    if kind == "test":
        start = time.perf_counter()
        for batch in loader:
            seen += len(batch["images"])
        return seen / (time.perf_counter() - start)
    batches = iter(loader)
    for _ in range(3 * max(workers, 1)):  # what was made before the clock starts
        next(batches)
    start = time.perf_counter()
    while seen < count:
        seen += len(next(batches)["images"])
    return seen / (time.perf_counter() - start)


def measure(args: argparse.Namespace, folder: Path) -> list[dict]:
    generate(folder, size="tiny", workers=1, progress=False)
    sources = sorted(folder.rglob("*.jpg"))
    files = {
        name: write_images(folder / str(place), sources, size, args.images)
        for place, (name, (size, _)) in enumerate(SIZES.items())
    }
    rows = []
    for (name, (_, size)), kind, workers in itertools.product(SIZES.items(), args.kinds, args.workers):
        builds = loaders(kind, files[name], settings(kind, size), workers, args.batch)
        rounds = [
            {who: images_per_second(kind, build, args.images, workers) for who, build in builds.items()}
            for _ in range(args.rounds)
        ]
        rows.append(
            {
                "images": name,
                "kind": kind,
                "workers": workers,
                **{f"{who}_images_per_s": round(statistics.median(r[who] for r in rounds)) for who in builds},
                "ratio": round(statistics.median(r["ours"] / r["host"] for r in rounds), 2),
                "ratios": [round(r["ours"] / r["host"], 2) for r in rounds],
            }
        )
        print("{images:34s} {kind:20s} {workers} workers: {host_images_per_s:5d} and {ours_images_per_s:5d} images/s,"
              " {ratio:.2f} times {ratios}".format(**rows[-1]), flush=True)  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1024, help="of a round")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--output", type=Path, help="instead of results/loading.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    path = write_record("loading", rows, args.output, seed=0, batch=args.batch, images=args.images, quality=QUALITY)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
