"""The command ``train``: trains or evaluates, on one process or many."""

import argparse
from typing import Any

from fastreid_ext.commands.common import add_config_options, command_parser, merged_config, model_file
from fastreid_ext.commands.ranks import add_rank_options, check_numbers, run_in_ranks
from fastreid_ext.errors import ConfigError


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
    add_rank_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train or evaluate in as many processes as asked for.

    Raises:
        ConfigError: numbers of processes and machines that can't be.
        UserError: what a process stopped with.
    """
    check_numbers(args)
    if not args.config_file:
        raise ConfigError("no config is named: add --config-file demo/tiny.yml, say; fastreid-ext configs lists them")
    run_in_ranks(args, in_one_process, "with --resume")


def in_one_process(args: argparse.Namespace) -> None:
    """Do what the command line says in one of its processes."""
    from fastreid_ext.engine.run import run as train

    if args.eval_only and model_file(args.config_file):
        train(merged_config(args.config_file, args.opts), args.opts, resume=args.resume, eval_only=True)
        return
    train(args.config_file, args.opts, resume=args.resume, eval_only=args.eval_only)
