"""The command ``verify``: whether two images show the same person, and how far that answer can be trusted."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from fastreid_ext.commands.common import add_output_option, check_path, command_parser, merged_config, trained_model
from fastreid_ext.errors import ConfigError


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "verify",
        help="whether two images show the same person (Res2NetMultiTask), and a report on all test pairs",
        description="Print the probability that two images show the same person; or, with --report, measure that"
        " answer on all pairs of a query and a gallery image and choose a threshold.",
        example="fastreid-ext verify --config-file demo/res2net.yml a.jpg b.jpg MODEL.WEIGHTS"
        " logs/demo/res2net/model_best.pth",
    )
    parser.add_argument(
        "--config-file", required=True, metavar="FILE", help="a yaml file, or the name of a shipped config"
    )
    parser.add_argument(
        "--pairs", type=Path, metavar="CSV", help="file with two image files per line, in place of A and B"
    )
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="lowest probability that counts as the same person (default: 0.5)"
    )
    parser.add_argument("--report", action="store_true", help="measure all test pairs; writes into --output")
    add_output_option(parser, "folder for verify.json, verify.md, verify.png; or for pairs.csv", required=False)
    parser.add_argument(
        "--test-set", default="", metavar="NAME", help="of --report (default: the first of DATASETS.TESTS)"
    )
    parser.add_argument(
        "opts", nargs="*", metavar="A B | KEY VALUE", help="two images; config keys, of which MODEL.WEIGHTS is one"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Answer for the pairs, or measure all pairs of a test set, and print it."""
    from fastreid_ext.engine import verification
    from fastreid_ext.files import make_folder, write_text
    from fastreid_ext.inference.extractor import Extractor

    check_options(args)
    images, overrides = images_and_overrides(args)
    cfg = merged_config(args.config_file, overrides)
    pairs = [] if args.report else verification.pairs_of(args.pairs, images)
    model = trained_model(cfg)
    verification.check_verifies(model)
    if args.output is not None:
        make_folder(args.output)
    if args.report:
        text, warnings = verification.report(cfg, model, args.test_set, args.output)
        for sentence in warnings:
            print(f"warning: {sentence}", file=sys.stderr)
        print(text)
        return
    extractor = Extractor.of_model(cfg, model, normalise=False, flip=False)  # as --report compares them
    same = verification.same_probabilities(model, pairs, partial(extractor, as_torch=True))
    if args.pairs is None:
        print(verification.answer(same[0], args.threshold))
        return
    table = verification.answers_csv(pairs, same, args.threshold)
    if args.output is not None:
        write_text(args.output / "pairs.csv", table)
    print(table, end="")


def check_options(args: argparse.Namespace) -> None:
    """Check that every option has an effect, and set the threshold to one half if none is given.

    Raises:
        ConfigError: an option without effect, or a threshold that is not a probability.
    """
    if args.report and args.pairs:
        raise ConfigError("--report measures all pairs of a test set, --pairs compares the pairs of a file: remove one")
    if args.report and args.threshold is not None:
        raise ConfigError("--report chooses the threshold itself: remove --threshold, which is for named pairs")
    if args.report and args.output is None:
        raise ConfigError("--report writes a table, numbers and a curve: add --output FOLDER")
    if args.test_set and not args.report:
        raise ConfigError("--test-set names what --report measures: add --report, or remove --test-set")
    if args.output is not None and not (args.report or args.pairs):
        raise ConfigError("--output is the folder of --report or --pairs: the answer for A and B is only printed")
    if args.threshold is None:
        args.threshold = 0.5
    if not 0 <= args.threshold <= 1:
        raise ConfigError(f"--threshold is {args.threshold} and must be a probability, from 0 to 1")


def images_and_overrides(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Split what stands behind the options: two images, unless --pairs or --report says what is compared, then keys.

    Raises:
        ConfigError: fewer than two images, or images beside --pairs or --report.
    """
    if args.report or args.pairs:
        if args.opts and Path(args.opts[0]).is_file():
            raise ConfigError(f"--report and --pairs say what is compared: remove {args.opts[0]}")
        return [], args.opts
    from fastreid_ext.config import get_cfg
    from fastreid_ext.engine.key_tracking import leaves

    images, keys = args.opts[:2], [key for key, _ in leaves(get_cfg())]
    if len(images) < 2 or any(image in keys for image in images):
        raise ConfigError("name two images before the KEY VALUE pairs, or --pairs FILE, or --report")
    for image in images:
        check_path("an image", Path(image))
    return images, args.opts[2:]
