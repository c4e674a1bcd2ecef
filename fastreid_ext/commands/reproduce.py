"""The command ``reproduce``: what the project publishes, made again."""

import argparse
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import command_parser

SUBJECTS = ("zoo",)


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "reproduce",
        help="make the shipped model again: data, training, thresholds, model card",
        description="Make the model that the package ships again. Call it again after an interruption: finished runs"
        " are kept, an unfinished one is resumed.",
        example="fastreid-ext reproduce zoo --output logs/zoo --seeds 0 1 2",
    )
    parser.add_argument("subject", choices=SUBJECTS, help="zoo: the model of fastreid_ext/zoo")
    parser.add_argument(
        "--output", type=Path, default=Path("logs/zoo"), metavar="FOLDER", help="of runs, weights and card (logs/zoo)"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="one run for each (default: 0 1 2)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be done")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config keys of every run; last"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the plan, and carry it out."""
    from fastreid_ext.reproduce.zoo import MODEL, plan, reproduce_zoo

    print(plan(MODEL, args.seeds, args.output, args.opts))
    if not args.dry_run:
        print(f"\n{reproduce_zoo(MODEL, args.seeds, args.output, args.opts)}")
        print(f"weights, card and numbers are in {args.output}")
