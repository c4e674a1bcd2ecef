"""What helps the recipe of the shipped model in worlds that it has not seen: one change a row.

    python benchmarks/wide_proxy.py                       (all rows; 7 to 20 minutes of one core for each of 2 runs)
    python benchmarks/wide_proxy.py --rows recipe "without colour jitter" --jobs 2

Each row is trained twice by configs/zoo/wide.yml with fewer epochs: on two of SynthReID's four worlds and tested on the
other two, and the other way round. So each number is of a world that the model has not seen. Runs that are finished are
kept; the table has the rows of this call.
"""

import argparse
import os
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from record import write_record
from tabulate import tabulate

from fastreid_ext.engine.repeat import train

CONFIG = "zoo/wide.yml"
WORLDS = ("Street", "Winter", "Station", "Night")
FOLDS = {"street_night": ("Winter", "Station"), "winter_station": ("Street", "Night")}  # tested -> trained on
# The average is over the last 100 of 1,200 steps; over 1,000, as in the whole recipe, it would hold the first epochs
SHORT = (
    *("SOLVER.MAX_EPOCH", "6", "SOLVER.EMA.DECAY", "0.99"),
    *("SOLVER.CHECKPOINT_PERIOD", "100", "TEST.RANK_LIST.ENABLED", "False"),
)
LOSSES = "MODEL.LOSSES.NAME"
CBE = ("INPUT.BATCH_AUGMENT.NAME", '["CompoundBatchErasing"]')

ROWS: dict[str, tuple[str, ...]] = {
    "recipe": (),
    "without colour jitter": ("INPUT.CJ.ENABLED", "False"),
    "with padding and cropping": ("INPUT.PADDING.ENABLED", "True"),
    "without instance normalisation": ("MODEL.BACKBONE.WITH_IBN", "False"),
    "triplets for the contrastive loss": (LOSSES, '("SmoothedCrossEntropyLoss","SoftMarginTripletLoss")'),
    "BED for the contrastive loss": (LOSSES, '("SmoothedCrossEntropyLoss","BoundedExponentialDistanceLoss")'),
    "contrastive loss alone": (LOSSES, '("SupervisedContrastiveLoss",)'),
    "with grayscale, 0.1": ("INPUT.GRAYSCALE.ENABLED", "True", "INPUT.GRAYSCALE.PROB", "0.1"),
    "with blur, 0.2": ("INPUT.BLUR.ENABLED", "True", "INPUT.BLUR.PROB", "0.2"),
    "with random erasing, 0.5": ("INPUT.REA.ENABLED", "True"),
    "with CBE": CBE,
    "with AugMix": ("INPUT.AUGMIX.ENABLED", "True"),
    "without averaged weights": ("SOLVER.EMA.ENABLED", "False"),
    "OSNet x0_25": (
        *("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"),
        *("MODEL.BACKBONE.FEAT_DIM", "128"),
    ),
    "48 channels for 32": ("MODEL.BACKBONE.NARROW.WIDTH", "48", "MODEL.BACKBONE.FEAT_DIM", "384"),
}


def run(row: str, fold: str, seed: int, output: Path, also: Sequence[str]) -> dict[str, dict[str, float]]:
    """Train a row on the worlds of a fold, or read what was trained; return world -> metrics."""
    tested = [f"SynthReIDWide{world}" for world in WORLDS if world not in FOLDS[fold]]
    data = (
        "DATASETS.NAMES",
        _tuple(f"SynthReIDWide{world}" for world in FOLDS[fold]),
        "DATASETS.TESTS",
        _tuple(tested),
    )
    folder = output / row.replace(" ", "_").replace(",", "") / fold
    found = train(CONFIG, seed, folder, [*SHORT, *data, *ROWS[row], *also])
    return {name.removeprefix("SynthReIDWide"): found[name] for name in tested}


def _tuple(names: Any) -> str:
    return f"({', '.join(map(repr, names))},)"


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return a Markdown table: mAP in each world, their mean, and its difference to the first row."""
    lines = []
    for row, worlds in found.items():
        mean = statistics.fmean(worlds[world]["mAP"] for world in WORLDS)
        base = statistics.fmean(found["recipe"][world]["mAP"] for world in WORLDS) if "recipe" in found else None
        rank1 = statistics.fmean(worlds[world]["Rank-1"] for world in WORLDS)
        cells = [f"{worlds[world]['mAP']:.1f}" for world in WORLDS]
        lines.append(
            [
                row,
                *cells,
                f"{mean:.1f}",
                "" if base is None or row == "recipe" else f"{mean - base:+.1f}",
                f"{rank1:.1f}",
            ]
        )
    headers = ["", *map(str.lower, WORLDS), "mean mAP", "difference", "mean Rank-1"]
    return tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, of one thread each")
    parser.add_argument("--output", type=Path, default=Path("logs/benchmarks/wide_proxy"))
    parser.add_argument("--overrides", nargs="*", default=[], help="KEY VALUE pairs for every run")
    args = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = "1"
    calls = [(row, fold) for row in args.rows for fold in FOLDS]
    with ThreadPoolExecutor(args.jobs) as pool:
        ends = pool.map(lambda call: run(*call, args.seed, args.output, args.overrides), calls)
        found: dict[str, dict[str, dict[str, float]]] = {}
        for (row, _), worlds in zip(calls, ends, strict=True):
            found.setdefault(row, {}).update(worlds)
            whole = {name: found[name] for name in ROWS if len(found.get(name, ())) == len(WORLDS)}
            if row in whole:
                write_record("wide_proxy", whole, seed=args.seed, epochs=int(SHORT[1]), overrides=args.overrides)
                print(table(whole), flush=True)


if __name__ == "__main__":
    main()
