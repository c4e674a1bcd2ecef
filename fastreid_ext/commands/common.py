"""What the commands share: how a parser is made, the merged config, the trained model, and the one error line."""

import argparse
import errno
import logging
import os
import stat
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid_ext import zoo
from fastreid_ext.errors import ConfigError, UserError, name_too_long
from fastreid_ext.processes import end_with_starter, kill_workers
from fastreid_ext.signals import Stopping, end, stopped_by_signals

if TYPE_CHECKING:
    from fastreid.config import CfgNode
    from torch import nn

FAILED = 1  # exit status of a mistake
PAPERS = ("DeepMiner", "MGRe", "MSReID", "OccludedReID", "Res2NetMultiTask")  # by the names of their projects
SKIPPED_SHOWN = 10  # lines on images that can't be read
FROM_0 = ("limit", "sheet_images", "queries", "pictures")  # options that are counts
FROM_1 = ("workers", "num_gpus", "jobs", "num_machines", "save_every", "rows", "count")
LEAST = dict.fromkeys(FROM_0, 0) | dict.fromkeys(FROM_1, 1)
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


def add_config_options(
    parser: argparse.ArgumentParser,
    required: bool = True,
    help: str = "",
    pairs: str = "KEY VALUE",
    pairs_help: str = WEIGHTS_HELP,
) -> None:
    """Add --config-file and, behind all options, KEY VALUE pairs; what may stand before these, ``pairs`` says."""
    parser.add_argument(
        "--config-file",
        required=required,
        default="",
        metavar="FILE",
        help=help
        or "a yaml file, the name of a shipped config (fastreid-ext configs lists them), or a model with its config in"
        " it: zoo, which is shipped, or a file of fastreid-ext export --format weights",
    )
    parser.add_argument("opts", nargs="*", metavar=pairs, help=pairs_help)


def add_output_option(parser: argparse.ArgumentParser, help: str, required: bool = True) -> None:
    """Add --output, a folder."""
    parser.add_argument("--output", type=Path, required=required, metavar="FOLDER", help=help)


def merged_config(config_file: str, overrides: Sequence[str]) -> "CfgNode":
    """Return the config of a file, or of the shipped config or model of that name, with KEY VALUE pairs.

    Args:
        config_file: a yaml; a shipped config; "zoo", "zoo:NAME" or a file of ``export --format weights``, whose
            MODEL.WEIGHTS are that file.
        overrides: KEY VALUE pairs.

    Raises:
        ConfigError: no such file, or KEY VALUE pairs that can't be merged.
        UserError: a file of weights that can't be read, see
            :func:`fastreid_ext.inference.weights_file.config_with_weights`.
    """
    if path := model_file(config_file):
        from fastreid_ext.inference.weights_file import config_with_weights

        return config_with_weights(path, list(overrides))
    from fastreid_ext.config import get_cfg
    from fastreid_ext.engine.merging import merge_config
    from fastreid_ext.engine.trained import config_file_of

    cfg = get_cfg()
    merge_config(cfg, config_file_of(config_file), list(overrides))
    return cfg


def model_file(config_file: str) -> Path | None:
    """Return the file that has config and weights in it, if --config-file names one; None for a config.

    Raises:
        ConfigError, FileError: a model that is not shipped.
    """
    named = zoo.file_named(config_file)
    if named or not config_file.lower().endswith(".safetensors"):
        return named
    return Path(os.path.expanduser(config_file))


def named_or_zoo(config_file: str, overrides: Sequence[str]) -> str:
    """Return what --config-file names, or the shipped model where neither a config nor weights are named."""
    return config_file or ("" if "MODEL.WEIGHTS" in overrides[::2] else zoo.DEFAULT_NAME)


def trained_model(cfg: "CfgNode") -> "nn.Module":
    """Return the model of a config with MODEL.WEIGHTS, in eval mode.

    Raises:
        ConfigError, CheckpointError: see :func:`fastreid_ext.engine.trained.load_trained`.
    """
    from fastreid_ext.engine.trained import load_trained

    return load_trained(cfg).eval()


def check_options(args: argparse.Namespace) -> None:
    """Check what holds for an option of any command: paths that can be one, and counts that are not negative.

    Raises:
        ConfigError: a count below its least, or a path that :func:`check_path` refuses.
    """
    for name, least in LEAST.items():
        value = getattr(args, name, None)
        if value is not None and value < least:
            raise ConfigError(f"--{name.replace('_', '-')} is {value} and must be {least} or more")
    for name, value in vars(args).items():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path):
                check_path(f"--{name.replace('_', '-')}", path)


def check_path(name: str, path: Path) -> None:
    """Check that a path can be one, and that it is not one which would be waited for without end.

    Args:
        name: what names it, for the message.
        path: of a file or folder that need not exist; what a shell makes of <(...) may be read.

    Raises:
        ConfigError: it is too long, has a character that no path may have, or is a pipe, a socket, a device or a link
            to itself.
    """
    from fastreid_ext.files import fault_of

    if fault := fault_of(str(path)) or _fault_on_disk(path):
        raise ConfigError(f"{name} {fault}")


def _fault_on_disk(path: Path) -> str:
    from fastreid_ext.image_files import MADE_BY_A_SHELL

    if str(path).startswith(MADE_BY_A_SHELL):
        return ""
    try:
        mode = path.stat().st_mode
    except OSError as error:  # of any other one, whoever opens the file says so
        return f"is {path}, a link to itself" if error.errno == errno.ELOOP else ""
    special = not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return f"is {path}, a pipe, a socket or a device: name a file or a folder" if special else ""


def run_command(args: argparse.Namespace) -> int:
    """Run a parsed command and return its exit status.

    An error that the user can fix is one line on stderr, with its traceback if --debug is set; so is a signal that
    asks the command to end, Ctrl-C for one. If the reader closes the pipe early, the command ends silently. Any other
    exception is a bug of ours and is not caught.
    """
    name = f"{args.prog} {' '.join(filter(None, (args.command, getattr(args, 'action', None))))}"
    end_with_starter()
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by whoever started us, with >&- for one
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (until the process ends)
    from fastreid_ext.files import show_any_name

    show_any_name(sys.stdout)
    if logging.lastResort is not None:  # it shows warnings where no run has set up its log
        logging.lastResort.setFormatter(TerminalFormatter())
    with stopped_by_signals(name) as stopping:
        try:
            check_options(args)
            status = args.run(args) or 0
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            return _stopped(stopping)
        except Exception as error:
            if stopping.number is not None:  # its consequence, such as a worker that the same signal ended
                return _stopped(stopping)
            error = name_too_long(error) or error
            if isinstance(error, UserError):
                if args.debug:
                    traceback.print_exc()
                print(for_terminal(f"{name}: {error}"), file=sys.stderr)
                return FAILED
            if isinstance(error, BrokenPipeError):  # whoever reads the output, head for example, has had enough
                _drop_output()
                return FAILED
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # such as "> file" on a full disk
                _drop_output()
                print(f"{name}: its output can't be written: {error.strerror}", file=sys.stderr)
                return FAILED
            raise


def for_terminal(text: str) -> str:
    """Return a message as it can be printed: names of files in it, which are others' words, can't forge a line.

    What a terminal would obey is written out, and every line but the first is indented.
    """
    from fastreid_ext.foreign_files import one_line

    first, *others = map(one_line, text.splitlines() or [""])
    return "\n".join([first, *(line if line.startswith(" ") else f"  {line}" for line in others)])


class TerminalFormatter(logging.Formatter):
    """Writes the messages of a log as :func:`for_terminal` does."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (its name in logging)
        """Return the message of a record; a traceback comes behind it."""
        return for_terminal(super().formatMessage(record))


def print_skipped(skipped: Sequence[Mapping[str, str]]) -> None:
    """Print to stderr why images were left out, a line for each of the first ones.

    Args:
        skipped: what a feature store has of them.
    """
    from fastreid_ext.foreign_files import one_line

    for entry in skipped[:SKIPPED_SHOWN]:
        print(f"skipped: {one_line(entry['reason'])}", file=sys.stderr)
    if len(skipped) > SKIPPED_SHOWN:
        print(f"skipped: {len(skipped) - SKIPPED_SHOWN} more images", file=sys.stderr)


def _drop_output() -> None:
    """Let Python not fail again where it flushes stdout at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stopped(stopping: Stopping) -> int:
    kill_workers()
    stopping.say(lambda text: print(text, end="", file=sys.stderr, flush=True))
    return stopping.status if stopping.number is None else end(stopping.status)
