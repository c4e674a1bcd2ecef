"""A training that starts from the shipped model's trunk, against one that starts from random numbers, at equal epochs.

    python benchmarks/zoo_start.py                                    (SynthReID; a quarter of an hour on two cores)
    python benchmarks/zoo_start.py --configs demo/mgre.yml --seeds 0

Everything else is the config's: the same trunk, data, epochs and seeds.
"""

from compare_on_synthreid import parser, summary, train
from record import write_record

TRUNK = (
    *("MODEL.BACKBONE.NAME", "build_narrow_resnet_backbone", "MODEL.BACKBONE.DEPTH", "10x"),
    *("MODEL.BACKBONE.NARROW.WIDTH", "48", "MODEL.BACKBONE.FEAT_DIM", "384", "MODEL.BACKBONE.WITH_IBN", "True"),
)
STARTS = {
    "random numbers": (),
    "the shipped model": ("MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH", "zoo"),
}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--configs", nargs="+", default=["demo/baseline.yml", "demo/deepminer.yml"])
    arguments.add_argument("--epochs", type=int, default=12)
    args = arguments.parse_args()

    epochs = ("SOLVER.MAX_EPOCH", str(args.epochs))
    table: dict[str, dict] = {}
    for config in args.configs:
        for start, keys in STARTS.items():
            runs = {seed: train(config, seed, args, (*TRUNK, *epochs, *keys)) for seed in args.seeds}
            table.setdefault(config, {})[start] = summary(runs)
    facts = {"seeds": args.seeds, "size": args.size or "demo", "epochs": args.epochs, "overrides": args.overrides}
    print("written to", write_record("zoo_start", table, **facts))
    for config, starts in table.items():
        for start, results in starts.items():
            cells = [
                f"{name} {values[metric]['mean']:.1f}"
                for name, values in results.items()
                for metric in ("Rank-1", "mAP")
            ]
            print(config, "from", start, *cells)


if __name__ == "__main__":
    main()
