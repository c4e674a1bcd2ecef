"""The command ``verify``: whether two images show the same person, and how far that answer can be trusted."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastreid_ext import zoo
from fastreid_ext.commands.common import (
    add_output_option,
    check_path,
    command_parser,
    merged_config,
    named_or_zoo,
    trained_model,
)
from fastreid_ext.errors import ConfigError

if TYPE_CHECKING:
    from fastreid.config import CfgNode
    from torch import nn

    from fastreid_ext.evaluation.same_person import SamePerson

HEAD, SIMILARITY = "head", "similarity"
NAMES = ("balanced", "fpr_1e-2", "fpr_1e-3", "fpr_1e-4")  # as evaluation has them; help must not import it


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "verify",
        help="whether two images show the same person, with a calibrated probability",
        description="Print whether two images show the same person, and how likely that is. --calibrate measures first"
        " what a similarity says, on people that the model was not trained on, and keeps it as same_person.json beside"
        " the weights. --report measures the answers on all pairs of a test set.",
        example="fastreid-ext verify a.jpg b.jpg\n"
        "  fastreid-ext verify --calibrate --config-file demo/deepminer.yml DATASETS.VALIDATION 20"
        " MODEL.WEIGHTS logs/demo/deepminer/model_best.pth\n"
        "  fastreid-ext verify --config-file demo/deepminer.yml --threshold fpr_1e-3 a.jpg b.jpg"
        " MODEL.WEIGHTS logs/demo/deepminer/model_best.pth",
    )
    parser.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="a yaml file, the name of a shipped config, or a file of fastreid-ext export --format weights (default:"
        " zoo, the shipped model)",
    )
    add_output_option(parser, "folder for verify.json, verify.md, verify.png; or for pairs.csv", required=False)
    parser.add_argument(
        "--same-person",
        type=Path,
        metavar="FILE",
        help="file of --calibrate (default: same_person.json beside the weights, or what a file of weights has in it)",
    )
    answers = parser.add_argument_group("answers")
    answers.add_argument(
        "--pairs", type=Path, metavar="CSV", help="file with two image files per line, in place of A and B"
    )
    answers.add_argument(
        "--threshold",
        metavar="NAME",
        help=f"from where on it is the same person: {', '.join(NAMES)} or a probability (default: balanced; 0.5 of a"
        " model's own head)",
    )
    answers.add_argument(
        "--prior", type=float, metavar="P", help="share of same-person pairs among those you ask for (default: 0.5)"
    )
    answers.add_argument(
        "--by",
        choices=(HEAD, SIMILARITY),
        help="what answers: the head that Res2NetMultiTask trains for it (default, where there is one), or the"
        " similarity of test features",
    )
    measures = parser.add_argument_group("measurements, on all pairs of a test set")
    measures.add_argument(
        "--calibrate", action="store_true", help="measure probabilities and thresholds and keep them beside the weights"
    )
    measures.add_argument("--report", action="store_true", help="measure the answers; writes into --output")
    measures.add_argument(
        "--test-set",
        default="",
        metavar="NAME",
        help="of --report (default: the first of DATASETS.TESTS) and --calibrate (default: Validation)",
    )
    measures.add_argument(
        "--seed", type=int, metavar="N", help="of --calibrate's two halves of the people (default: 0)"
    )
    parser.add_argument(
        "opts", nargs="*", metavar="A B | KEY VALUE", help="two images; config keys, of which MODEL.WEIGHTS is one"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Answer for the pairs, or measure all pairs of a test set, and print it."""
    from fastreid_ext.engine import verification
    from fastreid_ext.files import make_folder

    check_options(args)
    images, overrides = images_and_overrides(args)
    args.config_file = named_or_zoo(args.config_file, overrides)
    if not args.config_file:
        raise ConfigError("MODEL.WEIGHTS are named without the config that they are of: add --config-file")
    cfg = merged_config(args.config_file, overrides)
    if args.calibrate and args.same_person is None:
        zoo.check_own(Path(cfg.MODEL.WEIGHTS), "same_person.json")
    pairs = [] if args.report or args.calibrate else verification.pairs_of(args.pairs, images)
    model = trained_model(cfg)
    by_head = not args.calibrate and (args.by or (HEAD if verification.has_head(model) else SIMILARITY)) == HEAD
    if by_head:
        check_of_head(args)
        verification.check_verifies(model)
    if args.output is not None:
        make_folder(args.output)
    if args.calibrate or args.report:
        text, warnings = measured(args, cfg, model, by_head, overrides)
        for sentence in warnings:
            print(f"warning: {sentence}", file=sys.stderr)
        print(text)
        return
    answered(args, cfg, model, by_head, pairs, overrides)


def measured(
    args: argparse.Namespace, cfg: "CfgNode", model: "nn.Module", by_head: bool, overrides: Sequence[str]
) -> tuple[str, list[str]]:
    """Return what --calibrate or --report print, and warnings."""
    from fastreid_ext.engine import verification
    from fastreid_ext.inference import verification as by_similarity
    from fastreid_ext.inference.same_person_file import find_same_person, same_person_path

    if args.calibrate:
        path = args.same_person or same_person_path(cfg)
        return by_similarity.calibrate(cfg, model, args.test_set, args.seed or 0, path)
    if by_head:
        return verification.report(cfg, model, args.test_set, args.output)
    found = stored(args, cfg, model, overrides) if args.same_person else find_same_person(cfg, model)
    return by_similarity.report(cfg, model, args.test_set, found, args.output)


def answered(
    args: argparse.Namespace,
    cfg: "CfgNode",
    model: "nn.Module",
    by_head: bool,
    pairs: list[tuple[str, str]],
    overrides: Sequence[str],
) -> None:
    """Print an answer for each pair."""
    from fastreid_ext.engine import verification
    from fastreid_ext.files import write_text
    from fastreid_ext.inference import verification as by_similarity
    from fastreid_ext.inference.extractor import Extractor

    if by_head:
        threshold = 0.5 if args.threshold is None else float(args.threshold)
        extractor = Extractor.of_model(cfg, model, normalise=False, flip=False)  # as --report compares them
        same = verification.same_probabilities(model, pairs, partial(extractor.files, as_torch=True))
        sentence, table = verification.answer(same[0], threshold), verification.answers_csv(pairs, same, threshold)
    else:
        same_person, threshold = stored(args, cfg, model, overrides), args.threshold or "balanced"
        if args.prior is not None:
            same_person = same_person.with_prior(args.prior)
        answers = by_similarity.file_answers(cfg, model, pairs, same_person, threshold)
        sentence, table = by_similarity.answer_text(answers[0], threshold), by_similarity.answers_table(pairs, answers)
    if args.pairs is None:
        print(sentence)
        return
    if args.output is not None:
        write_text(args.output / "pairs.csv", table)
    print(table, end="")


def stored(args: argparse.Namespace, cfg: "CfgNode", model: "nn.Module", overrides: Sequence[str]) -> "SamePerson":
    """Return what --calibrate kept for the model.

    Raises:
        SamePersonError: nothing, or a file that is damaged or of another model; the sentence has the command.
    """
    from fastreid_ext.inference.fingerprints import feature_identity
    from fastreid_ext.inference.same_person_file import NAME, same_person_for, same_person_path

    path = args.same_person or same_person_path(cfg)
    shipped = zoo.is_own(path)
    place = ["--same-person", str(args.same_person or NAME)] if args.same_person or shipped else []
    command = shlex.join(
        ["fastreid-ext", "verify", "--calibrate", "--config-file", args.config_file, *place, *overrides]
    )
    if shipped:  # nothing is written beside it
        command += f" and --test-set with people of your own, and name --same-person {NAME} here, too"
    elif not cfg.DATASETS.VALIDATION:
        command += " DATASETS.VALIDATION N, as in training, or --test-set with people of your own"
    inside = None if args.same_person else Path(cfg.MODEL.WEIGHTS)
    return same_person_for(feature_identity(cfg, model), path, command, inside)


def check_options(args: argparse.Namespace) -> None:
    """Check that every option has an effect, and that thresholds and priors can be.

    Raises:
        ConfigError: an option without effect, or a threshold or prior that can't be.
    """
    if args.report and args.calibrate:
        raise ConfigError("--calibrate chooses thresholds and --report measures them: call one after the other")
    whole_set = "--report" if args.report else "--calibrate" if args.calibrate else ""
    if whole_set and args.pairs:
        raise ConfigError(
            f"{whole_set} measures all pairs of a test set, --pairs compares the pairs of a file: remove one"
        )
    if args.report and args.threshold is not None:
        raise ConfigError("--report chooses the threshold itself: remove --threshold, which is for named pairs")
    if args.calibrate and args.threshold is not None:
        raise ConfigError("--calibrate measures all thresholds: remove --threshold, which is for named pairs")
    if args.report and args.output is None:
        raise ConfigError("--report writes a table, numbers and a curve: add --output FOLDER")
    if args.test_set and not whole_set:
        raise ConfigError("--test-set names what --report measures: add --report, or remove --test-set")
    if args.output is not None and not (args.report or args.pairs):
        raise ConfigError("--output is the folder of --report or --pairs: the answer for A and B is only printed")
    if args.seed is not None and not args.calibrate:
        raise ConfigError("--seed is of --calibrate: add it, or remove --seed")
    if args.seed is not None and not 0 <= args.seed < 2**31:
        raise ConfigError(f"--seed is {args.seed} and must be from 0 to {2**31 - 1}")
    if args.prior is not None and whole_set:
        raise ConfigError(f"{whole_set} weighs both kinds of pairs the same: remove --prior, which is for named pairs")
    if args.prior is not None and not 0 < args.prior < 1:
        raise ConfigError(f"--prior is {args.prior} and must be a share between 0 and 1, without 0 and 1")
    if args.calibrate and args.by == HEAD:
        raise ConfigError("--calibrate measures the similarity of test features: remove --by head")
    if args.threshold is not None and args.threshold not in NAMES:
        from fastreid_ext.evaluation.pair_thresholds import read_threshold

        read_threshold(args.threshold)


def check_of_head(args: argparse.Namespace) -> None:
    """Check the options of an answer by the model's own head.

    Raises:
        ConfigError: an option that is for similarities.
    """
    for name, value in (("--prior", args.prior), ("--same-person", args.same_person)):
        if value is not None:
            raise ConfigError(
                f"{name} is for answers by similarity, and this model's head answers: add --by similarity"
            )
    if args.threshold in NAMES:
        raise ConfigError(
            f"--threshold {args.threshold} is of similarities, and this model's head answers: give a probability, or"
            " add --by similarity"
        )


def images_and_overrides(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Split what stands behind the options: two images, unless --pairs or --report says what is compared, then keys.

    Raises:
        ConfigError: fewer than two images, or images beside --pairs, --report or --calibrate.
    """
    if args.report or args.pairs or args.calibrate:
        if args.opts and Path(args.opts[0]).is_file():
            raise ConfigError(f"--report, --calibrate and --pairs say what is compared: remove {args.opts[0]}")
        return [], args.opts
    from fastreid_ext.config import get_cfg
    from fastreid_ext.engine.key_tracking import leaves

    images, keys = args.opts[:2], [key for key, _ in leaves(get_cfg())]
    if len(images) < 2 or any(image in keys for image in images):
        raise ConfigError("name two images before the KEY VALUE pairs, or --pairs FILE, --report or --calibrate")
    for image in images:
        check_path("an image", Path(image))
    return images, args.opts[2:]
