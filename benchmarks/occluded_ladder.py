r"""Table 5 of Yan et al. (ICCV 2021) on SynthReID: the six rows, and the choices that the paper leaves open.

    python benchmarks/occluded_ladder.py                    (three seeds; hours on two cores)
    python benchmarks/occluded_ladder.py --seeds 0 1 --name occluded_choices \
        --only "+ BED" "+ BED, raw features" "+ BED, hard"

Each row adds one part to the one before. "+ RP" and "+ ME" are one training: momentum elimination acts at the test
alone, so "+ RP" is the weights of "+ ME" tested without it. A run that has written its results.json is not run again.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from compare_on_synthreid import Results, folder_of, parser, run, summary, train
from record import write_record

ABLATION = "OccludedReID/ablation/SynthReID_{}.yml"
FULL = "demo/occluded.yml"
WEIGHTS = "model_final.pth"
CIRCLE = (
    *("MODEL.OCCLUDED.CLASSIFIER.MODE", "circle", "MODEL.HEADS.CLS_LAYER", "CircleSoftmax"),
    *("MODEL.HEADS.SCALE", "64", "MODEL.HEADS.MARGIN", "0.35"),
)
WITHOUT_ME = ("MODEL.OCCLUDED.ME.ENABLED", "False")


@dataclass(frozen=True)
class Row:
    """A config with overrides; with ``tested_with`` its trained weights are tested under those keys instead."""

    config: str
    overrides: tuple[str, ...] = ()
    tested_with: tuple[str, ...] = ()


ROWS = {
    "baseline": Row(ABLATION.format("baseline")),
    "+ CBE": Row(ABLATION.format("cbe")),
    "+ BED": Row(ABLATION.format("bed")),
    "+ DNL": Row(ABLATION.format("dnl")),
    "+ RP": Row(FULL, tested_with=WITHOUT_ME),
    "+ ME": Row(FULL),
    # What else could explain a difference, and what the text leaves open
    "baseline, twice the epochs": Row(ABLATION.format("baseline"), ("SOLVER.MAX_EPOCH", "32")),
    "+ BED, raw features": Row(ABLATION.format("bed"), ("MODEL.LOSSES.BED.NORM", "False")),
    "+ BED, hard": Row(ABLATION.format("bed"), ("MODEL.LOSSES.BED.REDUCTION", "hard")),
    "+ BED, the baseline's classifier": Row(ABLATION.format("bed"), CIRCLE),
    "+ RP, feature before BNNeck": Row(FULL, tested_with=(*WITHOUT_ME, "MODEL.OCCLUDED.TEST_FEATURE", "pooled")),
}


def results_of(row: Row, seed: int, args) -> Results:
    """Train a row with one seed, or test the weights that another row trained, unless that was done before."""
    trained = train(row.config, seed, args, row.overrides, keep=WEIGHTS)
    if not row.tested_with:
        return trained
    weights = folder_of(row.config, seed, args, row.overrides) / WEIGHTS
    folder = folder_of(row.config, seed, args, row.overrides + row.tested_with)
    if not (folder / "results.json").is_file():
        run(row.config, ["--eval-only"], ["MODEL.WEIGHTS", weights, "OUTPUT_DIR", folder, *row.tested_with], args)
    return json.loads((Path(folder) / "results.json").read_text())["results"]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    arguments.add_argument("--name", default="occluded_ladder", help="name of the result file")
    args = arguments.parse_args()

    runs = {name: {} for name in args.only}
    for seed in args.seeds:  # one seed's table is complete before the next begins
        for name in args.only:
            runs[name][seed] = results_of(ROWS[name], seed, args)
            print(f"seed {seed}, {name}: {json.dumps(runs[name][seed])}", flush=True)
    table = {name: summary(by_seed) for name, by_seed in runs.items()}
    facts = {"seeds": args.seeds, "size": args.size or "demo", "overrides": args.overrides}
    facts["rows"] = {name: vars(ROWS[name]) for name in args.only}
    print("written to", write_record(args.name, table, **facts))


if __name__ == "__main__":
    main()
