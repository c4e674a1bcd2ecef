"""The command ``convert``: weights that a paper's authors published, in our names."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import command_parser
from fastreid_ext.errors import FileError

PROJECTS = ("msreid",)  # the keys of fastreid_ext.modeling.weights.CONVERTERS, which can't be read without torch


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "convert",
        help="rename the published weights of a paper's authors to our names",
        description="Bring published weights of a paper's authors into our names; every key is accounted for.",
        example="fastreid-ext convert msreid downloads/market.pth weights/msreid_market.pth",
    )
    parser.add_argument("project", choices=PROJECTS, help="whose weights they are")
    parser.add_argument("source", type=Path, metavar="SOURCE", help="the authors' file")
    parser.add_argument("target", type=Path, metavar="TARGET", help="file to write, for MODEL.WEIGHTS")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Convert the file and print how to evaluate it.

    Raises:
        WeightsError, FileError: the weights are not those of the project, or a file can't be read or written.
    """
    import importlib

    import torch

    from fastreid_ext.files import make_folder, write_atomically
    from fastreid_ext.modeling.weights import CONVERTERS, WeightsError, read_state

    importlib.import_module(f"fastreid_ext.{args.project}")  # adds its converter to the table
    theirs = read_state(args.source)
    try:
        ours, overrides = CONVERTERS[args.project](theirs)
    except WeightsError as error:
        raise WeightsError(f"{args.source}: {error}") from error
    if args.target.exists() and args.target.samefile(args.source):
        raise FileError(f"{args.target} can't be written: it is the authors' file, which is never changed")
    make_folder(args.target.parent)
    write_atomically(args.target, lambda file: torch.save({"model": ours}, file))
    print(f"{len(ours)} of {len(theirs)} keys converted to {args.target}; evaluate them with")
    print(f"  --eval-only MODEL.WEIGHTS {shlex.quote(str(args.target))} {' '.join(overrides)}")
