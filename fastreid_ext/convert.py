"""The command ``convert``: weights that a paper's authors published, in our names."""

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.files import write_atomically

# Project -> (their state dict) -> (ours, KEY VALUE pairs that the model needs); ValueError for weights of another one.
CONVERTERS: dict[str, Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], list[str]]]] = {}
# Where a state dict lies in files that hold more than that.
STATES = ("state_dict", "model", "net")


def add_convert_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = commands.add_parser(
        "convert",
        help="bring published weights of a paper's authors into our names",
        description="Bring published weights of a paper's authors into our names; every key is accounted for.",
    )
    parser.add_argument("project", choices=sorted(CONVERTERS), help="whose weights they are")
    parser.add_argument("source", type=Path, help="the authors' file")
    parser.add_argument("target", type=Path, help="file to write, for MODEL.WEIGHTS")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry the command out and return its exit status."""
    try:
        theirs = read_state(args.source)
        ours, overrides = CONVERTERS[args.project](theirs)
    except (OSError, ValueError) as error:
        print(f"fastreid-ext convert: {args.source}: {error}", file=sys.stderr)
        return 1
    try:
        if args.target.exists() and args.target.samefile(args.source):
            raise OSError("it is the authors' file, which stays as it is")
        args.target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(args.target, lambda file: torch.save({"model": ours}, file))
    except OSError as error:
        print(f"fastreid-ext convert: {args.target} can't be written: {error}", file=sys.stderr)
        return 1
    print(f"{len(ours)} of {len(theirs)} keys converted to {args.target}; evaluate them with")
    print(f"  --eval-only MODEL.WEIGHTS {shlex.quote(str(args.target))} {' '.join(overrides)}")
    return 0


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict, bare or inside a checkpoint, without running anything that the file holds.

    Raises:
        OSError: it can't be read.
        ValueError: it is no file of tensors.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises half a dozen types for files that are not what they should be
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"it can't be read safely as weights ({reason})") from error
    if isinstance(loaded, dict):
        inner = next((loaded[key] for key in STATES if isinstance(loaded.get(key), dict)), loaded)
        if inner and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in inner.items()):
            return dict(inner)
    raise ValueError("it holds no state dict of tensors")
