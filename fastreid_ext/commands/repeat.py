"""The command ``repeat``: trains configs over several seeds and gathers their results."""

import argparse
from typing import Any

from fastreid_ext.commands.common import add_output_option, command_parser


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "repeat",
        help="train configs over several seeds: mean, spread, best, box plot",
        description="Train configs over several seeds and gather a table and a box plot. Call it again after an"
        " interruption: finished runs are kept, an unfinished one is resumed.",
        example="fastreid-ext repeat --configs demo/deepminer.yml demo/baseline.yml --seeds 0 1 2 --output logs/seeds",
    )
    parser.add_argument(
        "--configs", nargs="+", required=True, metavar="FILE", help="files, or names of shipped configs"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="one run for each (default: 0 1 2)"
    )
    add_output_option(parser, "folder of all runs, table and plot")
    parser.add_argument("--num-gpus", type=int, default=1, metavar="N", help="processes of each run (default: 1)")
    parser.add_argument("--title", default="", metavar="TEXT", help="title of the box plot")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config keys of every run; last"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train what is missing and print the table."""
    from fastreid_ext.engine.repeat import repeat

    print(repeat(args.configs, args.seeds, args.output, args.opts, args.num_gpus, args.title))
    print(f"table, numbers and box plot are in {args.output}")
