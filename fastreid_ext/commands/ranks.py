"""What the commands share that run in several processes: their options, and how the processes are started."""

import argparse
import os
import sys
from collections.abc import Callable

from fastreid_ext.errors import ConfigError
from fastreid_ext.processes import end_with_parent

UNDER_TORCHRUN = "TORCHELASTIC_RUN_ID"  # in the environment of the processes that torchrun starts


def add_rank_options(parser: argparse.ArgumentParser) -> None:
    """Add how many processes and machines there are, and where they meet; the options are FastReID's."""
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


def default_url() -> str:
    """Return the address of this machine with a port of the user's own, as FastReID does."""
    user = os.getuid() if hasattr(os, "getuid") else 1
    return f"tcp://127.0.0.1:{2**15 + 2**14 + user % 2**14}"


def run_in_ranks(args: argparse.Namespace, work: Callable[[argparse.Namespace], None], again: str) -> None:
    """Run ``work(args)`` in as many processes as asked for, this one if it is a rank of torchrun's or the only one.

    Args:
        args: of a command with :func:`add_rank_options`.
        work: a function of a module.
        again: how what was interrupted goes on, for messages.

    Raises:
        ConfigError: numbers of processes and machines that can't be.
        UserError: what a process stopped with.
    """
    check_numbers(args)
    if args.num_machines > 1:
        print(
            f"machine {args.machine_rank} of {args.num_machines} (numbered from 0) waits until all of them have started"
            f" at --dist-url {args.dist_url}",
            file=sys.stderr,
        )
    from fastreid.engine import launch

    from fastreid_ext.engine.launching import Ranks, in_group, meeting_at, spawn_ranks

    if is_a_rank():
        end_with_parent()  # a SIGKILL of torchrun alone would leave its processes
        with meeting_at("torchrun's address"):
            launch(in_group, 1, args=(work, args, again))
    elif args.num_gpus * args.num_machines > 1:
        url = free_url() if args.dist_url == "auto" else args.dist_url
        spawn_ranks(Ranks(args.num_gpus, args.num_machines, args.machine_rank, url, again), work, args, args.debug)
    else:
        work(args)


def is_a_rank() -> bool:
    """Whether torchrun, or another launcher that sets its variables, started this process as one of a run."""
    several = "LOCAL_RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
    return several or UNDER_TORCHRUN in os.environ


def free_url() -> str:
    """Return the address of this machine with a port that is free now."""
    import socket

    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{opened.getsockname()[1]}"


def check_numbers(args: argparse.Namespace) -> None:
    """Check the numbers of processes and machines.

    Raises:
        ConfigError: fewer than one, a machine whose number is not below their number, or no address to meet at.
    """
    for name in ("num_gpus", "num_machines"):
        if getattr(args, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(args, name)} and must be 1 or more")
    if not 0 <= args.machine_rank < args.num_machines:
        raise ConfigError(
            f"--machine-rank is {args.machine_rank} and must be from 0 to below --num-machines ({args.num_machines})"
        )
    if args.dist_url == "auto" and args.num_machines > 1:
        raise ConfigError("--dist-url auto is for one machine: give all of them tcp://<address of machine 0>:<port>")
