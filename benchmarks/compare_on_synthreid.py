"""Trains configs with the same recipe over several seeds on SynthReID and gathers a table.

    python benchmarks/compare_on_synthreid.py --seeds 0 1 2 --configs demo/baseline.yml demo/deepminer.yml
    python benchmarks/compare_on_synthreid.py --size Bench ...      (a GPU's work)

Every run goes through the command line that a user types. A run that has written its results.json is not run again.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from record import commit, write_record

from fastreid_ext.evaluation.spread import summarise

ROOT = Path(__file__).parents[1]
TRAIN = "projects/DeepMiner/train_net.py"  # any project's: the config says what is trained
LONGEST = 100  # characters of a folder's name; file systems end at 255
TABLE_METRICS = ("Rank-1", "mAP")
Results = dict[str, dict[str, float]]  # data set -> metric -> percent


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with what every comparison takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--size", default="", choices=["", "Tiny", "Bench"], help="SynthReID's size; empty = demo")
    parser.add_argument("--output", default="logs/benchmarks/compare")
    parser.add_argument("--overrides", nargs="*", default=[], help="KEY VALUE pairs for every run")
    return parser


def folder_of(config: str, seed: int, args: argparse.Namespace, overrides: Sequence[str] = ()) -> Path:
    """One folder for each thing that changes a result, this code's commit among them."""
    settings = "_".join([args.size or "demo", *args.overrides, *overrides]).replace("/", "-")
    if len(settings) > LONGEST:
        settings = f"{settings[:LONGEST]}-{hashlib.sha256(settings.encode()).hexdigest()[:12]}"
    return ROOT / args.output / commit() / settings / Path(config).with_suffix("") / f"seed{seed}"


def train(
    config: str, seed: int, args: argparse.Namespace, overrides: Sequence[str] = (), keep: str | None = None
) -> Results:
    """Train one config with one seed, or read what an earlier call wrote.

    Args:
        config: name of a shipped config.
        seed: of the run.
        args: of :func:`parser`.
        overrides: KEY VALUE pairs of this run alone.
        keep: name of the checkpoint to keep; of a run that nobody evaluates again none is kept.
    """
    folder = folder_of(config, seed, args, overrides)
    if not (folder / "results.json").is_file():
        run(config, ["--resume"], ["SEED", seed, "OUTPUT_DIR", folder, *overrides], args)
        for checkpoint in folder.glob("model_*.pth"):  # a tenth of a gigabyte and more each
            if checkpoint.name != keep:
                checkpoint.unlink()
    return json.loads((folder / "results.json").read_text())["results"]


def run(
    config: str,
    flags: Sequence[str],
    overrides: Sequence[Any],
    args: argparse.Namespace,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run the command line on SynthReID of the size that is asked for, in this process's environment or another."""
    names = [f"SynthReID{args.size}", f"SynthReIDOccluded{args.size}"]
    data = ["DATASETS.NAMES", (names[0],), "DATASETS.TESTS", tuple(names)]
    command = [sys.executable, TRAIN, *flags, "--config-file", f"configs/{config}"]
    subprocess.run([*command, *map(str, [*data, *overrides]), *args.overrides], cwd=ROOT, env=environment, check=True)


def summary(runs: dict[int, Results]) -> dict[str, Any]:
    """Return data set -> Rank-1 and mAP of one config's runs: by seed, mean, spread (standard deviation), best."""
    return summarise(
        {
            seed: {dataset: {metric: values[metric] for metric in TABLE_METRICS} for dataset, values in results.items()}
            for seed, results in runs.items()
        }
    )


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--configs", nargs="+", default=["demo/baseline.yml", "demo/deepminer.yml"])
    arguments.add_argument("--name", default="compare_on_synthreid", help="name of the result file")
    args = arguments.parse_args()

    table = {}
    for config in args.configs:
        table[config] = summary({seed: train(config, seed, args) for seed in args.seeds})
        print(config, json.dumps(table[config], indent=1))
    facts = {"seeds": args.seeds, "size": args.size or "demo", "overrides": args.overrides}
    print("written to", write_record(args.name, table, **facts))


if __name__ == "__main__":
    main()
