"""Images per second of our loaders and of FastReID's own, which give the same pixels.

The same files, transforms, batch size and number of workers; all end in float32 batches on the CPU, in one thread a
process. FastReID's loader and ours are timed in turn, round by round, so that a slow moment of the machine hits both;
the ratio is the median of the rounds' ratios. A test is timed as a whole, its workers' start included; of training,
the batches after the first three of each worker. "ours" decodes and resizes every image, as a first epoch does; "kept"
has the folder of DATALOADER.CACHE_DIR that holds them all, as every later epoch, evaluation and run.

    python benchmarks/loading.py
    python benchmarks/loading.py --workers 0 --rounds 3 --kinds test
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from record import write_record
from torch.utils.data import DataLoader, SequentialSampler

from fastreid_ext.config import get_cfg
from fastreid_ext.data.batches import EpochBatches
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.data.loader import DeviceLoader, build_test_loader, build_train_loader
from fastreid_ext.data.pixels.decoding import read_rgb
from fastreid_ext.data.pixels.resized_images import ResizedImages
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
OURS = ("ours", "kept")
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


def filled(folder: Path, items: Items, size: tuple[int, int]) -> ResizedImages:
    """Keep all images as an epoch does."""
    kept = ResizedImages(folder, *size)
    for path, *_ in items:
        kept.get(path, read_rgb)
    return kept


def loaders(
    kind: str, items: Items, cfg: CfgNode, workers: int, batch: int, kept: ResizedImages
) -> dict[str, Callable]:
    """Return what builds FastReID's loader, ours, and ours with kept images."""
    if kind == "test":
        transform = build_transforms(cfg, is_train=False)

        def host() -> DataLoader:
            return build_reid_test_loader(CommDataset(items, transform, False), batch, 0, num_workers=workers)[0]

        def ours(kept: ResizedImages | None = None) -> DeviceLoader:
            images = ReIDImages(items, transform, relabel=False, kept=kept)
            return build_test_loader(images, SequentialSampler(images), batch, workers, CPU)
    else:
        transform = build_transforms(cfg, is_train=True)

        def host() -> DataLoader:
            sampler = samplers.TrainingSampler(len(items), seed=0)
            images = CommDataset(items, transform, True)
            return build_reid_train_loader(images, sampler=sampler, total_batch_size=batch, num_workers=workers)

        def ours(kept: ResizedImages | None = None) -> DeviceLoader:
            batches = EpochBatches(items, "TrainingSampler", batch, 4, len(items) // batch, seed=0)
            images = ReIDImages(items, transform, relabel=True, kept=kept)
            return build_train_loader(images, batches, workers, CPU)

    return {"host": host, "ours": ours, "kept": partial(ours, kept)}


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
    kept = {name: filled(folder / "kept", files[name], size) for name, (_, size) in SIZES.items()}
    rows = []
    for (name, (_, size)), kind, workers in itertools.product(SIZES.items(), args.kinds, args.workers):
        builds = loaders(kind, files[name], settings(kind, size), workers, args.batch, kept[name])
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
                **{f"{who}_ratio": round(statistics.median(r[who] / r["host"] for r in rounds), 2) for who in OURS},
                **{f"{who}_ratios": [round(r[who] / r["host"], 2) for r in rounds] for who in OURS},
            }
        )
        print("{images:34s} {kind:20s} {workers} workers: {host_images_per_s:5d}, {ours_images_per_s:5d} and"
              " {kept_images_per_s:5d} images/s, {ours_ratio:.2f} and {kept_ratio:.2f} times {ours_ratios}"
              " {kept_ratios}".format(**rows[-1]), flush=True)  # fmt: skip
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
