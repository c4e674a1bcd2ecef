"""Where a method helps: finished runs of several seeds, tested again with the report by groups and erased images.

    python benchmarks/groups.py --run baseline RUNS/SynthReID_baseline/seed* --run "+ CBE" RUNS/SynthReID_cbe/seed*

Each folder is a run's OUTPUT_DIR with its config.yaml and model_final.pth. --test NAME KEY VALUE ... tests the runs of
that name under further keys; --opts ends the line with KEY VALUE pairs for every test.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from record import write_record

ROOT = Path(__file__).parents[1]
TRAIN = "projects/DeepMiner/train_net.py"  # any project's: the config says what is tested
STRESS = ("TEST.OCCLUSION.ENABLED", "True", "TEST.RANK_LIST.ENABLED", "False")


def test(folder: Path, overrides: list[str]) -> tuple[dict, dict]:
    """Return the metrics of a run's weights by test set, and its groups by test set."""
    output = folder / "groups" / ("_".join(overrides).replace("/", "-") or "as_trained")
    if not (output / "results.json").is_file():
        keys = ["MODEL.WEIGHTS", folder / "model_final.pth", "OUTPUT_DIR", output, *STRESS, *overrides]
        command = [sys.executable, TRAIN, "--eval-only", "--config-file", folder / "config.yaml"]
        subprocess.run([*map(str, command), *map(str, keys)], cwd=ROOT, check=True)
    as_they_are = [path for path in sorted(output.glob("report_*.json")) if not path.stem.endswith("_erased")]
    reports = [json.loads(path.read_text()) for path in as_they_are]
    groups = {report["dataset"]: report["groups"] for report in reports}
    return json.loads((output / "results.json").read_text())["results"], groups


def mean(values: list[float | None]) -> dict[str, float | None]:
    """Return mean and standard deviation over the seeds, None where nothing counts."""
    if None in values:
        return {"mean": None, "spread": None}
    return {"mean": statistics.fmean(values), "spread": statistics.stdev(values) if len(values) > 1 else None}


def gather(folders: list[Path], overrides: list[str]) -> dict[str, dict]:
    """Return test set -> metrics and groups, each averaged over the runs."""
    tested = [test(folder.resolve(), overrides) for folder in folders]
    table: dict[str, dict] = defaultdict(dict)
    for dataset, metrics in tested[0][0].items():
        wanted = [m for m in metrics if m.split("/")[-1] in ("Rank-1", "mAP")]
        table[dataset]["metrics"] = {m: mean([results[dataset][m] for results, _ in tested]) for m in wanted}
    for dataset, rows in tested[0][1].items():
        table[dataset]["groups"] = [
            {key: row[key] for key in ("group", "identities", "queries")}
            | {m: mean([groups[dataset][place][m] for _, groups in tested]) for m in ("Rank-1", "mAP")}
            for place, row in enumerate(rows)
        ]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", nargs="+", action="append", required=True, metavar=("NAME", "FOLDER"))
    parser.add_argument("--test", nargs="+", action="append", default=[], metavar=("NAME", "KEY"))
    parser.add_argument("--name", default="groups", help="name of the result file")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[])
    args = parser.parse_args()
    results = {}
    for name, *folders in args.run:
        runs = [Path(folder) for folder in folders]
        results[name] = gather(runs, args.opts)
        for tested, *overrides in args.test:
            if tested == name:
                results[f"{name}, {' '.join(overrides)}"] = gather(runs, [*args.opts, *overrides])
    print("written to", write_record(args.name, results))


if __name__ == "__main__":
    main()
