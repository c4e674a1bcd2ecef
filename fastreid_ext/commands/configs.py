"""The command ``configs``: the shipped configs, with what each is."""

import argparse
from typing import Any

from fastreid_ext.commands.common import command_parser


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "configs",
        help="list the shipped configs",
        description="List the shipped configs whose name or description has a word, with one line each.",
        example="fastreid-ext configs deepminer market",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="only configs with all of these words (default: all)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print name and description of each config; the exit status is 1 if there is none."""
    from fastreid_ext.model_zoo.shipped import describe_config, list_config_files

    lines = {name: describe_config(name) for name in list_config_files()}
    words = [word.lower() for word in args.words]
    found = {name: line for name, line in lines.items() if all(word in f"{name} {line}".lower() for word in words)}
    if not found:
        print(f"none of the {len(lines)} shipped configs contains {' and '.join(args.words)}")
        return 1
    width = max(map(len, found))
    print("\n".join(f"{name:<{width}}  {line}".rstrip() for name, line in found.items()))
    return 0
