"""The ``fastreid-ext`` command."""

import argparse
import sys
from collections.abc import Sequence

from fastreid_ext import __version__
from fastreid_ext.commands import (
    boxes,
    cam,
    compress,
    configs,
    convert,
    dataset,
    derive_occluded_duke,
    doctor,
    export,
    extract,
    masks,
    occlusion_split,
    pose,
    repeat,
    report,
    reproduce,
    search,
    shards,
    synth,
    test_weights,
    train,
    upstream,
    verify,
)
from fastreid_ext.commands.common import HelpFormatter, run_command
from fastreid_ext.scripts.running import is_script
from fastreid_ext.scripts.running import run as run_script

COMMANDS = (
    train,
    configs,
    repeat,
    reproduce,
    report,
    test_weights,
    verify,
    cam,
    masks,
    boxes,
    extract,
    export,
    search,
    shards,
    compress,
    convert,
    dataset,
    synth,
    pose,
    occlusion_split,
    derive_occluded_duke,
    upstream,
    doctor,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``fastreid-ext <command>`` and return its exit status; see ``fastreid-ext --help``.

    Without ``argv`` the command line may also be a script of FastReID's with its arguments, see
    :mod:`fastreid_ext.scripts`; what the script raises, SystemExit too, is raised here.
    """
    if argv is None and len(sys.argv) > 1 and is_script(sys.argv[1]):
        run_script(sys.argv[1], sys.argv[2:])
        return 0
    parser = argument_parser()
    args, rest = parser.parse_known_args(sys.argv[1:] if argv is None else list(argv))
    # argparse takes one group of KEY VALUE pairs; those behind a later option belong to them.
    if rest and (not hasattr(args, "opts") or any(item.startswith("--") for item in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        args.opts += rest
    return run_command(args)


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="fastreid-ext",
        description="Train, evaluate and use the re-identification models of fastreid-ext and FastReID.",
        epilog="example:\n  fastreid-ext train --config-file demo/tiny.yml\n"
        "a script of FastReID or a fork, unedited, with all models of fastreid-ext:\n"
        "  python -m fastreid_ext tools/train_net.py --config-file FILE",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastreid-ext {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for command in COMMANDS:
        command.add_parser(commands)
    parser.set_defaults(prog="fastreid-ext")
    return parser


if __name__ == "__main__":
    sys.exit(main())
