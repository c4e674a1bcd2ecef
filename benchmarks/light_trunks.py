"""What speed costs: light trunks against ResNet-50 on SynthReID, in Rank-1, mAP and images per second.

    python benchmarks/light_trunks.py                     (70 minutes of one core; --jobs 2 halves them)
    python benchmarks/light_trunks.py --trunks "ResNet-50" "OSNet x0.5" --seeds 0
    python benchmarks/light_trunks.py --size Tiny --epochs 1 --seeds 0       (tries the script)

The losses and the schedule of the shipped model's recipe (zoo/wide.yml) on the demo's people, images of 128x64, the
same epochs and rate for all. (By the hard triplets of the demo's Baseline, so few steps from random numbers taught most
trunks hardly anything, a ResNet-50 too.) All trunks begin with random numbers: what ImageNet's weights add is not
measured. None has instance normalisation, and where a trunk has the choice its last stride is 2. Runs that are finished
are kept. Images per second of the test are measured behind them, with one thread and round by round in turn, so let the
last call, which finds all runs finished, have the machine to itself.
"""

import argparse
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from record import write_record
from tabulate import tabulate
from trunk_list import Trunk, timm
from trunk_speed import measure, summary

from fastreid_ext.engine.repeat import train
from fastreid_ext.evaluation.spread import summarise
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.trunk import output_channels

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.modeling import build_model
from fastreid.modeling.backbones import build_backbone

CONFIG = "zoo/wide.yml"
EPOCHS = 12
SIZE = (128, 64)
RECIPE = {
    "INPUT.SIZE_TRAIN": list(SIZE),
    "INPUT.SIZE_TEST": list(SIZE),
    "MODEL.BACKBONE.WITH_IBN": False,
    "SOLVER.BASE_LR": 0.001,
    "SOLVER.EMA.ENABLED": False,  # of few steps
}
YARDSTICK = "ResNet-50"
HALVED = {"LAST_STRIDE": 2}
TRUNKS = {
    YARDSTICK: Trunk("resnet", "50x", HALVED),
    "ResNet-18": Trunk("resnet", "18x", HALVED),
    "OSNet x0.5": Trunk("osnet", "x0_5", {"LAST_STRIDE": 1}),  # it has no other
    "MobileNetV2": Trunk("mobilenetv2", "1.0x", HALVED),
    "MobileNetV4 Small": timm("mobilenetv4_conv_small", LAST_STRIDE=2),
    "Narrow ResNet-10": Trunk("narrow_resnet", "10x", {"NARROW.WIDTH": 32, **HALVED}),
}
METRICS = ("Rank-1", "mAP")


def overrides(name: str, epochs: int, size: str) -> list[str]:
    """Return the KEY VALUE pairs of a trunk's runs."""
    sets = [f"SynthReID{size}", f"SynthReIDOccluded{size}"]
    settings = {
        **settings_of(name),
        "SOLVER.MAX_EPOCH": epochs,
        "SOLVER.WARMUP_EPOCHS": min(2, epochs - 1),
        "SOLVER.CHECKPOINT_KEEP": "('final',)",
        "DATALOADER.NUM_WORKERS": 1,
        "DATASETS.NAMES": (sets[0],),
        "DATASETS.TESTS": tuple(sets),
        "TEST.RANK_LIST.ENABLED": False,
    }
    return [str(item) for pair in settings.items() for item in pair]


def settings_of(name: str) -> dict[str, Any]:
    """Return the config keys of a trunk, with the channels that FastReID's head does not look up."""
    settings = RECIPE | TRUNKS[name].settings()
    cfg = get_config(CONFIG)
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    with torch.device("meta"):
        return {**settings, "MODEL.BACKBONE.FEAT_DIM": output_channels(build_backbone(cfg))}


def model_of(name: str) -> torch.nn.Module:
    """Return a trunk's model in test mode."""
    cfg = get_config(CONFIG)
    settings = {**settings_of(name), "MODEL.DEVICE": "cpu", "MODEL.HEADS.NUM_CLASSES": 100}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    return build_model(cfg).eval()


def rates(names: list[str], batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return trunk -> images per second of the test, their ratio to ResNet-50's, and millions of parameters."""
    models = {name: model_of(name) for name in names}
    # A model of FastReID's changes its images, so each round has new ones.
    calls = {name: (lambda images, model=model: model({"images": images.clone()})) for name, model in models.items()}
    found = summary(measure(calls, torch.rand(batch, 3, *SIZE) * 255, rounds), batch)
    for name, model in models.items():
        found[name]["parameters"] = sum(p.numel() for p in model.backbone.parameters())
    return found


def cell(value: Mapping[str, Any]) -> str:
    """Return mean and standard deviation over seeds."""
    return f"{value['mean']:.1f}" + (f" ± {value['spread']:.1f}" if value["spread"] is not None else "")


def table(found: Mapping[str, dict], speeds: Mapping[str, dict]) -> str:
    """Return a Markdown table: parameters, images per second, Rank-1 and mAP as mean and standard deviation."""
    lines = []
    for name, sets in found.items():
        speed = speeds.get(name, {})
        line = [name, f"{speed['parameters'] / 1e6:.2f}" if speed else ""]
        line += [f"{speed['images_per_second']:.0f}" if speed else ""]
        line += [f"{speed['ratio']:.1f}" if "ratio" in speed else ""]
        line += [cell(values[metric]) for values in sets.values() for metric in METRICS]
        lines.append(line)
    columns = [f"{kind} {metric}" for kind in ("holistic", "occluded") for metric in METRICS]
    headers = ["trunk", "M parameters", "images/s", f"times {YARDSTICK}'s", *columns]
    return tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunks", nargs="+", default=list(TRUNKS), choices=list(TRUNKS), metavar="TRUNK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--size", default="", choices=["", "Tiny"], help="SynthReID's size; empty = demo")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, of one thread each")
    parser.add_argument("--rounds", type=int, default=9, help="of the measurement of images per second")
    parser.add_argument("--output", type=Path, default=Path("logs/benchmarks/light_trunks"))
    parser.add_argument("--overrides", nargs="*", default=[], help="KEY VALUE pairs for every run")
    parser.add_argument("--record", type=Path, help="file to write instead of the results'")
    args = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    pairs = [(name, seed) for name in args.trunks for seed in args.seeds]

    def run(pair: tuple[str, int]) -> dict[str, dict[str, float]]:
        name, seed = pair
        folder = args.output / (args.size or "demo") / f"{args.epochs}epochs" / name.replace(" ", "_")
        return train(CONFIG, seed, folder, [*overrides(name, args.epochs, args.size), *args.overrides])

    runs: dict[str, dict[int, dict]] = {}
    with ThreadPoolExecutor(args.jobs) as pool:
        for (name, seed), results in zip(pairs, pool.map(run, pairs), strict=True):
            runs.setdefault(name, {})[seed] = {
                dataset: {metric: values[metric] for metric in METRICS} for dataset, values in results.items()
            }
            scores = [f"{dataset} {values['Rank-1']:.1f} / {values['mAP']:.1f}" for dataset, values in results.items()]
            print(name, "seed", seed, *scores, flush=True)
    found = {name: summarise(of_seeds) for name, of_seeds in runs.items()}
    speeds = rates(args.trunks, batch=32, rounds=args.rounds)
    facts = {"seeds": args.seeds, "epochs": args.epochs, "size": args.size or "demo", "overrides": args.overrides}
    results = {name: {"speed": speeds[name], **found[name]} for name in found}
    print("written to", write_record("light_trunks", results, args.record, **facts))
    print(table(found, speeds))


if __name__ == "__main__":
    main()
