"""The command ``test-weights``: searches the weights of a test feature's parts on a validation set."""

import argparse
import sys
from typing import Any

from fastreid_ext.commands.common import (
    add_config_options,
    add_output_option,
    command_parser,
    merged_config,
    trained_model,
)
from fastreid_ext.data.validation import VALIDATION


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "test-weights",
        help="search the weights of a test feature's parts on a validation set (MGRe)",
        description="Extract the parts of a model's test feature once, then change one weight at a time, the others"
        " fixed, to the one with the highest mAP. Only the ratios of the weights count.",
        example="fastreid-ext test-weights --config-file demo/mgre.yml --output logs/weights DATASETS.VALIDATION 30"
        " MODEL.WEIGHTS logs/demo/mgre/model_final.pth",
    )
    add_config_options(parser)
    add_output_option(parser, "folder for weights.json, weights.md, weights.png")
    parser.add_argument(
        "--test-set",
        default=VALIDATION,
        metavar="NAME",
        help="test set to search on (default: %(default)s, of DATASETS.VALIDATION)",
    )
    parser.add_argument(
        "--grid",
        nargs=3,
        type=float,
        default=[0.05, 1.0, 0.05],
        metavar=("FIRST", "LAST", "STEP"),
        help="weights to try (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=10,
        metavar="N",
        help="maximum number of rounds; the search ends when a round changes nothing (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Search the weights and print them."""
    from fastreid_ext.engine.weight_search import ONLY_RATIOS, check_parts, check_search, search_weights, write_search
    from fastreid_ext.evaluation.part_weights import weight_grid
    from fastreid_ext.evaluation.weight_report import weight_table
    from fastreid_ext.files import make_folder

    cfg = merged_config(args.config_file, args.opts)
    grid = weight_grid(*args.grid)
    check_search(cfg, args.test_set, args.rounds)
    make_folder(args.output)
    model = trained_model(cfg)
    check_parts(model)
    search, option, warnings = search_weights(cfg, model, args.test_set, grid, args.rounds)
    for sentence in warnings:
        print(f"warning: {sentence}", file=sys.stderr)
    write_search(args.output, cfg, args.test_set, search, option, warnings)
    print(weight_table(search))
    print(f"{ONLY_RATIOS} Table, numbers and curves are in {args.output}. The best weights:")
    print(f"  {option}")
