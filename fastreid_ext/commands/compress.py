"""The command ``compress``: principal components for short features, and what they cost."""

import argparse
from pathlib import Path
from typing import Any

from fastreid_ext import zoo
from fastreid_ext.commands.common import add_config_options, command_parser, merged_config, trained_model
from fastreid_ext.errors import ConfigError


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "compress",
        help="fit a PCA on training images, for features with fewer numbers, and measure what that costs",
        description="Fit principal components on the features of training images and keep them beside the weights,"
        " where Extractor(..., dim=N) finds them; N may be any number up to --dim. A table says what mAP and Rank-1 of"
        " a test set lose by them.",
        example="fastreid-ext compress --config-file demo/deepminer.yml --dim 128 MODEL.WEIGHTS"
        " logs/demo/deepminer/model_best.pth",
    )
    add_config_options(parser)
    parser.add_argument(
        "--dim", type=int, default=512, metavar="N", help="most numbers of a feature (default: %(default)s)"
    )
    parser.add_argument(
        "--fit-on",
        type=int,
        default=10_000,
        metavar="N",
        help="training images to fit on, spread evenly; 0 = all (default: %(default)s)",
    )
    parser.add_argument(
        "--test-set", default="", metavar="NAME", help="what is measured (default: the first of DATASETS.TESTS)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Fit, measure and print the table."""
    from fastreid_ext.inference.compressing import compress

    for name, least in (("dim", 1), ("fit_on", 0)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(args, name)} and must be {least} or more")
    cfg = merged_config(args.config_file, args.opts)
    zoo.check_own(Path(cfg.MODEL.WEIGHTS), "the components")
    table, path = compress(cfg, trained_model(cfg), args.dim, args.fit_on, args.test_set)
    print(table)
    print(f"the components are in {path}, the table in {path.with_suffix('.md').name} beside it")
