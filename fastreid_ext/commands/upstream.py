"""The command ``upstream``: writes the papers as projects of a FastReID git checkout."""

import argparse
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import PAPERS, command_parser
from fastreid_ext.errors import ConfigError


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "upstream",
        help="write papers as projects into a git checkout of FastReID, on a branch of their own",
        description="Write papers as projects of a FastReID git checkout that need nothing of fastreid-ext: a branch"
        " with one commit for each. What a pull request to FastReID or a fork takes (docs/upstream.md).",
        example="fastreid-ext upstream ~/fast-reid --papers DeepMiner MSReID --heals --check",
    )
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT", help="top folder of a git checkout, without changes")
    parser.add_argument(
        "--papers", nargs="*", default=None, metavar="PROJECT",
        help=f"of {', '.join(PAPERS)} (default: all; the option alone: none)",
    )  # fmt: skip
    parser.add_argument(
        "--heals",
        action="store_true",
        help="first commit the smallest repairs with which FastReID itself runs on today's Python, torch and NumPy",
    )
    parser.add_argument(
        "--branch", default="fastreid-ext", metavar="NAME", help="a new branch at HEAD (default: %(default)s)"
    )
    parser.add_argument(
        "--update", action="store_true", help="commit on top of the branch if it is there, and replace its projects"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="then build every config and take two training steps in the checkout, in a process without fastreid-ext",
    )
    parser.add_argument(
        "--check-with",
        nargs="+",
        default=[],
        metavar="KEY VALUE",
        help="config keys of the check with their values, such as INPUT.SIZE_TRAIN [64,32] for smaller images",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write, commit and check."""
    if args.check_with and not args.check:
        raise ConfigError("--check-with is about the check: give --check too")
    if len(args.check_with) % 2:
        raise ConfigError(f"--check-with takes pairs of a key and its value, got {' '.join(args.check_with)}")
    if args.papers == [] and not args.heals:
        raise ConfigError(
            "--papers names none and --heals is not given, so there is nothing to write: give one of them"
        )
    if args.papers == [] and args.check:
        raise ConfigError("--check is about projects, and --papers names none: leave one of them out")

    from fastreid_ext.upstream.checking import run_without_us
    from fastreid_ext.upstream.checkout import Checkout
    from fastreid_ext.upstream.writing import papers_named, write

    papers = papers_named(PAPERS if args.papers is None else args.papers)
    checkout = Checkout(args.checkout)
    for line in write(checkout, papers, args.heals, args.branch, args.update):
        print(line, flush=True)
    for paper in papers if args.check else ():
        said = run_without_us(checkout.folder, f"projects/{paper.project}/tests/two_steps.py", args.check_with)
        lines = [line for line in said.splitlines() if ".yml: " in line]  # FastReID prints too
        print("\n".join([f"{paper.project}, without fastreid-ext:", *lines]), flush=True)
