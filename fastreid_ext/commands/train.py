"""The command ``train``: trains or evaluates, on one process or many."""

import argparse
import os
import sys
from typing import Any

from fastreid_ext.commands.common import FAILED, add_config_options, command_parser
from fastreid_ext.errors import ConfigError, UserError


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``; its options are those of FastReID's tools/train_net.py."""
    parser = command_parser(
        commands,
        "train",
        help="train or evaluate a model",
        description="Train a model, continue a run, or evaluate one. Checkpoints, log and results go to OUTPUT_DIR.",
        example="fastreid-ext train --config-file DeepMiner/Market1501_R50.yml OUTPUT_DIR logs/market",
    )
    add_config_options(parser, required=False)
    parser.add_argument("--resume", action="store_true", help="continue the run in OUTPUT_DIR, if there is one")
    parser.add_argument("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, without training")
    group = parser.add_argument_group("several processes")
    group.add_argument("--num-gpus", type=int, default=1, metavar="N", help="processes on this machine (default: 1)")
    group.add_argument("--num-machines", type=int, default=1, metavar="N", help="machines (default: 1)")
    group.add_argument("--machine-rank", type=int, default=0, metavar="N", help="number of this machine, from 0 on")
    group.add_argument(
        "--dist-url",
        default=default_url(),
        metavar="URL",
        help="where the processes meet (default: %(default)s, a port of this user)",
    )
    parser.set_defaults(run=run)


def default_url() -> str:
    """Return the address of this machine with a port of the user's own, as FastReID does."""
    user = os.getuid() if hasattr(os, "getuid") else 1
    return f"tcp://127.0.0.1:{2**15 + 2**14 + user % 2**14}"


def run(args: argparse.Namespace) -> int:
    """Train or evaluate in as many processes as asked for.

    Raises:
        ConfigError: numbers of processes and machines that can't be.
        UserError: in the only process; of several, each has printed its own.
    """
    check_numbers(args)
    if not args.config_file:
        raise ConfigError("no config is named: add --config-file demo/tiny.yml, say; fastreid-ext configs lists them")
    if args.num_machines > 1:
        print(
            f"machine {args.machine_rank} of {args.num_machines} (numbered from 0) waits until all of them have started"
            f" at --dist-url {args.dist_url}",
            file=sys.stderr,
        )
    from fastreid.engine import launch
    from torch.multiprocessing.spawn import ProcessExitedException

    try:
        launch(
            in_one_process,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(args,),
        )
    except ProcessExitedException as error:
        if error.signal_name is not None:
            raise
        return error.exit_code  # that process has said why
    return 0


def check_numbers(args: argparse.Namespace) -> None:
    """Check the numbers of processes and machines.

    Raises:
        ConfigError: fewer than one, or a machine whose number is not below their number.
    """
    for name in ("num_gpus", "num_machines"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(args, name)} and must be 1 or more")
    if not 0 <= args.machine_rank < args.num_machines:
        raise ConfigError(
            f"--machine-rank is {args.machine_rank} and must be from 0 to below --num-machines ({args.num_machines})"
        )


def in_one_process(args: argparse.Namespace) -> None:
    """Do what the command line says in one of its processes.

    Raises:
        UserError: in a process that was not spawned; a spawned one prints it and exits.
    """
    from fastreid_ext.engine.run import run as train

    spawned = args.num_machines * args.num_gpus > 1
    try:
        train(args.config_file, args.opts, resume=args.resume, eval_only=args.eval_only)
    except UserError as error:
        if not spawned:
            raise
        print(f"{args.prog} train: {error}", file=sys.stderr)
        sys.exit(FAILED)
