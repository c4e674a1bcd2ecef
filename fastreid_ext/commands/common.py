"""What the commands share: how a parser is made, the merged config, the trained model, and the one error line."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid_ext.errors import ConfigError, UserError

if TYPE_CHECKING:
    from fastreid.config import CfgNode
    from torch import nn

FAILED, INTERRUPTED = 1, 130  # exit statuses; the second is the shell's for Ctrl-C
WEIGHTS_HELP = "config keys with their values; MODEL.WEIGHTS is one"


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the description and leaves the example as it is written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def command_parser(commands: Any, name: str, *, help: str, description: str, example: str) -> argparse.ArgumentParser:
    """Add a command to an argparse ``subparsers`` and return its parser.

    Args:
        commands: what ``add_subparsers`` returned.
        name: of the command.
        help: its line in the list of all commands.
        description: above its options.
        example: a command line to try, below them.
    """
    parser = commands.add_parser(
        name, help=help, description=description, epilog=f"example:\n  {example}", formatter_class=HelpFormatter
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error that you can fix, too")
    return parser


def add_config_options(parser: argparse.ArgumentParser, required: bool = True, help: str = "") -> None:
    """Add --config-file and, behind all options, KEY VALUE pairs."""
    parser.add_argument(
        "--config-file",
        required=required,
        default="",
        metavar="FILE",
        help=help or "a yaml file, or the name of a shipped config (fastreid-ext configs lists them)",
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=WEIGHTS_HELP)


def add_output_option(parser: argparse.ArgumentParser, help: str, required: bool = True) -> None:
    """Add --output, a folder."""
    parser.add_argument("--output", type=Path, required=required, metavar="FOLDER", help=help)


def merged_config(config_file: str, overrides: Sequence[str]) -> "CfgNode":
    """Return the config of a file, or of the shipped config of that name, with KEY VALUE pairs.

    Raises:
        ConfigError: no such file, or KEY VALUE pairs that can't be merged.
    """
    from fastreid_ext.config import get_cfg
    from fastreid_ext.engine.merging import merge_config
    from fastreid_ext.engine.trained import config_file_of

    cfg = get_cfg()
    merge_config(cfg, config_file_of(config_file), list(overrides))
    return cfg


def trained_model(cfg: "CfgNode") -> "nn.Module":
    """Return the model of a config with MODEL.WEIGHTS, in eval mode.

    Raises:
        ConfigError, CheckpointError: see :func:`fastreid_ext.engine.trained.load_trained`.
    """
    from fastreid_ext.engine.trained import load_trained

    return load_trained(cfg).eval()


def check_paths(args: argparse.Namespace) -> None:
    """Check that every path among the options can be one, whatever there is on the disk.

    Raises:
        ConfigError: it is empty, too long, or has a character that no path may have.
    """
    from fastreid_ext.files import fault_of

    for name, value in vars(args).items():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path) and (fault := fault_of(str(path))):
                raise ConfigError(f"--{name.replace('_', '-')} {fault}")


def run_command(args: argparse.Namespace) -> int:
    """Run a parsed command and return its exit status.

    An error that the user can fix is one line on stderr, with its traceback if --debug is set; so is Ctrl-C. If the
    reader closes the pipe early, the command ends silently. Any other exception is a bug of ours and is not caught.
    """
    name = f"{args.prog} {' '.join(filter(None, (args.command, getattr(args, 'action', None))))}"
    try:
        check_paths(args)
        status = args.run(args) or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        if args.debug:
            traceback.print_exc()
        print(f"{name}: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # whoever reads the output, head for example, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
