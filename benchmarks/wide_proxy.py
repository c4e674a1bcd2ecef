"""What helps the recipe of the shipped model in worlds that it has not seen: one change a row.

    python benchmarks/wide_proxy.py         (all rows; 7 to 20 minutes of one core for each of 2 runs of each seed)
    python benchmarks/wide_proxy.py --rows recipe "with colour jitter" --seeds 0 1 --jobs 2
    python benchmarks/wide_proxy.py --seeds 0 1 --finished                (the table of what is done by now, at once)

For each seed a row is trained twice by configs/zoo/wide.yml with fewer epochs, fewer channels and smaller images: on
two of SynthReID's four worlds and tested on the other two, and the other way round. So each number is of a world that
the model has not seen. Rows of papers are for comparison, and to teach. Finished runs are kept; the table has the rows
of this call.
"""

import argparse
import os
import statistics
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from record import write_record
from tabulate import tabulate

from fastreid_ext.engine.repeat import folder_of, train

CONFIG = "zoo/wide.yml"
WORLDS = ("Street", "Winter", "Station", "Night")
FOLDS = {"street_night": ("Winter", "Station"), "winter_station": ("Street", "Night")}  # tested -> trained on
# Narrow and on small images, so that a row takes minutes: what helps here is taken over by the recipe.
SMALL = (
    *("INPUT.SIZE_TRAIN", "[128, 64]", "INPUT.SIZE_TEST", "[128, 64]"),
    *("MODEL.BACKBONE.NARROW.WIDTH", "32", "MODEL.BACKBONE.FEAT_DIM", "256"),
)
# The average is over the last 100 of 1,200 steps; over 1,000, as in the whole recipe, it would hold the first epochs
SHORT = (
    *("SOLVER.MAX_EPOCH", "6", "SOLVER.EMA.DECAY", "0.99"),
    *("SOLVER.CHECKPOINT_PERIOD", "100", "TEST.RANK_LIST.ENABLED", "False"),
)
LOSSES = "MODEL.LOSSES.NAME"
CBE = ("INPUT.BATCH_AUGMENT.NAME", '["CompoundBatchErasing"]')

ROWS: dict[str, tuple[str, ...]] = {
    "recipe": (),
    "with colour jitter": ("INPUT.CJ.ENABLED", "True"),
    "with padding and cropping": ("INPUT.PADDING.ENABLED", "True"),
    "without instance normalisation": ("MODEL.BACKBONE.WITH_IBN", "False"),
    "triplets for the contrastive loss": (LOSSES, '("SmoothedCrossEntropyLoss","SoftMarginTripletLoss")'),
    "BED for the contrastive loss": (LOSSES, '("SmoothedCrossEntropyLoss","BoundedExponentialDistanceLoss")'),
    "with grayscale, 0.1": ("INPUT.GRAYSCALE.ENABLED", "True", "INPUT.GRAYSCALE.PROB", "0.1"),
    "with blur, 0.2": ("INPUT.BLUR.ENABLED", "True", "INPUT.BLUR.PROB", "0.2"),
    "with random erasing, 0.5": ("INPUT.REA.ENABLED", "True"),
    "with CBE": CBE,
    "with AugMix, 0.5": ("INPUT.AUGMIX.ENABLED", "True", "INPUT.AUGMIX.PROB", "0.5"),
    "without averaged weights": ("SOLVER.EMA.ENABLED", "False", "SOLVER.EMA.DECAY", "0.999"),  # which is then unread
    "OSNet x0_25": (
        *("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"),
        *("MODEL.BACKBONE.FEAT_DIM", "128"),
    ),
    "images of 192x96": ("INPUT.SIZE_TRAIN", "[192, 96]", "INPUT.SIZE_TEST", "[192, 96]"),
    "two blocks a stage": ("MODEL.BACKBONE.DEPTH", "18x"),
    "48 channels for 32": ("MODEL.BACKBONE.NARROW.WIDTH", "48", "MODEL.BACKBONE.FEAT_DIM", "384"),
    "taught by Deep Miner": (),
}

# Rows of other configs: a paper on the recipe's trunk in its whole width, by the recipe's losses, rate and images.
PAPERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Deep Miner, 48 channels": (
        "DeepMiner/Base-DeepMiner.yml",
        (
            *("MODEL.BACKBONE.NAME", "build_narrow_resnet_backbone", "MODEL.BACKBONE.DEPTH", "10x"),
            *("MODEL.BACKBONE.NARROW.WIDTH", "48", "MODEL.BACKBONE.FEAT_DIM", "384", "MODEL.BACKBONE.LAST_STRIDE", "2"),
            *("MODEL.BACKBONE.WITH_IBN", "True", "MODEL.BACKBONE.PRETRAIN", "False", "MODEL.CHANNELS_LAST", "True"),
            *(LOSSES, '("SmoothedCrossEntropyLoss","SupervisedContrastiveLoss")'),
            *("INPUT.SIZE_TRAIN", "[128, 64]", "INPUT.SIZE_TEST", "[128, 64]", "INPUT.REA.ENABLED", "False"),
            *("SOLVER.BASE_LR", "0.003", "SOLVER.SCHED", "CosineAnnealingLR", "SOLVER.WARMUP_EPOCHS", "1"),
            *("SOLVER.EMA.ENABLED", "True", "TEST.EVAL_PERIOD", "0"),
        ),
    ),
}
TAUGHT_BY = {"taught by Deep Miner": "Deep Miner, 48 channels"}  # a row -> the row whose model of that fold and seed
EVERY_ROW = (*ROWS, *PAPERS)
_training: defaultdict[Path, Lock] = defaultdict(Lock)  # a teacher is wanted by its own row and by its student


def run(row: str, seed: int, fold: str, output: Path, also: Sequence[str]) -> dict[str, dict[str, float]]:
    """Train a row on the worlds of a fold, or read what was trained; return world -> metrics."""
    tested = [f"SynthReIDWide{world}" for world in WORLDS if world not in FOLDS[fold]]
    data = (
        "DATASETS.NAMES",
        _tuple(f"SynthReIDWide{world}" for world in FOLDS[fold]),
        "DATASETS.TESTS",
        _tuple(tested),
    )
    config, keys = PAPERS[row] if row in PAPERS else (CONFIG, (*SMALL, *ROWS[row]))
    if row in TAUGHT_BY:
        run(TAUGHT_BY[row], seed, fold, output, also)
        keys = (*keys, "KD.TEACHER", str(folder_of(_folder(TAUGHT_BY[row], fold, output), seed)))
    folder = _folder(row, fold, output)
    with _training[folder_of(folder, seed)]:
        found = train(config, seed, folder, [*SHORT, *keys, *data, *also])
    return {name.removeprefix("SynthReIDWide"): found[name] for name in tested}


def _folder(row: str, fold: str, output: Path) -> Path:
    return output / row.replace(" ", "_").replace(",", "") / fold


def is_finished(row: str, seed: int, output: Path) -> bool:
    """Whether both runs of a row with a seed are done."""
    return all((_folder(row, fold, output) / f"seed{seed}" / "results.json").is_file() for fold in FOLDS)


def _tuple(names: Any) -> str:
    return f"({', '.join(map(repr, names))},)"


Seeds = dict[int, dict[str, dict[str, float]]]  # seed -> world -> metrics


def table(found: dict[str, Seeds]) -> str:
    """Return a Markdown table: mAP in each world, their mean, its difference to the recipe, and Rank-1.

    The numbers are means over the seeds of a row; the difference is to the recipe's runs of the same seeds, with the
    least and the largest of them where there are several.
    """
    lines = []
    for row, seeds in found.items():
        cells = [f"{statistics.fmean(worlds[world]['mAP'] for worlds in seeds.values()):.1f}" for world in WORLDS]
        mean, rank1 = (statistics.fmean(_means(seeds, metric).values()) for metric in ("mAP", "Rank-1"))
        lines.append([row, len(seeds), *cells, f"{mean:.1f}", _difference(found, row), f"{rank1:.1f}"])
    headers = ["", "seeds", *map(str.lower, WORLDS), "mean mAP", "difference", "mean Rank-1"]
    return tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)


def _means(seeds: Seeds, metric: str) -> dict[int, float]:
    return {seed: statistics.fmean(worlds[world][metric] for world in WORLDS) for seed, worlds in seeds.items()}


def _difference(found: dict[str, Seeds], row: str) -> str:
    base, own = _means(found.get("recipe", {}), "mAP"), _means(found[row], "mAP")
    if row == "recipe" or not own.keys() <= base.keys():
        return ""
    gains = [own[seed] - base[seed] for seed in own]
    spread = f" ({min(gains):+.1f} to {max(gains):+.1f})" if len(gains) > 1 else ""
    return f"{statistics.fmean(gains):+.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(EVERY_ROW), choices=EVERY_ROW, metavar="ROW")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, of one thread each")
    parser.add_argument("--output", type=Path, default=Path("logs/benchmarks/wide_proxy"))
    parser.add_argument("--finished", action="store_true", help="train nothing: rows and seeds that are done")
    parser.add_argument("--overrides", nargs="*", default=[], help="KEY VALUE pairs for every run")
    args = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = "1"
    wanted = [(row, seed) for row in args.rows for seed in args.seeds]
    wanted = [each for each in wanted if not args.finished or is_finished(*each, args.output)]
    calls = [(row, seed, fold) for row, seed in wanted for fold in FOLDS]
    with ThreadPoolExecutor(args.jobs) as pool:
        ends = pool.map(lambda call: run(*call, args.output, args.overrides), calls)
        found: dict[str, Seeds] = {}
        for (row, seed, _), worlds in zip(calls, ends, strict=True):
            found.setdefault(row, {}).setdefault(seed, {}).update(worlds)
            if all(len(found[row].get(each, ())) == len(WORLDS) for name, each in wanted if name == row):
                whole = {name: found[name] for name in EVERY_ROW if name in found}
                write_record("wide_proxy", whole, epochs=int(SHORT[1]), overrides=args.overrides)
                print(table(whole), flush=True)


if __name__ == "__main__":
    main()
