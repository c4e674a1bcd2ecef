r"""Tables 2 and 3 of Cao and Lee on SynthReID: the probability of random erasing, and Res2Net beside ResNet.

    python benchmarks/res2net_tables.py --seeds 0 1     (hours on two cores)

The paper's trunks start from ImageNet. Here each of the two starts from a training on the people of another SynthReID,
with MSReID's losses without attention, local branch and mask. A run that has written its results.json is not run again;
``--only`` lets several processes share the rows, and a last call without it gathers them; ``--ended`` gathers what has
ended so far, whatever seeds each row has, and trains nothing.
"""

import itertools
import json
import os
import sys
from dataclasses import dataclass

from compare_on_synthreid import ROOT, folder_of, parser, run, summary, train
from record import write_record

from fastreid_ext.data.synthetic import generate

OTHER_PEOPLE = 1  # seed of the SynthReID that trunks are trained on
TRUNK = "MSReID/ablation/SynthReID_none.yml"
RES2NET = (
    *("MODEL.BACKBONE.NAME", "build_res2net_backbone"),
    *("MODEL.BACKBONE.DEPTH", "26x", "MODEL.BACKBONE.WITH_IBN", "False"),
)
TRUNK_EPOCHS = ("SOLVER.MAX_EPOCH", "16", "SOLVER.WARMUP_EPOCHS", "3")
TRUNKS = {
    "res2net": RES2NET,
    "resnet": (*RES2NET, "MODEL.BACKBONE.RES2NET.SCALE", "1", "MODEL.BACKBONE.RES2NET.WIDTH", "64"),
}
ABLATION = "Res2NetMultiTask/ablation/SynthReID_{}.yml"


@dataclass(frozen=True)
class Row:
    """A config, and the trunk that it starts from."""

    config: str
    trunk: str = "res2net"


ROWS = {f"Res2Net, erasing {share / 10}": Row(ABLATION.format(f"er{share:02d}")) for share in (0, 2, 4, 5, 8, 10)}
ROWS |= {"ResNet, erasing 0.5": Row(ABLATION.format("resnet"), "resnet")}


def train_trunk(name: str, args) -> None:
    """Train a trunk if it is not there."""
    folder = ROOT / args.trunks / name
    if not (folder / "results.json").is_file():
        root = ROOT / args.trunks / "datasets"
        generate(root, seed=OTHER_PEOPLE)
        environment = os.environ | {"FASTREID_DATASETS": str(root)}
        run(TRUNK, ["--resume"], ["OUTPUT_DIR", folder, *TRUNKS[name], *TRUNK_EPOCHS], args, environment)


def weights_of(trunk: str, args) -> tuple[str, str]:
    """Return the KEY VALUE pair that starts a run from a trunk."""
    return "MODEL.WEIGHTS", os.path.relpath(ROOT / args.trunks / trunk / "model_final.pth", ROOT)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--trunks", default="logs/benchmarks/res2net_trunks", help="folder of the trunks' runs")
    arguments.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW")
    arguments.add_argument("--ended", action="store_true", help="gather the runs that have ended, train nothing")
    arguments.add_argument("--name", default="res2net_tables", help="name of the result file")
    args = arguments.parse_args()

    if not args.ended:
        for trunk in sorted({ROWS[row].trunk for row in args.only}):
            train_trunk(trunk, args)
    runs = {}
    for seed, name in itertools.product(args.seeds, args.only):  # one seed's table is complete before the next begins
        config, weights = ROWS[name].config, weights_of(ROWS[name].trunk, args)
        if args.ended and not (folder_of(config, seed, args, weights) / "results.json").is_file():
            continue
        runs.setdefault(name, {})[seed] = train(config, seed, args, weights)
        print(f"seed {seed}, {name}: {json.dumps(runs[name][seed])}", flush=True)
    if not runs:
        sys.exit(f"error: no run of these seeds and overrides has ended below {args.output}")
    facts = {"seeds": args.seeds, "size": args.size or "demo", "overrides": args.overrides}
    facts["rows"] = {name: vars(ROWS[name]) for name in runs}
    facts["trunks"] = {
        name: {"config": TRUNK, "overrides": [*TRUNKS[name], *TRUNK_EPOCHS], "seed of SynthReID": OTHER_PEOPLE}
        | json.loads((ROOT / args.trunks / name / "results.json").read_text())
        for name in sorted({ROWS[row].trunk for row in runs})
    }
    print("written to", write_record(args.name, {name: summary(by_seed) for name, by_seed in runs.items()}, **facts))


if __name__ == "__main__":
    main()
