"""Trains configs with the same recipe over several seeds on SynthReID and gathers a table.

    python benchmarks/compare_on_synthreid.py --seeds 0 1 2 --configs demo/baseline.yml demo/deepminer.yml
    python benchmarks/compare_on_synthreid.py --size Bench ...      (a GPU's work)

Every run goes through the command line that a user types. A run that has written its results.json is not run again.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from record import commit, write_record

ROOT = Path(__file__).parents[1]


def folder_of(config: str, seed: int, args: argparse.Namespace) -> Path:
    """One folder for each thing that changes a result, this code's commit among them."""
    settings = "_".join([args.size or "demo", *args.overrides]).replace("/", "-")
    return ROOT / args.output / commit() / settings / Path(config).with_suffix("") / f"seed{seed}"


def train(config: str, seed: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Train one config with one seed, or read what an earlier call wrote."""
    folder = folder_of(config, seed, args)
    if not (folder / "results.json").is_file():
        names = [f"SynthReID{args.size}", f"SynthReIDOccluded{args.size}"]
        overrides = ["SEED", seed, "OUTPUT_DIR", folder, "DATASETS.NAMES", (names[0],), "DATASETS.TESTS", tuple(names)]
        command = [sys.executable, "projects/DeepMiner/train_net.py", "--resume", "--config-file", f"configs/{config}"]
        subprocess.run([*command, *map(str, overrides), *args.overrides], cwd=ROOT, check=True)
        for checkpoint in folder.glob("model_*.pth"):  # half a gigabyte each, and nobody reads them again
            checkpoint.unlink()
    return json.loads((folder / "results.json").read_text())["results"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=["demo/baseline.yml", "demo/deepminer.yml"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--size", default="", choices=["", "Tiny", "Bench"], help="SynthReID's size; empty = demo")
    parser.add_argument("--output", default="logs/benchmarks/compare")
    parser.add_argument("--name", default="compare_on_synthreid", help="name of the result file")
    parser.add_argument("--overrides", nargs="*", default=[], help="KEY VALUE pairs for every run")
    args = parser.parse_args()

    table = {}
    for config in args.configs:
        runs = {seed: train(config, seed, args) for seed in args.seeds}
        table[config] = {
            dataset: {
                metric: {
                    "by_seed": [runs[seed][dataset][metric] for seed in args.seeds],
                    "mean": statistics.mean(runs[seed][dataset][metric] for seed in args.seeds),
                    "spread": statistics.stdev(runs[seed][dataset][metric] for seed in args.seeds)
                    if len(args.seeds) > 1
                    else None,
                }
                for metric in ("Rank-1", "mAP")
            }
            for dataset in runs[args.seeds[0]]
        }
        print(config, json.dumps(table[config], indent=1))
    facts = {"seeds": args.seeds, "size": args.size or "demo", "overrides": args.overrides}
    print("written to", write_record(args.name, table, **facts))


if __name__ == "__main__":
    main()
